//! Histories and closures of databases that Dolt made.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU32;

use futures::executor::block_on;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::history::{History, WalkedCommit};
use holdfast_doltdb::model::Commit;
use holdfast_doltdb::tree::{AncestorKey, CommitClosure};
use holdfast_doltdb::{Message, MessageKind};

use crate::databases::{Database, all_dolt, all_made, expected};

/// All commits of a database, superseded ones too.
fn commits(database: &Database) -> Vec<(ChunkAddress, Commit<'_>)> {
    let chunks = database.noms.chunks.iter();
    let commits = chunks
        .filter(|(_, chunk)| Message::decode(chunk).unwrap().kind() == MessageKind::Commit)
        .map(|(address, chunk)| (*address, Commit::decode(chunk).unwrap()));
    commits.collect()
}

fn walk(history: History<'_, crate::noms::Noms>, head: ChunkAddress) -> Vec<WalkedCommit> {
    block_on(async {
        let mut walk = history.newest_first(head).await.unwrap();
        let mut commits = Vec::new();
        while let Some(commit) = walk.next().await.unwrap() {
            commits.push(commit);
        }
        commits
    })
}

fn closure(database: &Database, root: Option<ChunkAddress>) -> Vec<AncestorKey> {
    block_on(async {
        let closure = CommitClosure::open(&database.noms, root).await.unwrap();
        let mut ancestors = closure.ancestors();
        let mut keys = Vec::new();
        while let Some(key) = ancestors.next().await.unwrap() {
            keys.push(key);
        }
        keys
    })
}

fn address(value: &serde_json::Value) -> ChunkAddress {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn closures_hold_all_ancestors_lowest_first() {
    let mut all = all_made();
    all.extend(all_dolt("closures_hold_all_ancestors_lowest_first"));
    let mut compared = 0;
    for database in all {
        // What was taken out of these on purpose breaks the walk.
        if database.name.contains("corrupt_dbs") {
            continue;
        }
        let ghosts: HashSet<_> = database.noms.ghosts.iter().copied().collect();
        let history = History::new(&database.noms, &ghosts);
        for (head, commit) in commits(&database) {
            let keys = closure(&database, commit.closure);
            assert!(keys.is_sorted_by(|left, right| left < right));
            let mut walked: BTreeSet<_> = walk(history, head)
                .into_iter()
                .skip(1)
                .map(|commit| AncestorKey {
                    height: commit.height,
                    address: commit.address,
                })
                .collect();
            // Of ghosts only the closure tells, and that they are ghosts.
            let left_out = keys.iter().filter(|key| ghosts.contains(&key.address));
            walked.extend(left_out);
            assert_eq!(keys, walked.into_iter().collect::<Vec<_>>(), "{head}");
            compared += 1;
        }
    }
    assert!(compared >= 15, "{compared}");
}

#[test]
fn walks_give_what_dolts_log_gives() {
    let mut compared = 0;
    for database in all_made() {
        let Some(expected) = expected(&database.name) else {
            continue;
        };
        let ghosts: HashSet<_> = database.noms.ghosts.iter().copied().collect();
        let history = History::new(&database.noms, &ghosts);
        for (name, branch) in expected["branches"].as_object().unwrap() {
            let root = database.noms.root;
            let found = block_on(history.resolve(root, name)).unwrap().unwrap();
            assert_eq!(found.commit, address(&branch["head"]));
            let walked = walk(history, found.commit);
            let walked: Vec<_> = walked.iter().map(|commit| commit.address).collect();
            let log = branch["log"].as_array().unwrap().iter().map(address);
            // Dolt's log shows ghosts as well.
            let log: Vec<_> = log.filter(|commit| !ghosts.contains(commit)).collect();
            assert_eq!(walked, log, "{} {name}", database.name);
            compared += 1;
        }
        for (tag, commit) in expected["tags"].as_object().unwrap() {
            let found = block_on(history.resolve(database.noms.root, tag)).unwrap();
            assert_eq!(found.unwrap().commit, address(commit), "{tag}");
        }
    }
    assert!(compared >= 5);
}

#[test]
fn a_shallow_clone_has_the_ghosts_that_dolt_gave_it() {
    let mut compared = 0;
    for database in all_made() {
        if database.noms.ghosts.is_empty() {
            continue;
        }
        let expected = expected(&database.name).unwrap();
        for branch in expected["branches"].as_object().unwrap().values() {
            let head = address(&branch["head"]);
            let ghosts: HashSet<_> = database.noms.ghosts.iter().copied().collect();
            let history = History::new(&database.noms, &ghosts);
            let split = history.kept_and_ghosts(head, NonZeroU32::MAX);
            let split = block_on(split).unwrap();
            assert_eq!(split.ghosts.into_iter().collect::<HashSet<_>>(), ghosts);
            let all = commits(&database);
            assert_eq!(split.kept.len(), all.len(), "{}", database.name);
            compared += 1;
        }
    }
    assert!(compared >= 1);
}
