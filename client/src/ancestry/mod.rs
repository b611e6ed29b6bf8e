//! Commits and what they come from: read a few at a time, from a store or from a remote.

mod divergence;
mod log;
mod resolve;
#[cfg(test)]
mod testing;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::model::Commit;
use holdfast_doltdb::{ChunkSource, ReadError};

pub use divergence::{Divergence, divergence};
pub use log::Log;
pub use resolve::{resolve, usual_branch};

/// What a commit says; the order is that of a log from its end: children above their parents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitFacts {
    /// One more than the largest height of its parents.
    pub height: u64,
    /// When it was written, in milliseconds since 1970.
    pub at_millis: i64,
    /// Its address.
    pub address: ChunkAddress,
    /// The tables at this commit.
    pub root: ChunkAddress,
    /// Its parents, in their order.
    pub parents: Vec<ChunkAddress>,
    /// Who wrote it.
    pub author: String,
    /// That person's e-mail address.
    pub email: String,
    /// The message.
    pub description: String,
}

impl CommitFacts {
    fn decode(address: ChunkAddress, chunk: &[u8]) -> Result<Self, ReadError> {
        let decoded = Commit::decode(chunk);
        let commit = decoded.map_err(|source| ReadError::Decode { address, source })?;
        Ok(Self {
            height: commit.height,
            at_millis: commit.author.at_millis,
            address,
            root: commit.root,
            parents: commit.parents().collect(),
            author: commit.author.name.into_owned(),
            email: commit.author.email.into_owned(),
            description: commit.description.into_owned(),
        })
    }
}

/// Reads chunks that must be there.
pub async fn read_chunks(
    source: &dyn ChunkSource,
    addresses: &[ChunkAddress],
) -> Result<Vec<bytes::Bytes>, ReadError> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let count = addresses.len();
    let answers = source.get(addresses).await;
    let answers = answers.map_err(|source| ReadError::Source { count, source })?;
    if answers.len() != count {
        return Err(ReadError::Answers {
            asked: count,
            answered: answers.len(),
        });
    }
    let pairs = addresses.iter().zip(answers);
    pairs
        .map(|(address, chunk)| chunk.ok_or(ReadError::Missing { address: *address }))
        .collect()
}

/// Reads a chunk that must be there.
pub async fn read_chunk(
    source: &dyn ChunkSource,
    address: ChunkAddress,
) -> Result<bytes::Bytes, ReadError> {
    let mut chunks = read_chunks(source, &[address]).await?;
    chunks.pop().ok_or(ReadError::Missing { address })
}

/// Reads commits that must be there.
pub async fn read_commits(
    source: &dyn ChunkSource,
    addresses: &[ChunkAddress],
) -> Result<Vec<CommitFacts>, ReadError> {
    let chunks = read_chunks(source, addresses).await?;
    let pairs = addresses.iter().zip(chunks);
    pairs
        .map(|(address, chunk)| CommitFacts::decode(*address, &chunk))
        .collect()
}
