//! The way back from chunks to commits and refs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::PathBuf;

use holdfast_chunkstore::ChunkAddress;

use super::links::{Links, Role};
use super::need::{Asked, Need, NeedingCommit, NeedsError, Place};
use super::seen::{Seen, failed};
use crate::refs::RefName;

/// Finds the way back from chunks to commits and refs.
pub(super) struct Finder {
    links: Links,
    /// Damaged chunks behind which nothing is seen.
    unread: Vec<ChunkAddress>,
    refs: Vec<RefName>,
    /// Which refs stand for a chunk.
    heads: HashMap<ChunkAddress, Vec<usize>>,
    named: usize,
    folder: PathBuf,
}

/// What was found on the way back.
#[derive(Default)]
struct Found {
    /// How many commits are named.
    named: usize,
    refs: HashSet<usize>,
    /// The oldest of those that are named on top.
    commits: BinaryHeap<Reverse<NeedingCommit>>,
    count: u64,
    place: Option<Place>,
}

impl Found {
    fn is(&mut self, place: Place) {
        self.place = Some(self.place.map_or(place, |before| before.min(place)));
    }

    fn holds(&mut self, commit: NeedingCommit) {
        self.count += 1;
        self.commits.push(Reverse(commit));
        if self.commits.len() > self.named {
            self.commits.pop();
        }
    }
}

impl Finder {
    pub(super) fn new(
        links: Links,
        unread: Vec<ChunkAddress>,
        refs: Vec<(RefName, ChunkAddress)>,
        asked: &Asked<'_>,
    ) -> Self {
        let mut heads: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, (_, head)) in refs.iter().enumerate() {
            heads.entry(*head).or_default().push(number);
        }
        Self {
            links,
            unread,
            refs: refs.into_iter().map(|(name, _)| name).collect(),
            heads,
            named: asked.named,
            folder: asked.folder.to_owned(),
        }
    }

    /// Finds what needs one of some chunks. Blocks.
    pub(super) fn find(&self, chunks: &[ChunkAddress]) -> Result<Need, NeedsError> {
        let mut found = Found {
            named: self.named,
            ..Found::default()
        };
        let commits = self.commits_of(chunks, &mut found)?;
        self.descend(commits, &mut found)?;
        if found.place.is_none() && !found.refs.is_empty() {
            found.is(Place::Ref);
        }
        Ok(self.need(found))
    }

    /// Goes from chunks up to the commits that hold them, and returns those, with those of the chunks that are commits
    /// themselves.
    fn commits_of(
        &self,
        chunks: &[ChunkAddress],
        found: &mut Found,
    ) -> Result<Vec<ChunkAddress>, NeedsError> {
        let (mut seen, mut commits) = (Seen::new(&self.folder), Vec::new());
        let mut waiting = chunks.to_vec();
        seen.insert_new(&mut waiting)?;
        while let Some(chunk) = waiting.pop() {
            let mut is_commit = self.is_branch(chunk);
            self.note_refs(chunk, found);
            let mut above = Vec::new();
            let mut holders = Vec::new();
            let read = self.links.each_to(chunk, |link| match link.role {
                Role::Part => above.push(link.parent),
                Role::Parent => is_commit = true,
                Role::RootValue | Role::Ancestors => holders.push(link),
            });
            read.map_err(failed(&self.folder))?;
            for link in holders {
                found.is(match link.role {
                    Role::Ancestors => Place::Ancestors,
                    _ => Place::Tables,
                });
                if seen.insert(link.parent)? {
                    found.holds(NeedingCommit {
                        at_millis: link.at_millis,
                        address: link.parent,
                    });
                    commits.push(link.parent);
                }
            }
            if is_commit {
                found.is(Place::Commit);
                commits.push(chunk);
            }
            seen.insert_new(&mut above)?;
            waiting.append(&mut above);
        }
        Ok(commits)
    }

    /// Goes from commits to all that follow from them, and to the refs that stand for one of those.
    fn descend(&self, commits: Vec<ChunkAddress>, found: &mut Found) -> Result<(), NeedsError> {
        let mut seen = Seen::new(&self.folder);
        let mut waiting = commits;
        seen.insert_new(&mut waiting)?;
        while let Some(chunk) = waiting.pop() {
            self.note_refs(chunk, found);
            if found.refs.len() == self.refs.len() {
                break;
            }
            let mut above = Vec::new();
            let read = self.links.each_to(chunk, |link| above.push(link.parent));
            read.map_err(failed(&self.folder))?;
            if above.is_empty() && !self.heads.contains_key(&chunk) {
                // It was found by a list of ancestors: a child of it is damaged.
                above.clone_from(&self.unread);
            }
            seen.insert_new(&mut above)?;
            waiting.append(&mut above);
        }
        Ok(())
    }

    fn is_branch(&self, chunk: ChunkAddress) -> bool {
        let of = self.heads.get(&chunk).into_iter().flatten();
        let mut names = of.map(|number| &self.refs[*number]);
        names.any(|name| matches!(name, RefName::Branch(_) | RefName::RemoteBranch { .. }))
    }

    fn note_refs(&self, chunk: ChunkAddress, found: &mut Found) {
        found
            .refs
            .extend(self.heads.get(&chunk).into_iter().flatten());
    }

    fn need(&self, found: Found) -> Need {
        let mut refs: Vec<_> = found.refs.into_iter().collect();
        refs.sort_unstable();
        let named = refs
            .iter()
            .take(self.named)
            .map(|number| &self.refs[*number]);
        let commits = found.commits.into_sorted_vec();
        let commits: Vec<_> = commits.into_iter().map(|commit| commit.0).collect();
        Need {
            place: found.place.unwrap_or(Place::Unreached),
            more_refs: refs.len().saturating_sub(self.named) as u64,
            refs: named.cloned().collect(),
            more_commits: found.count.saturating_sub(commits.len() as u64),
            commits,
        }
    }
}
