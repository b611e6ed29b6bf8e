//! The chunks of a remote for whoever asks what they mean: refs and commits, a few at a time.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ChunkSource, SourceError};

use super::{Reach, Remote};

/// A remote as a source of chunks.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    remote: Arc<dyn Remote>,
    reach: Reach,
}

impl RemoteSource {
    /// Reads from `remote`, and not a byte more than is asked for.
    pub fn new(remote: Arc<dyn Remote>) -> Self {
        Self::reaching(remote, Reach::Exact)
    }

    /// Reads from `remote` as far around what is asked for as `reach` says.
    pub fn reaching(remote: Arc<dyn Remote>, reach: Reach) -> Self {
        Self { remote, reach }
    }
}

#[async_trait]
impl ChunkSource for RemoteSource {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let read = self.remote.read(addresses, self.reach).await;
        let chunks = read.map_err(|error| SourceError::new(error.kind(), error))?;
        let bytes = |chunk: Option<super::RemoteChunk>| chunk.map(|chunk| chunk.chunk);
        Ok(chunks.into_iter().map(bytes).collect())
    }
}
