//! What we write against what Dolt wrote of the same content.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::executor::block_on;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::model::WorkingSet;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::write::messages::{WorkingSetNote, clean_working_set};
use holdfast_doltdb::write::store_root;
use holdfast_doltdb::{ChunkSource, RefName};

use crate::databases;

fn datasets(source: &dyn ChunkSource, root: RootAddress) -> BTreeMap<Bytes, ChunkAddress> {
    block_on(async {
        let mut entries = AddressMap::open(source, root).await.unwrap().entries();
        let mut found = BTreeMap::new();
        while let Some(entry) = entries.next().await.unwrap() {
            found.insert(entry.name, entry.address);
        }
        found
    })
}

#[test]
fn store_roots_are_dolts_to_the_byte() {
    let mut all = databases::all_made();
    all.extend(databases::all_dolt("store_roots_are_dolts_to_the_byte"));
    for database in all {
        let source = &database.noms;
        let written = store_root(&datasets(source, source.root)).unwrap();
        assert_eq!(written.root, source.root, "{}", database.name);
    }
}

#[test]
fn maps_of_several_levels_are_dolts_too() {
    // Lists of tables and indexes of Dolt's databases have one node; Dolt's own trees of many names are made here by
    // the same rule that the vectors prove, and read back.
    for count in [1, 40, 41, 500, 5000] {
        let name = |number: u32| Bytes::from(format!("refs/heads/customer-{number:06}"));
        let all: BTreeMap<_, _> = (0..count)
            .map(|number| {
                (
                    name(number),
                    ChunkAddress::new([number.to_le_bytes()[0] | 1; 20]),
                )
            })
            .collect();
        let written = store_root(&all).unwrap();
        let chunks: BTreeMap<_, _> = written
            .chunks
            .into_iter()
            .map(|chunk| (chunk.address, chunk.bytes))
            .collect();
        let source = Chunks(chunks);
        assert_eq!(datasets(&source, written.root), all, "{count}");
    }
}

#[derive(Debug)]
struct Chunks(BTreeMap<ChunkAddress, Bytes>);

#[async_trait::async_trait]
impl ChunkSource for Chunks {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, holdfast_doltdb::SourceError> {
        Ok(addresses
            .iter()
            .map(|address| self.0.get(address).cloned())
            .collect())
    }
}

#[test]
fn clean_working_sets_are_dolts_to_the_byte() {
    let mut compared = 0;
    for database in databases::all_made() {
        for (name, address) in datasets(&database.noms, database.noms.root) {
            let name = RefName::parse(std::str::from_utf8(&name).unwrap());
            let chunk = block_on(database.noms.get_some(&[address]))
                .unwrap()
                .remove(0)
                .unwrap();
            if !matches!(name, RefName::WorkingSet(_)) {
                continue;
            }
            let found = WorkingSet::decode(&chunk).unwrap();
            let is_clean = found.staged_root == Some(found.working_root);
            if !is_clean || found.is_merging || found.is_rebasing {
                continue;
            }
            let note = WorkingSetNote {
                name: &found.name,
                email: &found.email,
                description: &found.description,
                at_seconds: found.at_seconds,
            };
            let has_note = found.at_seconds > 0;
            let written = clean_working_set(found.working_root, has_note.then_some(note));
            assert_eq!(Bytes::from(written), chunk, "{} {name:?}", database.name);
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared}");
}
