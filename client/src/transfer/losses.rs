//! Commits that a change of a remote's refs would leave behind.
//!
//! A branch may only move to what follows from it. Whatever else moves or goes may do so while what it reached is still
//! reached: what branches and tags reached, by branches and tags, as people see nothing else.

use std::collections::HashSet;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::history::{Heads, History};
use holdfast_doltdb::model::{Tag, WorkingSet};
use holdfast_doltdb::source::{self, get_one};
use holdfast_doltdb::{ChunkSource, MessageKind, ReadError, RefName, SourceError, children};

use super::datasets::Datasets;

/// More lost commits of a ref are not counted.
const MOST_COUNTED: u64 = 1000;

/// How many chunks are asked for at once.
const BATCH: usize = 256;

/// Commits that would be lost with a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The ref as it is.
    pub name: RefName,
    /// The newest of the commits.
    pub first: ChunkAddress,
    /// How many there are.
    pub commits: u64,
    /// Whether there may be more.
    pub is_least: bool,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.is_least { "at least " } else { "" };
        let name = self.name.to_string();
        write!(f, "{} ({least}", name.escape_default())?;
        match self.commits {
            1 => write!(f, "1 commit, {})", self.first),
            count => write!(f, "{count} commits, the first {})", self.first),
        }
    }
}

/// Names losses in one line, of many the first ten.
pub(crate) fn in_a_line(losses: &[Loss]) -> String {
    let mut told: Vec<_> = losses.iter().take(10).map(Loss::to_string).collect();
    if losses.len() > told.len() {
        told.push(format!("and {} more", losses.len() - told.len()));
    }
    told.join(", ")
}

/// Finds the commits that the refs in `before` reach and that are lost when they become those in `after`. The source
/// must have the commits of both.
pub(crate) async fn losses(
    before: &Datasets,
    after: &Datasets,
    source: &dyn ChunkSource,
) -> Result<Vec<Loss>, ReadError> {
    let ghosts = HashSet::new();
    let history = History::new(source, &ghosts);
    let mut losses = Vec::new();
    // What is not where it was, and moves by no fast-forward.
    let mut open: Vec<(RefName, ChunkAddress)> = Vec::new();
    for (name, old) in before.iter() {
        let new = after.get(&name);
        if new == Some(old) {
            continue;
        }
        for commit in commits_of(source, old).await? {
            let new = new.filter(|_| matches!(name, RefName::Branch(_)));
            let Some(new) = new else {
                open.push((name.clone(), commit));
                continue;
            };
            let heads = Heads::read(history, [new]).await?;
            if !heads.reach(commit).await? {
                losses.push(loss(name.clone(), commit, &heads).await?);
            }
        }
    }
    if open.is_empty() {
        return Ok(losses);
    }
    let mut heads = Heads::read(history, []).await?;
    for kept in Kept::ALL {
        // What people see must stay in what they see.
        if kept == Kept::Others {
            for (name, commit) in open.extract_if(.., |(name, _)| name.is_public()) {
                losses.push(loss(name, commit, &heads).await?);
            }
        }
        if open.is_empty() {
            break;
        }
        heads.add(kept.heads(before, after, source).await?).await?;
        let mut rest = Vec::new();
        for (name, commit) in open {
            if !heads.reach(commit).await? {
                rest.push((name, commit));
            }
        }
        open = rest;
    }
    for (name, commit) in open {
        losses.push(loss(name, commit, &heads).await?);
    }
    Ok(losses)
}

async fn loss(
    name: RefName,
    first: ChunkAddress,
    heads: &Heads<'_, dyn ChunkSource + '_>,
) -> Result<Loss, ReadError> {
    let unreached = heads.unreached(first, MOST_COUNTED).await?;
    Ok(Loss {
        name,
        first,
        commits: unreached.count,
        is_least: unreached.is_least,
    })
}

/// What may still reach a commit, in the order in which it is asked: what lies here first, and what is seldom needed
/// last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    NewBranches,
    OldBranches,
    Tags,
    Others,
}

impl Kept {
    const ALL: [Self; 4] = [
        Self::NewBranches,
        Self::OldBranches,
        Self::Tags,
        Self::Others,
    ];

    async fn heads(
        self,
        before: &Datasets,
        after: &Datasets,
        source: &dyn ChunkSource,
    ) -> Result<Vec<ChunkAddress>, ReadError> {
        let is_meant = |(name, address): &(RefName, ChunkAddress)| {
            let is_new = before.get(name) != Some(*address);
            match self {
                Self::NewBranches => matches!(name, RefName::Branch(_)) && is_new,
                Self::OldBranches => matches!(name, RefName::Branch(_)) && !is_new,
                Self::Tags => matches!(name, RefName::Tag(_)),
                Self::Others => !name.is_public(),
            }
        };
        let addresses = after.iter().filter(is_meant).map(|(_, address)| address);
        let addresses: Vec<_> = addresses.collect();
        match self {
            Self::NewBranches | Self::OldBranches | Self::Others => Ok(addresses),
            Self::Tags => {
                let mut commits = Vec::new();
                for batch in addresses.chunks(BATCH) {
                    let show = |_, chunk: Option<Bytes>| {
                        let commit = |chunk: Bytes| Tag::decode(&chunk).ok().map(|tag| tag.commit);
                        commits.extend(chunk.and_then(commit));
                        Ok(())
                    };
                    source::each(source, batch, show).await?;
                }
                Ok(commits)
            }
        }
    }
}

/// The commits that a dataset stands for: itself, what it tags, what a merge or a rebase waits for, and where stashes
/// were made.
async fn commits_of(
    source: &dyn ChunkSource,
    address: ChunkAddress,
) -> Result<Vec<ChunkAddress>, ReadError> {
    let (mut commits, mut waiting) = (Vec::new(), vec![address]);
    while let Some(address) = waiting.pop() {
        let chunk = get_one(source, address).await?;
        let wrong = |source| ReadError::Decode { address, source };
        match MessageKind::of_head(&chunk) {
            Some(MessageKind::Commit) => commits.push(address),
            Some(MessageKind::Tag) => commits.push(Tag::decode(&chunk).map_err(wrong)?.commit),
            Some(MessageKind::WorkingSet) => {
                let set = WorkingSet::decode(&chunk).map_err(wrong)?;
                if set.is_merging || set.is_rebasing {
                    // What is wrong with its other references is no matter of commits.
                    let _ = children(&chunk, &mut |child| waiting.push(child));
                }
            }
            Some(MessageKind::StashList | MessageKind::AddressMap | MessageKind::Stash) => {
                let _ = children(&chunk, &mut |child| waiting.push(child));
            }
            _ => {}
        }
    }
    Ok(commits)
}

/// Two sources of which the second is asked for what the first has not.
pub(crate) struct Both<'a> {
    pub(crate) first: &'a dyn ChunkSource,
    pub(crate) second: &'a dyn ChunkSource,
}

#[async_trait]
impl ChunkSource for Both<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let mut chunks = self.first.get_some(addresses).await?;
        source::fill(&mut chunks, addresses, self.second).await?;
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use holdfast_doltdb::testing::TinyDb;

    use super::*;

    /// A store whose datasets are set by what its branches were called when they were made.
    struct Scene(TinyDb);

    impl Scene {
        /// `main` with two commits, `ahead` with two more, `side` with one of its own, and a tag of each.
        fn new() -> Self {
            let mut tiny = TinyDb::new();
            tiny.commit("main", "1");
            tiny.commit("main", "2");
            let main = tiny.head("main").unwrap();
            tiny.commit_on("ahead", "3", &[], &[main]);
            tiny.commit("ahead", "4");
            tiny.commit_on("side", "other", &[], &[main]);
            for branch in ["main", "ahead", "side"] {
                tiny.tag(branch, branch);
            }
            Self(tiny)
        }

        fn at(&self, name: &str) -> ChunkAddress {
            self.0.refs()[name]
        }

        fn datasets(&self, refs: &[(&str, &str)]) -> Datasets {
            let mut datasets = Datasets::default();
            for (name, like) in refs {
                datasets.set(&RefName::parse(name), Some(self.at(like)));
            }
            datasets
        }

        /// The refs with which something is lost, and how many commits.
        fn lost(&self, before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<(String, u64)> {
            let (before, after) = (self.datasets(before), self.datasets(after));
            let losses = block_on(losses(&before, &after, &self.0)).unwrap();
            let told = losses.into_iter();
            told.map(|loss| (loss.name.to_string(), loss.commits))
                .collect()
        }
    }

    const MAIN: &str = "refs/heads/main";
    const AHEAD: &str = "refs/heads/ahead";
    const SIDE: &str = "refs/heads/side";

    fn all_of(name: &str, commits: u64) -> Vec<(String, u64)> {
        vec![(name.to_owned(), commits)]
    }

    #[test]
    fn a_branch_moves_to_what_follows_from_it() {
        let scene = Scene::new();
        assert!(scene.lost(&[(MAIN, MAIN)], &[(MAIN, AHEAD)]).is_empty());
        assert_eq!(
            scene.lost(&[(MAIN, AHEAD)], &[(MAIN, MAIN)]),
            all_of(MAIN, 2)
        );
        // Also where another branch still has the commits.
        let both = [(MAIN, MAIN), ("refs/heads/kept", AHEAD)];
        assert_eq!(scene.lost(&[(MAIN, AHEAD)], &both), all_of(MAIN, 2));
    }

    #[test]
    fn a_branch_goes_while_another_or_a_tag_reaches_its_commits() {
        let scene = Scene::new();
        let before = [("refs/heads/a", SIDE), (MAIN, MAIN)];
        assert!(
            scene
                .lost(&before, &[("refs/heads/b", SIDE), (MAIN, MAIN)])
                .is_empty()
        );
        assert!(
            scene
                .lost(&before, &[(MAIN, MAIN), ("refs/tags/t", "refs/tags/side")])
                .is_empty()
        );
        assert_eq!(
            scene.lost(&before, &[(MAIN, AHEAD)]),
            all_of("refs/heads/a", 1)
        );
        // What nobody sees does not keep what was seen.
        let hidden = [(MAIN, MAIN), ("refs/remotes/origin/a", SIDE)];
        assert_eq!(scene.lost(&before, &hidden), all_of("refs/heads/a", 1));
        assert!(
            scene
                .lost(&[("refs/heads/old", MAIN)], &[(MAIN, AHEAD)])
                .is_empty()
        );
    }

    #[test]
    fn tags_and_what_only_a_remote_branch_reached_count() {
        let scene = Scene::new();
        let tagged = [(MAIN, MAIN), ("refs/tags/t", "refs/tags/side")];
        assert_eq!(
            scene.lost(&tagged, &[(MAIN, MAIN)]),
            all_of("refs/tags/t", 1)
        );
        let moved = [(MAIN, MAIN), ("refs/tags/t", "refs/tags/main")];
        assert_eq!(scene.lost(&tagged, &moved), all_of("refs/tags/t", 1));
        assert!(
            scene
                .lost(&[("refs/tags/t", "refs/tags/main")], &[(MAIN, AHEAD)])
                .is_empty()
        );
        let followed = [(MAIN, MAIN), ("refs/remotes/o/x", SIDE)];
        assert_eq!(
            scene.lost(&followed, &[(MAIN, MAIN)]),
            all_of("refs/remotes/o/x", 1)
        );
        let renamed = [(MAIN, MAIN), ("refs/remotes/p/x", SIDE)];
        assert!(scene.lost(&followed, &renamed).is_empty());
    }

    #[test]
    fn refs_that_are_none_are_no_hindrance() {
        let scene = Scene::new();
        let before = [
            (MAIN, MAIN),
            ("refs/heads/z", "refs/tags/main"),
            ("refs/tags/x", MAIN),
        ];
        assert!(scene.lost(&before, &[(MAIN, MAIN)]).is_empty());
        assert!(
            scene
                .lost(
                    &[(MAIN, MAIN)],
                    &[(MAIN, AHEAD), ("refs/heads/z", "refs/tags/main")]
                )
                .is_empty()
        );
    }

    #[test]
    fn a_loss_is_said_with_count_and_first_commit() {
        let loss = |commits, is_least| Loss {
            name: RefName::parse("refs/heads/a"),
            first: ChunkAddress::ZERO,
            commits,
            is_least,
        };
        let zero = ChunkAddress::ZERO;
        assert_eq!(
            loss(1, false).to_string(),
            format!("refs/heads/a (1 commit, {zero})")
        );
        assert_eq!(
            loss(1000, true).to_string(),
            format!("refs/heads/a (at least 1000 commits, the first {zero})")
        );
        let many = vec![loss(1, false); 12];
        assert!(in_a_line(&many).ends_with(", and 2 more"));
    }
}
