//! How far two commits are from each other.

use std::collections::{BinaryHeap, HashMap, HashSet};

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ChunkSource, ReadError};

use super::{CommitFacts, read_commits};

/// How many commits two commits do not share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Divergence {
    /// How many only the first one comes from, itself included.
    pub ahead: u64,
    /// How many only the second one comes from, itself included.
    pub behind: u64,
    /// Whether a shallow clone left commits out that may count as well.
    pub is_cut: bool,
}

/// Which of the two commits some commit was reached from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sides {
    ours: bool,
    theirs: bool,
}

impl Sides {
    fn both(self) -> bool {
        self.ours && self.theirs
    }

    fn join(&mut self, other: Self) {
        self.ours |= other.ours;
        self.theirs |= other.theirs;
    }
}

/// Counts the commits that only one of two commits comes from. Reads those, and those that lie above the last one:
/// never the whole history of two commits that are near to each other.
pub async fn divergence(
    source: &dyn ChunkSource,
    ghosts: &HashSet<ChunkAddress>,
    ours: ChunkAddress,
    theirs: ChunkAddress,
) -> Result<Divergence, ReadError> {
    let mut found = Divergence::default();
    if ours == theirs {
        return Ok(found);
    }
    let mut sides: HashMap<ChunkAddress, Sides> = HashMap::new();
    sides.entry(ours).or_default().ours = true;
    sides.entry(theirs).or_default().theirs = true;
    let mut waiting: BinaryHeap<CommitFacts> = read_commits(source, &[ours, theirs]).await?.into();
    // All children of the greatest commit are greater, and were seen before it: what it was reached from is known.
    while waiting.iter().any(|commit| !sides[&commit.address].both()) {
        let Some(commit) = waiting.pop() else { break };
        let reached = sides[&commit.address];
        match (reached.ours, reached.theirs) {
            (true, false) => found.ahead += 1,
            (false, true) => found.behind += 1,
            _ => {}
        }
        let mut unread = Vec::new();
        for parent in commit.parents {
            if ghosts.contains(&parent) {
                found.is_cut |= !reached.both();
                continue;
            }
            if !sides.contains_key(&parent) {
                unread.push(parent);
            }
            sides.entry(parent).or_default().join(reached);
        }
        waiting.extend(read_commits(source, &unread).await?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ancestry::testing::Commits;

    async fn counted(commits: &Commits, ours: ChunkAddress, theirs: ChunkAddress) -> (u64, u64) {
        let found = divergence(commits, &HashSet::new(), ours, theirs).await;
        let found = found.unwrap();
        assert!(!found.is_cut);
        (found.ahead, found.behind)
    }

    #[tokio::test]
    async fn commits_of_each_side_are_counted_through_merges() {
        let mut commits = Commits::default();
        let first = commits.add(&[]);
        let base = commits.add(&[first]);
        let ours = commits.add(&[base]);
        let theirs = commits.add(&[base]);
        let theirs_more = commits.add(&[theirs]);
        let merge = commits.add(&[ours, theirs]);
        assert_eq!(counted(&commits, base, base).await, (0, 0));
        assert_eq!(counted(&commits, ours, base).await, (1, 0));
        assert_eq!(counted(&commits, base, theirs_more).await, (0, 2));
        assert_eq!(counted(&commits, ours, theirs_more).await, (1, 2));
        // The merge and ours are not theirs; only the last of theirs is not in the merge.
        assert_eq!(counted(&commits, merge, theirs_more).await, (2, 1));
    }

    #[tokio::test]
    async fn what_both_share_is_not_read_to_its_beginning() {
        let mut commits = Commits::default();
        let mut base = commits.add(&[]);
        for _ in 0..100 {
            base = commits.add(&[base]);
        }
        let ours = commits.add(&[base]);
        let theirs = commits.add(&[base]);
        assert_eq!(counted(&commits, ours, theirs).await, (1, 1));
        assert!(commits.reads() <= 5, "{} reads", commits.reads());
    }

    #[tokio::test]
    async fn a_history_that_was_cut_says_so() {
        let mut commits = Commits::default();
        let ghost = commits.left_out();
        let base = commits.add(&[ghost]);
        let ours = commits.add(&[base]);
        let other = commits.add(&[]);
        let ghosts = HashSet::from([ghost]);
        let found = divergence(&commits, &ghosts, ours, base).await.unwrap();
        assert_eq!((found.ahead, found.behind, found.is_cut), (1, 0, false));
        let found = divergence(&commits, &ghosts, ours, other).await.unwrap();
        assert_eq!((found.ahead, found.behind, found.is_cut), (2, 1, true));
    }
}
