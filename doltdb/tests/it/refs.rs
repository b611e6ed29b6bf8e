//! Refs and commits against what Dolt itself says of its databases.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::model::{Commit, Tag};
use holdfast_doltdb::{RefName, Refs, RefsDiff};
use serde_json::Value;

use crate::databases::{all_made, expected};
use crate::noms::Noms;

fn refs(noms: &Noms) -> Vec<(RefName, ChunkAddress)> {
    block_on(async {
        let mut refs = Refs::open(noms, noms.root).await.unwrap();
        let mut found = Vec::new();
        while let Some(entry) = refs.next().await.unwrap() {
            found.push(entry);
        }
        found
    })
}

fn address(value: &Value) -> ChunkAddress {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn heads_tags_and_stashes_are_those_that_dolt_names() {
    let mut compared = 0;
    for database in all_made() {
        let Some(expected) = expected(&database.name) else {
            continue;
        };
        compared += 1;
        let noms = &database.noms;
        let (mut branches, mut tags) = (BTreeMap::new(), BTreeMap::new());
        let mut stashes = BTreeSet::new();
        for (name, address) in refs(noms) {
            match name {
                RefName::Branch(branch) => drop(branches.insert(branch, address)),
                RefName::Tag(tag) => {
                    let commit = Tag::decode(&noms.chunks[&address]).unwrap().commit;
                    tags.insert(tag, commit);
                }
                RefName::Stash(stash) => drop(stashes.insert(stash)),
                _ => {}
            }
        }
        let heads = expected["branches"].as_object().unwrap().iter();
        let heads = heads.map(|(name, branch)| (name.clone(), address(&branch["head"])));
        assert_eq!(branches, heads.collect(), "{}", database.name);
        let tagged = expected["tags"].as_object().unwrap().iter();
        let tagged = tagged.map(|(name, commit)| (name.clone(), address(commit)));
        assert_eq!(tags, tagged.collect(), "{}", database.name);
        if database.name.starts_with("dolt-2") {
            let named = expected["stashes"].as_array().unwrap().iter();
            let named = named.map(|stash| stash["name"].as_str().unwrap().to_owned());
            assert_eq!(stashes, named.collect(), "{}", database.name);
        }
    }
    assert!(compared >= 4);
}

#[test]
fn commits_say_what_dolts_log_says() {
    let mut compared = 0;
    for database in all_made() {
        let Some(expected) = expected(&database.name) else {
            continue;
        };
        for (hash, shown) in expected["commits"].as_object().unwrap() {
            let hash: ChunkAddress = hash.parse().unwrap();
            let Some(chunk) = database.noms.chunks.get(&hash) else {
                assert!(database.noms.ghosts.contains(&hash));
                continue;
            };
            let commit = Commit::decode(chunk).unwrap();
            assert_eq!(commit.description, shown["message"].as_str().unwrap());
            assert_eq!(commit.committer.name, shown["committer"].as_str().unwrap());
            // Since committers have dates of their own, they are what is shown.
            let signer = match database.name.starts_with("dolt-1") {
                true => commit.author,
                false => commit.committer,
            };
            let date = shown["date"].as_str().unwrap();
            assert!(utc(signer.at_millis).starts_with(date), "{hash}: {date}");
            compared += 1;
        }
        for branch in expected["branches"].as_object().unwrap().values() {
            let head = address(&branch["head"]);
            let log: Vec<_> = branch["log"]
                .as_array()
                .unwrap()
                .iter()
                .map(address)
                .collect();
            let commit = Commit::decode(&database.noms.chunks[&head]).unwrap();
            assert_eq!(log[0], head);
            assert!(commit.parents().all(|parent| log.contains(&parent)));
        }
    }
    assert!(compared >= 4);
}

/// Prints a date as Dolt's log does.
fn utc(millis: i64) -> String {
    let (days, millis) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (mut year, mut left) = (1970, days);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for len in lengths {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    let seconds = millis / 1000;
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        left + 1,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000
    )
}

#[test]
fn every_ref_is_new_against_the_empty_store_and_gone_the_other_way() {
    for database in all_made() {
        let all = refs(&database.noms);
        let root = database.noms.root;
        let changes = |old, new| {
            block_on(async {
                let mut diff = RefsDiff::open(&database.noms, old, new).await.unwrap();
                let mut changes = Vec::new();
                while let Some(change) = diff.next().await.unwrap() {
                    changes.push((change.name, change.old, change.new));
                }
                changes
            })
        };
        let added: Vec<_> = all
            .iter()
            .map(|(name, at)| (name.clone(), None, Some(*at)))
            .collect();
        let gone: Vec<_> = all
            .iter()
            .map(|(name, at)| (name.clone(), Some(*at), None))
            .collect();
        assert_eq!(changes(RootAddress::ZERO, root), added);
        assert_eq!(changes(root, RootAddress::ZERO), gone);
        assert_eq!(changes(root, root), []);
    }
}
