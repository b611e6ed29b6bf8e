use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::executor::block_on;
use holdfast_chunkstore::ErrorKind;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::refs::RefName;
use crate::source::SourceError;
use crate::testing::TinyDb;
use crate::testing::messages::{self, CommitFields};

/// A history with branches and merges, and for each commit its parents.
struct World {
    tiny: TinyDb,
    commits: Vec<ChunkAddress>,
    parents: Vec<Vec<usize>>,
}

impl World {
    fn random(seed: u64, len: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut world = Self::empty();
        for number in 0..len {
            let parents = match number {
                0 => vec![],
                // A second root, seldom.
                _ if random.random_range(0..30) == 0 => vec![],
                _ => {
                    let count = random.random_range(1..=3_usize);
                    let near = number.saturating_sub(6)..number;
                    (0..count)
                        .map(|_| random.random_range(near.clone()))
                        .collect()
                }
            };
            world.add(&parents);
        }
        world
    }

    fn empty() -> Self {
        Self {
            tiny: TinyDb::new(),
            commits: Vec::new(),
            parents: Vec::new(),
        }
    }

    fn add(&mut self, parents: &[usize]) -> ChunkAddress {
        let distinct: BTreeSet<_> = parents.iter().copied().collect();
        let parents: Vec<_> = distinct.into_iter().rev().collect();
        let addresses: Vec<_> = parents.iter().map(|parent| self.commits[*parent]).collect();
        let message = format!("commit {}", self.commits.len());
        self.tiny.commit_on("main", &message, &[], &addresses);
        let head = self.tiny.head("main").unwrap();
        self.commits.push(head);
        self.parents.push(parents);
        head
    }

    /// A commit and all its ancestors but those behind ghosts, found the simple way.
    fn reached(&self, head: usize, ghosts: &HashSet<ChunkAddress>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![head];
        while let Some(number) = waiting.pop() {
            if !ghosts.contains(&self.commits[number]) && reached.insert(number) {
                waiting.extend(&self.parents[number]);
            }
        }
        reached
    }
}

fn none() -> HashSet<ChunkAddress> {
    HashSet::new()
}

async fn walked<S: ChunkSource>(
    history: History<'_, S>,
    head: ChunkAddress,
) -> Result<Vec<WalkedCommit>, ReadError> {
    let mut walk = history.newest_first(head).await?;
    let mut commits = Vec::new();
    while let Some(commit) = walk.next().await? {
        commits.push(commit);
    }
    Ok(commits)
}

/// A source that counts what it is asked for.
struct Counting<'a> {
    tiny: &'a TinyDb,
    chunks: AtomicUsize,
    batches: AtomicUsize,
}

impl<'a> Counting<'a> {
    fn new(tiny: &'a TinyDb) -> Self {
        Self {
            tiny,
            chunks: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
        }
    }

    fn counts(&self) -> (usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (count(&self.chunks), count(&self.batches))
    }
}

#[async_trait]
impl ChunkSource for Counting<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        self.chunks.fetch_add(addresses.len(), Ordering::Relaxed);
        self.batches
            .fetch_add(usize::from(!addresses.is_empty()), Ordering::Relaxed);
        self.tiny.get_some(addresses).await
    }
}

#[test]
fn a_walk_gives_each_ancestor_once_with_children_first() {
    for seed in 0..20 {
        let mut world = World::random(seed, 60);
        let mut random = SmallRng::seed_from_u64(seed);
        let left_out = random.random_range(0..3_usize);
        let left_out = (0..left_out).map(|_| random.random_range(0..59_usize));
        let ghosts: HashSet<_> = left_out.map(|number| world.commits[number]).collect();
        for ghost in &ghosts {
            world.tiny.lose(*ghost);
        }
        let commits = walked(History::new(&world.tiny, &ghosts), world.commits[59]);
        let commits = block_on(commits).unwrap();
        let mut wanted: Vec<_> = world.reached(59, &ghosts).into_iter().collect();
        // Later commits are made later, so that dates order those of one height.
        let height = |number: usize| {
            let found = commits
                .iter()
                .find(|at| at.address == world.commits[number]);
            found.map(|commit| commit.height)
        };
        wanted.sort_by_key(|number| std::cmp::Reverse((height(*number), *number)));
        let addresses: Vec<_> = commits.iter().map(|commit| commit.address).collect();
        let wanted: Vec<_> = wanted.iter().map(|number| world.commits[*number]).collect();
        assert_eq!(addresses, wanted, "seed {seed}");
        for (index, commit) in commits.iter().enumerate() {
            let done = &addresses[..index];
            assert!(!commit.parents.iter().any(|parent| done.contains(parent)));
        }
    }
}

#[test]
fn descent_and_distance_are_what_sets_of_ancestors_say() {
    for seed in 0..10 {
        let world = World::random(seed, 40);
        let ghosts = none();
        let history = History::new(&world.tiny, &ghosts);
        let reached: Vec<_> = (0..40)
            .map(|number| world.reached(number, &ghosts))
            .collect();
        for left in 0..40 {
            for right in 0..40 {
                let (a, b) = (world.commits[left], world.commits[right]);
                let is_ancestor = block_on(history.is_ancestor(a, b)).unwrap();
                assert_eq!(
                    is_ancestor,
                    reached[right].contains(&left),
                    "{seed} {left} {right}"
                );
                let distance = block_on(history.ahead_behind(a, b)).unwrap();
                let ahead = reached[left].difference(&reached[right]).count() as u64;
                let behind = reached[right].difference(&reached[left]).count() as u64;
                let counted = (distance.ahead, distance.behind);
                assert_eq!(counted, (ahead, behind), "{seed} {left} {right}");
            }
        }
    }
}

#[test]
fn questions_read_no_further_than_they_must() {
    let mut world = World::empty();
    world.add(&[]);
    for number in 0..999 {
        world.add(&[number]);
    }
    let ghosts = none();
    let source = Counting::new(&world.tiny);
    let history = History::new(&source, &ghosts);
    let (old, new) = (world.commits[989], world.commits[999]);
    assert!(block_on(history.is_ancestor(old, new)).unwrap());
    assert_eq!(source.counts(), (11, 11));
    let source = Counting::new(&world.tiny);
    let history = History::new(&source, &ghosts);
    assert!(!block_on(history.is_ancestor(new, old)).unwrap());
    let ten = Distance {
        ahead: 10,
        ..Distance::default()
    };
    assert_eq!(block_on(history.ahead_behind(new, old)).unwrap(), ten);
    assert!(source.counts().0 < 20, "{:?}", source.counts());
    let source = Counting::new(&world.tiny);
    let history = History::new(&source, &ghosts);
    let first = block_on(async { history.newest_first(new).await.unwrap().next().await });
    assert_eq!(first.unwrap().unwrap().address, new);
    assert_eq!(
        source.counts(),
        (1, 1),
        "parents are read when they are asked for"
    );
}

#[test]
fn parents_of_one_height_are_read_at_once() {
    let mut world = World::empty();
    world.add(&[]);
    let side: Vec<_> = (0..50).map(|_| world.add(&[0])).collect();
    let merged: Vec<_> = (1..=50).collect();
    let head = world.add(&merged);
    let source = Counting::new(&world.tiny);
    let ghosts = none();
    let commits = block_on(walked(History::new(&source, &ghosts), head)).unwrap();
    assert_eq!(commits.len(), side.len() + 2);
    assert_eq!(source.counts(), (52, 3));
}

#[test]
fn a_shallow_clone_keeps_generations_and_names_the_rest() {
    for seed in 0..10 {
        let world = World::random(seed, 200);
        let ghosts = none();
        let history = History::new(&world.tiny, &ghosts);
        for depth in [1, 2, 3, 10, 1000] {
            let mut generation = BTreeSet::from([199]);
            let mut wanted = BTreeSet::new();
            for _ in 0..depth {
                let parents = generation.iter().flat_map(|number| &world.parents[*number]);
                let parents = parents.copied().collect();
                wanted.extend(std::mem::replace(&mut generation, parents));
            }
            let depth = NonZeroU32::new(depth).unwrap();
            let split = block_on(history.kept_and_ghosts(world.commits[199], depth)).unwrap();
            assert_eq!(split.kept[0], world.commits[199]);
            let numbers = |addresses: &[ChunkAddress]| -> Vec<usize> {
                let position = |address| world.commits.iter().position(|at| at == address);
                let mut numbers: Vec<_> = addresses.iter().filter_map(position).collect();
                assert_eq!(numbers.len(), addresses.len());
                numbers.sort_unstable();
                numbers
            };
            let rest = world.reached(199, &ghosts);
            let rest: Vec<_> = rest.difference(&wanted).copied().collect();
            assert_eq!(numbers(&split.kept), wanted.into_iter().collect::<Vec<_>>());
            assert_eq!(numbers(&split.ghosts), rest, "seed {seed}, depth {depth}");
        }
    }
}

#[test]
fn what_is_left_out_is_not_read() {
    let mut world = World::empty();
    world.add(&[]);
    for number in 0..499 {
        world.add(&[number]);
    }
    let head = world.commits[499];
    for ghost in &world.commits[..498] {
        world.tiny.lose(*ghost);
    }
    let ghosts = HashSet::from([world.commits[497]]);
    for depth in [2, 7] {
        // A source that is shallow itself keeps what it has.
        let history = History::new(&world.tiny, &ghosts);
        let depth = NonZeroU32::new(depth).unwrap();
        let split = block_on(history.kept_and_ghosts(head, depth)).unwrap();
        assert_eq!(split.kept, [head, world.commits[498]]);
        assert_eq!(split.ghosts.len(), 498);
    }
}

#[test]
fn ghosts_end_history_and_what_is_missing_does_not() {
    let mut world = World::empty();
    world.add(&[]);
    let ghost = world.add(&[0]);
    let head = world.add(&[1]);
    let later = world.add(&[2]);
    world.tiny.lose(ghost);
    let ghosts = HashSet::from([ghost]);
    let nothing = none();
    let history = History::new(&world.tiny, &ghosts);
    block_on(async {
        assert_eq!(walked(history, head).await.unwrap().len(), 1);
        assert!(history.is_ancestor(ghost, head).await.unwrap());
        assert!(!history.is_ancestor(world.commits[0], head).await.unwrap());
        let mut one = Distance {
            ahead: 1,
            behind: 0,
            is_cut: true,
        };
        assert_eq!(history.ahead_behind(head, ghost).await.unwrap(), one);
        one.is_cut = false;
        assert_eq!(history.ahead_behind(later, head).await.unwrap(), one);
        let history = History::new(&world.tiny, &nothing);
        let error = walked(history, head).await.unwrap_err();
        assert!(matches!(error, ReadError::Missing { address } if address == ghost));
        assert_eq!(error.kind(), ErrorKind::Dangling);
    });
}

#[test]
fn a_commit_that_is_not_above_its_parents_is_refused() {
    let mut world = World::empty();
    let parent = world.add(&[]);
    let forge = |tiny: &mut TinyDb, height, parents: &[ChunkAddress]| {
        tiny.put_raw(messages::commit(&CommitFields {
            root: ChunkAddress::ZERO,
            height,
            parents,
            closure: ChunkAddress::ZERO,
            name: "",
            email: "",
            description: "",
            timestamp_millis: 0,
            user_timestamp_millis: 0,
            signature: None,
            committer: [None, None],
        }))
    };
    let level = forge(&mut world.tiny, 1, &[parent]);
    // Its other parent is above the one that both share.
    let high = forge(&mut world.tiny, 9, &[parent]);
    let above = forge(&mut world.tiny, 10, &[level, high]);
    let ghosts = none();
    let history = History::new(&world.tiny, &ghosts);
    for head in [level, above] {
        let error = block_on(walked(history, head)).unwrap_err();
        assert!(
            matches!(error, ReadError::Height { address, height: 1, below: 1 } if address == parent),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn revisions_stand_for_commits() {
    let mut world = World::empty();
    let root = world.add(&[]);
    let left = world.add(&[0]);
    let right = world.add(&[0]);
    let head = world.add(&[1, 2]);
    let tiny = &mut world.tiny;
    tiny.tag("v1", "main");
    let later = {
        tiny.commit("main", "later");
        tiny.head("main").unwrap()
    };
    let missing = ChunkAddress::new([7; 20]);
    tiny.set(&[
        ("refs/remotes/origin/main", Some(left)),
        ("refs/heads/a/b", Some(right)),
        ("refs/tags/main", Some(right)),
        ("refs/heads/lost", Some(missing)),
    ]);
    let store_root = tiny.root();
    let not_a_commit = store_root.chunk().unwrap();
    let ghosts = HashSet::from([root]);
    let nothing = none();
    block_on(async {
        let history = History::new(&*tiny, &nothing);
        let commit = async |text: &str| {
            let found = history.resolve(store_root, text).await.unwrap();
            found.map(|resolved| resolved.commit)
        };
        for (text, wanted) in [
            ("main", later),
            ("refs/heads/main", later),
            ("refs/tags/main", right),
            ("main~", head),
            ("v1", head),
            // The parents stand in the order that they were given in.
            ("v1^", right),
            ("v1^2", left),
            ("v1~2", root),
            ("main~0", later),
            ("main^^2~1", root),
            ("origin/main", left),
            ("refs/remotes/origin/main^", root),
            ("a/b", right),
            (&left.to_string(), left),
            (&format!("{head}^2"), left),
        ] {
            assert_eq!(commit(text).await, Some(wanted), "{text}");
        }
        let not_there = missing.to_string();
        let no_commit = not_a_commit.to_string();
        for text in [
            "",
            "b",
            "~1",
            "main~x",
            "v1^3",
            "v1~3",
            "v1~999999",
            &not_there,
            &no_commit,
        ] {
            assert_eq!(commit(text).await, None, "{text}");
        }
        let found = history.resolve(store_root, "v1~1").await.unwrap().unwrap();
        assert_eq!(found.name, Some(RefName::Tag("v1".to_owned())));
        let lost = history.resolve(store_root, "lost").await.unwrap_err();
        assert!(matches!(lost, ReadError::Missing { address } if address == missing));
        let shallow = History::new(&*tiny, &ghosts);
        assert_eq!(shallow.resolve(store_root, "v1~2").await.unwrap(), None);
        assert!(shallow.resolve(store_root, "v1~1").await.unwrap().is_some());
    });
}
