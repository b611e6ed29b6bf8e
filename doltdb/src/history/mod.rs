//! What commits descend from which: ancestors in order, who is ahead, where a shallow clone ends, and what a
//! revision's text stands for.
//!
//! Everything follows the parents that commits name, from greater heights to smaller ones, and reads all parents
//! of one height at once. A commit that is not higher than each of its parents is refused, because order, and
//! with it every answer here, hangs on that. Closures, which nothing proves, are asked only where a list of all
//! ancestors is wanted, and by [`Heads`], as Dolt asks them whether a push is a fast-forward.
//!
//! Commits that a shallow clone left out (ghosts) are where history ends: they are named as parents, never read
//! and never counted. A commit that is missing otherwise is an error.
//!
//! # Memory
//! The walks hold the commits between those that are done and those that are not: as many as there are branches
//! side by side, however long history is. [`History::kept_and_ghosts`] holds all addresses that it returns.

mod front;
mod heads;
mod relation;
mod revision;
mod shallow;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::error::ReadError;
use crate::model::Commit;
use crate::source::{self, ChunkSource};
use front::{Front, Side};
pub use heads::{Heads, Unreached};
pub use relation::Distance;
pub use revision::Resolved;
pub use shallow::Shallow;

/// How many commits are asked for at once.
const BATCH: usize = 256;

/// Longer commits are not kept on a walk.
const KEPT_BYTES: usize = 64 << 10;

/// The commits of one source.
#[derive(Debug)]
pub struct History<'s, S: ?Sized> {
    source: &'s S,
    ghosts: &'s HashSet<ChunkAddress>,
}

impl<S: ?Sized> Clone for History<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for History<'_, S> {}

/// A commit on a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalkedCommit {
    /// Its address.
    pub address: ChunkAddress,
    /// Its height.
    pub height: u64,
    /// When its author says that it was made, in milliseconds since 1970.
    pub at_millis: i64,
    /// Its parents in their order, ghosts too.
    pub parents: Vec<ChunkAddress>,
    /// The tree of all its ancestors; nothing for a commit without parents.
    pub closure: Option<ChunkAddress>,
    /// Its bytes, for [`Commit::decode`]; nothing if they are many, as those of all commits on a walk are held.
    pub chunk: Option<Bytes>,
}

impl<'s, S: ChunkSource + ?Sized> History<'s, S> {
    /// Takes a source and the commits that it lacks on purpose.
    pub fn new(source: &'s S, ghosts: &'s HashSet<ChunkAddress>) -> Self {
        Self { source, ghosts }
    }

    /// Returns a commit and all its ancestors, newest first: children before parents, then the greater height,
    /// then the later date.
    pub async fn newest_first(&self, head: ChunkAddress) -> Result<CommitWalk<'s, S>, ReadError> {
        let mut front = Front::new(*self);
        front.add([(head, Side::Left, u64::MAX)]).await?;
        Ok(CommitWalk {
            front,
            level: VecDeque::new(),
            parents: Vec::new(),
        })
    }

    /// Reads commits, all of which must be there. The number of addresses must be bounded by the caller.
    async fn read(&self, addresses: &[ChunkAddress]) -> Result<Vec<WalkedCommit>, ReadError> {
        let mut commits = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(BATCH) {
            let show = |address, chunk: Option<Bytes>| {
                let chunk = chunk.ok_or(ReadError::Missing { address })?;
                commits.push(WalkedCommit::decode(address, chunk)?);
                Ok(())
            };
            source::each(self.source, batch, show).await?;
        }
        Ok(commits)
    }

    fn is_ghost(&self, address: &ChunkAddress) -> bool {
        self.ghosts.contains(address)
    }
}

impl WalkedCommit {
    fn decode(address: ChunkAddress, chunk: Bytes) -> Result<Self, ReadError> {
        let commit = Commit::decode(&chunk);
        let commit = commit.map_err(|source| ReadError::Decode { address, source })?;
        Ok(Self {
            address,
            height: commit.height,
            at_millis: commit.author.at_millis,
            parents: commit.parents().collect(),
            closure: commit.closure,
            chunk: Some(chunk.clone()).filter(|chunk| chunk.len() <= KEPT_BYTES),
        })
    }
}

/// A commit and its ancestors, newest first.
#[derive(Debug)]
pub struct CommitWalk<'s, S: ?Sized> {
    front: Front<'s, S>,
    /// The rest of the commits of the present height.
    level: VecDeque<WalkedCommit>,
    /// The parents of those commits of the present height that were given out, as they enter the front.
    parents: Vec<(ChunkAddress, Side, u64)>,
}

impl<S: ChunkSource + ?Sized> CommitWalk<'_, S> {
    /// Returns the next commit, or nothing at the end. The parents of what was given out are read only when a
    /// commit of a smaller height is asked for.
    pub async fn next(&mut self) -> Result<Option<WalkedCommit>, ReadError> {
        if self.level.is_empty() {
            self.front.add(std::mem::take(&mut self.parents)).await?;
            let highest = self.front.pop_highest().into_iter();
            self.level.extend(highest.map(|(commit, _)| commit));
        }
        let next = self.level.pop_front();
        if let Some(commit) = &next {
            let height = commit.height;
            let parents = commit.parents.iter();
            let parents = parents.map(|parent| (*parent, Side::Left, height));
            self.parents.extend(parents);
        }
        Ok(next)
    }
}
