//! Every chunk of every database that we have.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{Message, children};

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
