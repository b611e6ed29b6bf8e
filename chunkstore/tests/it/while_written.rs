//! Stores in directories that are read while others write, collect and merge in them without a pause.

#![expect(
    clippy::disallowed_methods,
    reason = "tests replace and remove files as Dolt does"
)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::{ListedFile, Manifest};
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NewFile, NewStore, NomsDir, StoreWriter};
use holdfast_chunkstore::{ChunkAddress, RootAddress};

const JOURNAL: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

fn chunk(number: u32) -> Vec<u8> {
    format!("chunk {number}").into_bytes()
}

fn root_of(number: u32) -> RootAddress {
    hash_chunk(&chunk(number)).into()
}

fn land(file: NewFile, numbers: impl IntoIterator<Item = u32>) -> ListedFile {
    let mut writer = table::Writer::new(file);
    for number in numbers {
        let chunk = chunk(number);
        writer.append_chunk(hash_chunk(&chunk), &chunk).unwrap();
    }
    let (file, written) = writer.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

fn made_store(directory: &Path) {
    let store = NewStore::create(directory).unwrap();
    let file = land(store.begin_file().unwrap(), [0]);
    store.finish(root_of(0), vec![file]).unwrap();
    fs::write(directory.join(JOURNAL), b"").unwrap();
}

/// A commit as of a push: its chunk in a file of its own, the root in the journal.
fn commit(directory: &Path, number: u32) {
    let writer = StoreWriter::open(directory).unwrap();
    let file = land(writer.begin_file().unwrap(), [number]);
    writer.commit(root_of(number), &[file], &[], 1).unwrap();
}

/// A collection: one file with all that is there, a manifest with that file alone, then the rest is removed.
fn collect(directory: &Path, number: u32) {
    let writer = StoreWriter::open(directory).unwrap();
    let file = land(writer.begin_file().unwrap(), 0..=number);
    let manifest = Manifest::new(root_of(number), vec![file]);
    let temporary = directory.join("nbs_manifest_new");
    fs::write(&temporary, manifest.encode()).unwrap();
    fs::rename(&temporary, directory.join("manifest")).unwrap();
    fs::remove_file(directory.join(JOURNAL)).unwrap();
    for old in writer.store().files() {
        if old.id() != file.id {
            fs::remove_file(old.path()).unwrap();
        }
    }
    fs::write(directory.join(JOURNAL), b"").unwrap();
}

fn read(store: &NomsDir, address: ChunkAddress) -> Option<Vec<u8>> {
    let place = store.find(address).unwrap()?;
    let mut chunk = Vec::new();
    store
        .read_chunk(address, place, &mut Decoder::new(), &mut chunk)
        .unwrap();
    Some(chunk)
}

#[test]
fn a_store_that_is_written_without_a_pause_is_opened_with_all_that_its_root_needs() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=150 {
                commit(&directory, number);
                if number % 7 == 0 {
                    collect(&directory, number);
                }
            }
            is_done.store(true, Ordering::Release);
        });
        let mut opened = 0;
        while !is_done.load(Ordering::Acquire) {
            let store = NomsDir::open(&directory).unwrap();
            let root = store.root().chunk().unwrap();
            let found = read(&store, root);
            assert!(found.is_some(), "root {root} of opening {opened} is absent");
            opened += 1;
        }
    });
}

/// More files than a process keeps open.
const FILES: u32 = 100;

#[test]
fn what_a_collection_moved_is_found_where_it_lies_now() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory);
    (1..=FILES).for_each(|number| commit(&directory, number));
    let store = NomsDir::open(&directory).unwrap();
    let place = store.find(hash_chunk(&chunk(0))).unwrap().unwrap();
    collect(&directory, FILES);
    let mut absent: Vec<_> = (0..=FILES + 1)
        .map(|number| hash_chunk(&chunk(number)))
        .collect();
    for number in 0..=FILES {
        let found = read(&store, hash_chunk(&chunk(number)));
        assert_eq!(found, Some(chunk(number)));
    }
    store.retain_absent(&mut absent).unwrap();
    assert_eq!(absent, [hash_chunk(&chunk(FILES + 1))]);
    // A place that was found before is read where the chunk is now.
    let mut read = Vec::new();
    store
        .read_chunk(hash_chunk(&chunk(0)), place, &mut Decoder::new(), &mut read)
        .unwrap();
    assert_eq!(read, chunk(0));
    assert_eq!(store.root(), root_of(FILES));
}

#[test]
fn a_store_in_which_collections_follow_one_another_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory);
    (1..=FILES).for_each(|number| commit(&directory, number));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = FILES;
            for _ in 0..30 {
                for _ in 0..3 {
                    number += 1;
                    commit(&directory, number);
                }
                collect(&directory, number);
            }
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let store = NomsDir::open(&directory).unwrap();
            for number in 0..=FILES {
                let found = read(&store, hash_chunk(&chunk(number)));
                assert_eq!(found, Some(chunk(number)));
            }
        }
    });
}

#[test]
fn a_store_of_more_files_than_may_be_open_keeps_few_of_them_open() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    let store = NewStore::create(&directory).unwrap();
    let files: Vec<_> = (0..500)
        .map(|number| land(store.begin_file().unwrap(), [number]))
        .collect();
    store.finish(root_of(0), files).unwrap();
    let stores: Vec<_> = (0..3).map(|_| NomsDir::open(&directory).unwrap()).collect();
    for store in &stores {
        for number in 0..500 {
            assert!(read(store, hash_chunk(&chunk(number))).is_some());
        }
    }
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let open = open.filter(|path| path.starts_with(&directory)).count();
    assert!(open <= 100, "{open} files of the store are open");
}
