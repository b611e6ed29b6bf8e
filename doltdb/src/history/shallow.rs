//! Where a shallow clone ends.

use std::collections::HashSet;
use std::num::NonZeroU32;

use holdfast_chunkstore::ChunkAddress;

use super::History;
use crate::error::ReadError;
use crate::source::ChunkSource;
use crate::tree::CommitClosure;

/// What a shallow clone takes, and what it leaves out. No commit is in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shallow {
    /// The commits that are taken whole, the head first, generation by generation.
    pub kept: Vec<ChunkAddress>,
    /// The commits that what is taken names and that are left out, each once.
    pub ghosts: Vec<ChunkAddress>,
}

impl<S: ChunkSource + ?Sized> History<'_, S> {
    /// Splits a commit and its ancestors into those of the first `depth` generations, by the shortest way over
    /// any parents, and the rest. With a depth of one only the commit itself is kept.
    ///
    /// The rest is what the head's closure names, so the commits there are not read. Ghosts of this source are
    /// never kept.
    pub async fn kept_and_ghosts(
        &self,
        head: ChunkAddress,
        depth: NonZeroU32,
    ) -> Result<Shallow, ReadError> {
        let closure = self.read(&[head]).await?[0].closure;
        let (mut kept, mut ghosts) = (Vec::new(), Vec::new());
        let mut met = HashSet::from([head]);
        let mut generation = vec![head];
        for _ in 0..depth.get() {
            let commits = self.read(&generation).await?;
            kept.append(&mut generation);
            for parent in commits.into_iter().flat_map(|commit| commit.parents) {
                if met.insert(parent) {
                    let is_ghost = self.is_ghost(&parent);
                    let list = if is_ghost {
                        &mut ghosts
                    } else {
                        &mut generation
                    };
                    list.push(parent);
                }
            }
            if generation.is_empty() {
                break;
            }
        }
        ghosts.append(&mut generation);
        let closure = CommitClosure::open(self.source, closure).await?;
        let mut ancestors = closure.ancestors();
        while let Some(ancestor) = ancestors.next().await? {
            if met.insert(ancestor.address) {
                ghosts.push(ancestor.address);
            }
        }
        Ok(Shallow { kept, ghosts })
    }
}
