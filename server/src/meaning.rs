//! What chunks mean, told to the chunk store: which addresses a chunk points at, and which refs a new root
//! moves.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{Meaning, MeaningError, MovesError, ReadChunks, RefMove};
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_doltdb::{ChunkSource, ReadError, RefsDiff, SourceError};

use crate::forge::error::one_line;

/// Chunks as Dolt means them.
#[derive(Debug, Clone, Copy)]
pub struct DoltMeaning {
    accept_unknown: bool,
}

impl DoltMeaning {
    /// Whether chunks whose references cannot be told, for want of knowing their kind, are taken.
    pub fn new(accept_unknown: bool) -> Self {
        Self { accept_unknown }
    }
}

impl FindChildren for DoltMeaning {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        match holdfast_doltdb::children(chunk, &mut |address| visit(address)) {
            Err(error) if self.accept_unknown && error.kind() == ErrorKind::Refused => Ok(()),
            found => found.map_err(|error| ChildrenRefused {
                kind: error.kind(),
                message: one_line(&error),
            }),
        }
    }
}

/// The chunks of a repository as doltdb reads them.
struct Source<'a> {
    chunks: &'a dyn ReadChunks,
}

#[async_trait]
impl ChunkSource for Source<'_> {
    async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError> {
        let read = self.chunks.read_chunks(addresses).await;
        read.map_err(|error| SourceError::new(error.kind(), error))
    }
}

#[async_trait]
impl Meaning for DoltMeaning {
    async fn moves(
        &self,
        chunks: &dyn ReadChunks,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        let source = Source { chunks };
        let mut diff = RefsDiff::open(&source, old, new).await.map_err(refused)?;
        let mut moves = Vec::new();
        while let Some(change) = diff.next().await.map_err(refused)? {
            moves.push(RefMove {
                name: change.name.to_string(),
                old: change.old,
                new: change.new,
            });
        }
        Ok(moves)
    }
}

/// A root that cannot be read because the store fails is not a wrong root.
fn refused(error: ReadError) -> MovesError {
    MovesError::Refused(MeaningError {
        kind: match error.kind() {
            kind @ (ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Internal) => kind,
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Dangling
            | ErrorKind::Refused
            | ErrorKind::Exhausted
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied => ErrorKind::Refused,
        },
        reason: one_line(&error),
    })
}
