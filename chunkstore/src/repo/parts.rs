//! What repositories are made of, and who tells them what chunks mean.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::{ChunkAddress, RootAddress};
use crate::clock::Clock;
use crate::id::IdSource;
use crate::index::ChunkIndex;
use crate::objects::ObjectStore;
use crate::pool::BlockingPool;
use crate::repo::check::FindChildren;
use crate::repo::error::{MeaningError, RepositoryError};
use crate::repo::name::RepoName;
use crate::repo::record::RefMove;
use crate::repo::spool::SpoolDir;

/// The parts that repositories share.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where everything is kept.
    pub objects: Arc<dyn ObjectStore>,
    /// Where chunks are found; can be made again.
    pub index: Arc<dyn ChunkIndex>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids and stamps.
    pub ids: Arc<IdSource>,
    /// Threads for what blocks.
    pub pool: BlockingPool,
    /// Where uploads are written before they are checked.
    pub spool: Arc<SpoolDir>,
    /// What chunks mean.
    pub meaning: Arc<dyn Meaning>,
}

impl Parts {
    /// What tells the references of a chunk.
    pub(crate) fn find_children(&self) -> Arc<dyn FindChildren> {
        Arc::<dyn Meaning>::clone(&self.meaning)
    }
}

/// What this crate must be told about chunks, and knows nothing else of.
#[async_trait]
pub trait Meaning: FindChildren + fmt::Debug {
    /// Compares two roots, either of which may be the empty store, and names what moved, in order. Refuses a
    /// new root that is not the root of a store.
    async fn moves(
        &self,
        chunks: &dyn ReadChunks,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError>;

    /// What chunks mean in one repository, where that is something else.
    fn of_repository(&self, _name: &RepoName) -> Option<Arc<dyn Meaning>> {
        None
    }
}

/// Why two roots could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum MovesError {
    /// The new root cannot be a root.
    #[error("compare the old root and the new")]
    Refused(#[source] MeaningError),
    /// Reading the chunks failed.
    #[error("read the chunks of a root")]
    Read(#[source] RepositoryError),
}

/// How many bytes of chunks are read at once. A chunk may come from a few stored bytes, so that neither their number
/// nor what is stored of them bounds it.
pub const MOST_READ_BYTES: usize = 16 << 20;

/// Reads chunks by their addresses.
#[async_trait]
pub trait ReadChunks: Send + Sync + fmt::Debug {
    /// Reads the first of some chunks, each checked against its address; nothing where it is absent. Reads at least one,
    /// and no more behind those that have [`MOST_READ_BYTES`] together.
    async fn read_chunks(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, RepositoryError>;

    /// Reads the first `len` bytes of each chunk, or all of a shorter one, of which the whole was checked; nothing
    /// where it is absent. However long the chunks are, a few of them are held at a time.
    async fn read_heads(
        &self,
        addresses: &[ChunkAddress],
        len: usize,
    ) -> Result<Vec<Option<Bytes>>, RepositoryError>;
}
