//! Every chunk of every database that we have.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{Message, Reached, children, reach};

use crate::databases::{Database, all_dolt, all_made};

/// Decodes every chunk and returns the addresses that are named and not there.
fn dangling(database: &Database) -> BTreeSet<ChunkAddress> {
    let chunks = &database.noms.chunks;
    let mut missing = BTreeSet::new();
    for (address, chunk) in chunks {
        let outcome = children(chunk, &mut |child| {
            if !chunks.contains_key(&child) {
                missing.insert(child);
            }
        });
        if let Err(error) = outcome {
            panic!("{}: chunk {address}: {error:?}", database.name);
        }
    }
    missing
}

#[test]
fn every_child_in_a_database_that_we_made_is_there_or_a_ghost() {
    for database in all_made() {
        assert!(!database.noms.chunks.is_empty(), "{}", database.name);
        let missing = dangling(&database);
        assert_eq!(missing, database.noms.ghosts, "{}", database.name);
        assert_eq!(missing.is_empty(), !database.name.contains("shallow"));
    }
}

/// One object of each kind is taken out of each database, as Dolt's own damaged databases lack one.
#[test]
fn an_object_that_was_taken_out_is_missed_whatever_its_kind() {
    let mut kinds = BTreeSet::new();
    for mut database in all_made() {
        let mut named = BTreeMap::new();
        for chunk in database.noms.chunks.values() {
            let name = |child| {
                if let Some(chunk) = database.noms.chunks.get(&child) {
                    let kind = Message::decode(chunk).unwrap().kind();
                    named.insert(format!("{kind:?}"), child);
                }
            };
            children(chunk, &mut { name }).unwrap();
        }
        for (kind, address) in named {
            let taken = database.noms.chunks.remove(&address).unwrap();
            let mut missing = dangling(&database);
            assert!(missing.remove(&address), "{}: {kind}", database.name);
            assert_eq!(missing, database.noms.ghosts, "{}: {kind}", database.name);
            database.noms.chunks.insert(address, taken);
            kinds.insert(kind);
        }
    }
    assert!(kinds.len() >= 10, "too few kinds: {kinds:?}");
}

#[test]
fn a_damaged_database_of_dolt_misses_exactly_the_object_that_was_taken_out() {
    let taken = BTreeMap::from([
        (
            "corrupt_dbs/missing_closure_object",
            "d92u2dpnhocp5pv4pn7vgm9fs30vdv94",
        ),
        (
            "corrupt_dbs/missing_schema_object",
            "8tsjiu5fcsvchoo4re8bgftuuogl7ko1",
        ),
        (
            "corrupt_dbs/missing_fk_object",
            "g0a5tikh3d9rnb9olelkffpukalc4v7o",
        ),
        (
            "corrupt_dbs/missing_table_object",
            "fthj68monkbgkrb6g4c11php7ht2dibd",
        ),
    ]);
    let databases = all_dolt("a_damaged_database_of_dolt");
    let mut seen = 0;
    for database in &databases {
        let missing = dangling(database);
        let expected = taken.get(database.name.as_str());
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(missing, expected.into_iter().collect(), "{}", database.name);
        seen += usize::from(taken.contains_key(database.name.as_str()));
    }
    assert!(databases.is_empty() || seen == taken.len());
}

#[test]
fn the_databases_hold_most_kinds_of_messages() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for database in all_made() {
        for chunk in database.noms.chunks.values() {
            let kind = Message::decode(chunk).unwrap().kind();
            *kinds.entry(kind.to_string()).or_default() += 1;
        }
    }
    for kind in [
        "STRT", "ADRM", "DCMT", "DTAG", "WRST", "SLST", "STSH", "RTVL", "DTBL", "DSCH", "DFKC",
        "TUPM", "CMCL", "ARTM", "BLOB",
    ] {
        assert!(kinds.contains_key(kind), "no {kind} among {kinds:?}");
    }
}

/// Walks from the root and returns what is reached and what is missing.
fn reached(database: &Database) -> (usize, BTreeSet<ChunkAddress>) {
    let (mut count, mut missing) = (0, BTreeSet::new());
    let walk = reach(&database.noms, database.noms.root.chunk(), |reached| {
        match reached {
            Reached::Chunk { .. } => count += 1,
            Reached::Missing { address, parent } => {
                assert!(parent.is_some(), "{}: no root", database.name);
                assert!(missing.insert(address), "{address} is reported twice");
            }
            other => panic!("{}: {other:?}", database.name),
        }
        ControlFlow::Continue(())
    });
    futures::executor::block_on(walk).unwrap();
    (count, missing)
}

#[test]
fn what_can_be_reached_is_there_but_for_ghosts_and_what_was_taken_out() {
    for database in all_made() {
        let (count, missing) = reached(&database);
        assert!(count > 1 && count <= database.noms.chunks.len());
        assert_eq!(missing, database.noms.ghosts, "{}", database.name);
    }
    for database in all_dolt("what_can_be_reached") {
        let (_, missing) = reached(&database);
        let is_damaged = database.name.contains("missing_");
        assert_eq!(missing.len(), usize::from(is_damaged), "{}", database.name);
    }
}

#[test]
fn dolts_archive_databases_hold_exactly_what_can_be_reached() {
    let sizes = BTreeMap::from([
        ("archive-test-repos/base", 266),
        ("archive-test-repos/large_clone", 1875),
        ("archive-test-repos/small_clone", 275),
        ("archive-test-repos/v2", 232),
    ]);
    let databases = all_dolt("dolts_archive_databases");
    let known = databases.iter().filter_map(|database| {
        let size = sizes.get(database.name.as_str())?;
        Some((database, *size))
    });
    let mut seen = 0;
    for (database, size) in known {
        assert_eq!(reached(database).0, size, "{}", database.name);
        assert_eq!(database.noms.chunks.len(), size, "{}", database.name);
        seen += 1;
    }
    assert!(databases.is_empty() || seen == sizes.len());
}
