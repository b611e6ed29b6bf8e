//! What several heads reach together: whether a commit is among it, and how much of a history is not.
//!
//! Each question is a few reads of a closure per head, however long history is. Heads that are not above a commit are
//! not asked.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use super::front::check_height;
use super::{BATCH, History, WalkedCommit};
use crate::error::ReadError;
use crate::message::MessageKind;
use crate::source::{self, ChunkSource};
use crate::tree::{AncestorKey, CommitClosure};

/// How many closures may be asked for one count; what is counted until then is the least.
const MOST_QUESTIONS: u64 = 100_000;

/// Some commits, each of which stands for itself and all its ancestors.
#[derive(Debug)]
pub struct Heads<'s, S: ?Sized> {
    history: History<'s, S>,
    heads: HashMap<ChunkAddress, WalkedCommit>,
}

/// Commits that are reached from one commit and from none of some heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreached {
    /// How many there are.
    pub count: u64,
    /// Whether there may be more.
    pub is_least: bool,
}

impl<'s, S: ChunkSource + ?Sized> Heads<'s, S> {
    /// Reads heads. What is no commit, or is not there, reaches nothing.
    pub async fn read(
        history: History<'s, S>,
        heads: impl IntoIterator<Item = ChunkAddress>,
    ) -> Result<Self, ReadError> {
        let mut this = Self {
            history,
            heads: HashMap::new(),
        };
        this.add(heads).await?;
        Ok(this)
    }

    /// Takes more heads in, as [`Heads::read`] does.
    pub async fn add(
        &mut self,
        heads: impl IntoIterator<Item = ChunkAddress>,
    ) -> Result<(), ReadError> {
        let is_new = |head: &ChunkAddress| !self.heads.contains_key(head);
        let mut fresh: Vec<_> = heads.into_iter().filter(is_new).collect();
        fresh.sort_unstable();
        fresh.dedup();
        for batch in fresh.chunks(BATCH) {
            let is_commit =
                |chunk: &Bytes| MessageKind::of_head(chunk) == Some(MessageKind::Commit);
            let heads = &mut self.heads;
            let show = |address, chunk: Option<Bytes>| {
                if let Some(chunk) = chunk.filter(is_commit) {
                    heads.insert(address, WalkedCommit::decode(address, chunk)?);
                }
                Ok(())
            };
            source::each(self.history.source, batch, show).await?;
        }
        Ok(())
    }

    /// Whether a commit, which must be there, is one of the heads or an ancestor of one.
    pub async fn reach(&self, commit: ChunkAddress) -> Result<bool, ReadError> {
        if self.heads.contains_key(&commit) {
            return Ok(true);
        }
        let read = self.history.read(&[commit]).await?;
        let key = AncestorKey {
            height: read[0].height,
            address: commit,
        };
        self.contain(key, &mut 0).await
    }

    async fn contain(&self, key: AncestorKey, questions: &mut u64) -> Result<bool, ReadError> {
        if self.heads.contains_key(&key.address) {
            return Ok(true);
        }
        for head in self.heads.values() {
            if head.height <= key.height {
                continue;
            }
            *questions += 1;
            let is_in = match (head.closure, head.parents.is_empty()) {
                // A writer that kept no closure.
                (None, false) => self.history.is_ancestor(key.address, head.address).await?,
                (closure, _) => {
                    let closure = CommitClosure::open(self.history.source, closure).await?;
                    closure.contains(key).await?
                }
            };
            if is_in {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the commits that are reached from one commit, itself included, and from none of the heads; no further
    /// than `most`.
    pub async fn unreached(&self, from: ChunkAddress, most: u64) -> Result<Unreached, ReadError> {
        let mut waiting = BTreeMap::new();
        let mut unreached = Unreached {
            count: 0,
            is_least: false,
        };
        let mut questions = 0;
        let (mut links, mut below) = (vec![from], u64::MAX);
        loop {
            for commit in self.history.read(&links).await? {
                check_height(commit.address, commit.height, below)?;
                waiting.insert((commit.height, commit.address), commit);
            }
            let Some(((height, address), commit)) = waiting.pop_last() else {
                return Ok(unreached);
            };
            (links, below) = (Vec::new(), height);
            if self
                .contain(AncestorKey { height, address }, &mut questions)
                .await?
            {
                continue;
            }
            if unreached.count == most || questions > MOST_QUESTIONS {
                unreached.is_least = true;
                return Ok(unreached);
            }
            unreached.count += 1;
            let is_here = |parent: &ChunkAddress| !self.history.is_ghost(parent);
            links.extend(commit.parents.into_iter().filter(is_here));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures::executor::block_on;
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::source::SourceError;
    use crate::testing::TinyDb;

    /// Commits by number, and for each the numbers of itself and its ancestors.
    fn random(seed: u64, len: usize) -> (TinyDb, Vec<ChunkAddress>, Vec<HashSet<usize>>) {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut tiny, mut commits) = (TinyDb::new(), Vec::new());
        let mut reached: Vec<HashSet<usize>> = Vec::new();
        for number in 0..len {
            let near = number.saturating_sub(8)..number;
            let parents: HashSet<usize> = match number {
                0 => HashSet::new(),
                _ => (0..random.random_range(1..=2))
                    .map(|_| random.random_range(near.clone()))
                    .collect(),
            };
            let addresses: Vec<_> = parents.iter().map(|parent| commits[*parent]).collect();
            tiny.commit_on("main", &format!("commit {number}"), &[], &addresses);
            commits.push(tiny.head("main").unwrap());
            let mut all: HashSet<_> = parents
                .iter()
                .flat_map(|at| &reached[*at])
                .copied()
                .collect();
            all.insert(number);
            reached.push(all);
        }
        (tiny, commits, reached)
    }

    #[test]
    fn what_heads_reach_is_what_sets_of_ancestors_say() {
        for seed in 0..5 {
            println!("seed {seed}");
            let (tiny, commits, reached) = random(seed, 60);
            let ghosts = HashSet::new();
            let mut random = SmallRng::seed_from_u64(seed + 100);
            for _ in 0..20 {
                let chosen: Vec<_> = (0..3).map(|_| random.random_range(0..60)).collect();
                let all: HashSet<_> = chosen.iter().flat_map(|at| &reached[*at]).collect();
                let history = History::new(&tiny, &ghosts);
                let heads = chosen.iter().map(|number| commits[*number]);
                let heads = block_on(Heads::read(history, heads)).unwrap();
                for number in 0..60 {
                    let is_reached = block_on(heads.reach(commits[number])).unwrap();
                    assert_eq!(is_reached, all.contains(&number), "{chosen:?} {number}");
                    let unreached = block_on(heads.unreached(commits[number], 1000)).unwrap();
                    let expected = reached[number].iter().filter(|at| !all.contains(at));
                    assert_eq!(unreached.count, expected.count() as u64);
                    assert!(!unreached.is_least);
                }
            }
        }
    }

    struct Counted<'a> {
        tiny: &'a TinyDb,
        chunks: AtomicUsize,
    }

    #[async_trait]
    impl ChunkSource for Counted<'_> {
        async fn get_some(
            &self,
            addresses: &[ChunkAddress],
        ) -> Result<Vec<Option<Bytes>>, SourceError> {
            self.chunks.fetch_add(addresses.len(), Ordering::Relaxed);
            self.tiny.get_some(addresses).await
        }
    }

    #[test]
    fn a_long_history_is_not_walked_to_find_one_commit() {
        let mut tiny = TinyDb::new();
        tiny.commit("main", "first");
        let first = tiny.head("main").unwrap();
        for number in 0..1000 {
            tiny.commit("main", &format!("commit {number}"));
        }
        let (head, ghosts) = (tiny.head("main").unwrap(), HashSet::new());
        let source = Counted {
            tiny: &tiny,
            chunks: AtomicUsize::new(0),
        };
        let history = History::new(&source, &ghosts);
        let heads = block_on(Heads::read(history, [head])).unwrap();
        assert!(block_on(heads.reach(first)).unwrap());
        let read = source.chunks.load(Ordering::Relaxed);
        assert!(read < 10, "{read}");

        let heads = block_on(Heads::read(history, [first])).unwrap();
        let unreached = block_on(heads.unreached(head, 10)).unwrap();
        let expected = Unreached {
            count: 10,
            is_least: true,
        };
        assert_eq!(unreached, expected);
    }
}
