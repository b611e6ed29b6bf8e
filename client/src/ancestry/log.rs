//! The log of a commit: it and all that it comes from.

use std::collections::{BinaryHeap, HashSet};

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ChunkSource, ReadError};

use super::{CommitFacts, read_commits};

/// Walks from a commit to its ancestors, children before their parents: heights fall from each commit to its parents,
/// so the greatest first is such an order.
pub struct Log<'a> {
    source: &'a dyn ChunkSource,
    /// What a shallow clone left out is where its log ends.
    ghosts: &'a HashSet<ChunkAddress>,
    seen: HashSet<ChunkAddress>,
    unread: Vec<ChunkAddress>,
    waiting: BinaryHeap<CommitFacts>,
}

impl<'a> Log<'a> {
    /// Begins at a commit; nothing is read yet.
    pub fn new(
        source: &'a dyn ChunkSource,
        ghosts: &'a HashSet<ChunkAddress>,
        start: ChunkAddress,
    ) -> Self {
        Self {
            source,
            ghosts,
            seen: HashSet::from([start]),
            unread: vec![start],
            waiting: BinaryHeap::new(),
        }
    }

    /// Returns the next commit, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<CommitFacts>, ReadError> {
        let unread = std::mem::take(&mut self.unread);
        self.waiting
            .extend(read_commits(self.source, &unread).await?);
        let Some(commit) = self.waiting.pop() else {
            return Ok(None);
        };
        for parent in &commit.parents {
            if !self.ghosts.contains(parent) && self.seen.insert(*parent) {
                self.unread.push(*parent);
            }
        }
        Ok(Some(commit))
    }
}

impl std::fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("seen", &self.seen.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ancestry::testing::Commits;

    async fn logged(
        commits: &Commits,
        ghosts: &HashSet<ChunkAddress>,
        start: ChunkAddress,
    ) -> Vec<ChunkAddress> {
        let mut log = Log::new(commits, ghosts, start);
        let mut found = Vec::new();
        while let Some(commit) = log.next().await.unwrap() {
            found.push(commit.address);
        }
        found
    }

    #[tokio::test]
    async fn children_come_before_parents_and_each_commit_once() {
        let mut commits = Commits::default();
        let first = commits.add(&[]);
        let left = commits.add(&[first]);
        let right = commits.add(&[first]);
        let right_more = commits.add(&[right]);
        let merge = commits.add(&[left, right_more]);
        let none = HashSet::new();
        let log = logged(&commits, &none, merge).await;
        assert_eq!(log.len(), 5);
        assert_eq!((log[0], log[1], log[4]), (merge, right_more, first));
        assert_eq!(logged(&commits, &none, left).await, [left, first]);
    }

    #[tokio::test]
    async fn a_log_ends_at_what_a_shallow_clone_left_out() {
        let mut commits = Commits::default();
        let ghost = commits.left_out();
        let after = commits.add(&[ghost]);
        let head = commits.add(&[after]);
        let ghosts = HashSet::from([ghost]);
        assert_eq!(logged(&commits, &ghosts, head).await, [head, after]);
        let none = HashSet::new();
        let mut log = Log::new(&commits, &none, head);
        assert!(log.next().await.is_ok());
        assert!(log.next().await.is_ok());
        let missing = log.next().await.unwrap_err();
        assert!(matches!(missing, ReadError::Missing { address } if address == ghost));
    }
}
