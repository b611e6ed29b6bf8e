//! The chunks of a store for whoever asks what they mean.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::source::MOST_BYTES;
use holdfast_doltdb::{ChunkSource, SourceError};

/// A store as a source of chunks. What it gives is not checked against addresses: that was done where the bytes came
/// in, and `verify` does it again.
#[derive(Debug, Clone)]
pub struct StoreSource {
    store: Arc<NomsDir>,
    pool: BlockingPool,
}

impl StoreSource {
    /// Reads `store` on the threads of `pool`.
    pub fn new(store: Arc<NomsDir>, pool: BlockingPool) -> Self {
        Self { store, pool }
    }

    /// The store.
    pub fn store(&self) -> &Arc<NomsDir> {
        &self.store
    }
}

#[async_trait]
impl ChunkSource for StoreSource {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let (store, addresses) = (Arc::clone(&self.store), addresses.to_vec());
        let read = self.pool.run(move || read(&store, &addresses)).await;
        read.map_err(|error| SourceError::new(error.kind(), error))
    }
}

fn read(store: &NomsDir, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, StoreError> {
    let mut decoder = Decoder::new();
    let mut get = |address: &ChunkAddress| {
        let Some(place) = store.find(*address)? else {
            return Ok(None);
        };
        let mut chunk = Vec::new();
        store.read_chunk(*address, place, &mut decoder, &mut chunk)?;
        Ok(Some(Bytes::from(chunk)))
    };
    let mut chunks = Vec::new();
    let mut bytes = 0;
    for address in addresses {
        let chunk = get(address)?;
        bytes += chunk.as_ref().map_or(0, Bytes::len);
        chunks.push(chunk);
        if bytes >= MOST_BYTES {
            break;
        }
    }
    Ok(chunks)
}
