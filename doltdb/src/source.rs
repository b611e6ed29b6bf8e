//! Where chunks come from: the one seam between what chunks mean and where they lie.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use crate::error::ReadError;

/// Gives chunks by their addresses.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Returns one answer per address, in the order of the addresses: the chunk's bytes, or nothing if it is
    /// not there. Whether bytes fit their address is the source's business.
    async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError>;
}

/// A source that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not read chunks")]
pub struct SourceError {
    kind: ErrorKind,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SourceError {
    /// Wraps the error of a source.
    pub fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// Returns what to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Gets chunks, each of which may be absent.
pub async fn get<S: ChunkSource + ?Sized>(
    source: &S,
    addresses: &[ChunkAddress],
) -> Result<Vec<Option<Bytes>>, ReadError> {
    let count = addresses.len();
    let answers = source
        .get(addresses)
        .await
        .map_err(|source| ReadError::Source { count, source })?;
    if answers.len() != count {
        return Err(ReadError::Answers {
            asked: count,
            answered: answers.len(),
        });
    }
    Ok(answers)
}

/// Gets a chunk that may be absent.
pub async fn find_one<S: ChunkSource + ?Sized>(
    source: &S,
    address: ChunkAddress,
) -> Result<Option<Bytes>, ReadError> {
    Ok(get(source, &[address]).await?.pop().flatten())
}

/// Gets a chunk that must be there.
pub async fn get_one<S: ChunkSource + ?Sized>(
    source: &S,
    address: ChunkAddress,
) -> Result<Bytes, ReadError> {
    let chunk = find_one(source, address).await?;
    chunk.ok_or(ReadError::Missing { address })
}
