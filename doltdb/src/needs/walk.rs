//! The walk over all that refs reach.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::links::{Link, LinkSorter, Links, Role};
use super::need::NeedsError;
use super::seen::{Seen, failed};
use crate::children::{children, lists_ancestors};
use crate::model::Commit;
use crate::refs::RefName;
use crate::refs_diff::Refs;
use crate::source::{self, ChunkSource};

/// How many chunks are asked for at once.
const BATCH: usize = 256;

/// The refs of a store as far as they can be read, and whether some cannot be.
pub(super) async fn refs(
    source: &dyn ChunkSource,
    root: RootAddress,
) -> (Vec<(RefName, ChunkAddress)>, bool) {
    let mut all = Vec::new();
    let Ok(mut refs) = Refs::open(source, root).await else {
        return (all, true);
    };
    let lacks_refs = loop {
        match refs.next().await {
            Ok(Some(named)) => all.push(named),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    all.sort_by_key(|(name, _)| match name {
        RefName::Branch(_) => 0,
        RefName::Tag(_) => 1,
        RefName::RemoteBranch { .. } => 2,
        _ => 3,
    });
    (all, lacks_refs)
}

/// Goes over all that refs reach, and puts down what points at what.
pub(super) struct Walk {
    folder: PathBuf,
    damaged: HashSet<ChunkAddress>,
    seen: Seen,
    links: LinkSorter,
    /// Damaged chunks behind which nothing is seen.
    unread: Vec<ChunkAddress>,
    waiting: Vec<ChunkAddress>,
}

impl Walk {
    pub(super) fn new(
        folder: &Path,
        damaged: &[ChunkAddress],
        mut heads: Vec<ChunkAddress>,
    ) -> Result<Self, NeedsError> {
        let mut seen = Seen::new(folder);
        seen.insert_new(&mut heads)?;
        Ok(Self {
            folder: folder.to_owned(),
            damaged: damaged.iter().copied().collect(),
            seen,
            links: LinkSorter::new(folder),
            unread: Vec::new(),
            waiting: heads,
        })
    }

    pub(super) async fn run(
        mut self,
        source: &dyn ChunkSource,
        ghosts: &HashSet<ChunkAddress>,
        pool: &BlockingPool,
    ) -> Result<(Links, Vec<ChunkAddress>), NeedsError> {
        while !self.waiting.is_empty() {
            let at = self.waiting.len().saturating_sub(BATCH);
            let mut batch = self.waiting.split_off(at);
            batch.retain(|address| !ghosts.contains(address));
            let chunks = source::first(source, &batch).await?;
            self.waiting.extend(batch.split_off(chunks.len()));
            let mut walk = self;
            let take = move || {
                for (address, chunk) in batch.into_iter().zip(chunks) {
                    match chunk {
                        Some(chunk) => walk.take(address, &chunk)?,
                        None => walk.unread.push(address),
                    }
                }
                Ok::<_, NeedsError>(walk)
            };
            self = pool.run(take).await?;
        }
        let (folder, unread, links) = (self.folder, self.unread, self.links);
        let finish = move || links.finish().map_err(failed(&folder));
        Ok((pool.run(finish).await?, unread))
    }

    fn take(&mut self, address: ChunkAddress, chunk: &Bytes) -> Result<(), NeedsError> {
        // Another place may have the right chunk.
        if self.damaged.contains(&address) && hash_chunk(chunk) != address {
            self.unread.push(address);
            return Ok(());
        }
        let mut below = Vec::new();
        match Commit::decode(chunk) {
            Ok(commit) => {
                let mut link = |role, child| {
                    below.push(child);
                    self.links.push(Link {
                        child,
                        role,
                        at_millis: commit.committer.at_millis,
                        parent: address,
                    })
                };
                let linked = link(Role::RootValue, commit.root)
                    .and_then(|()| {
                        commit
                            .closure
                            .map_or(Ok(()), |at| link(Role::Ancestors, at))
                    })
                    .and_then(|()| {
                        let mut parents = commit.parents();
                        parents.try_for_each(|parent| link(Role::Parent, parent))
                    });
                linked.map_err(failed(&self.folder))?;
            }
            Err(_) => {
                // What cannot be told whole was told before; what comes before the mistake is looked at.
                let _mistake = children(chunk, &mut |child| below.push(child));
                // A commit is named by its children; the lists that name it as well are many.
                if !lists_ancestors(chunk).unwrap_or_default() {
                    for child in &below {
                        let linked = self.links.push(Link {
                            child: *child,
                            role: Role::Part,
                            at_millis: 0,
                            parent: address,
                        });
                        linked.map_err(failed(&self.folder))?;
                    }
                }
            }
        }
        self.seen.insert_new(&mut below)?;
        self.waiting.append(&mut below);
        Ok(())
    }
}
