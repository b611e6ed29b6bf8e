//! Files made of stored files: conjoined ones and twins hold exactly what they should.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::format::{FileKind, archive};
use holdfast_chunkstore::id::UploadId;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::repo::conjoin::conjoin;
use holdfast_chunkstore::repo::entries::read_entries;
use holdfast_chunkstore::repo::receive::{MadeFile, Upload};
use holdfast_chunkstore::repo::rewrite::InputFile;
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};
use holdfast_chunkstore::repo::twin::make_twin;
use holdfast_chunkstore::testing::faults::{FaultPlan, FaultyStore};

use crate::fixtures;
use crate::made_files::{Archive, Table};
use crate::place::{Place, Refs, honest, listed, name_of, words};

struct Store {
    place: Place,
    objects: MemoryStore,
    next: u8,
}

impl Store {
    fn new() -> Self {
        Self {
            place: Place::new(),
            objects: MemoryStore::new(Arc::new(SystemClock::new())),
            next: 0,
        }
    }

    fn next(&mut self) -> (UploadId, ObjectKey) {
        self.next += 1;
        let key = ObjectKey::parse(format!("files/{}", self.next)).unwrap();
        (UploadId::new([self.next; 16]), key)
    }

    /// Uploads a file.
    async fn put(&mut self, name: holdfast_chunkstore::TableFileId, file: &[u8]) -> InputFile {
        let (id, key) = self.next();
        let spool = self.place.spool.create(file.len() as u64).await.unwrap();
        let object = self.objects.upload(&key, spool.path()).await.unwrap();
        let mut upload = Upload::begin(id, honest(name, file), spool, object);
        upload.write(Bytes::copy_from_slice(file)).await.unwrap();
        let verified = upload
            .check(Arc::new(Refs), &self.place.pool)
            .await
            .unwrap();
        let checked = verified.publish().await.unwrap();
        let file = checked.summary().clone();
        let read = read_entries(&self.objects, &key, &file, &self.place.spool)
            .await
            .unwrap();
        let again: Vec<_> = read.sorted().unwrap().map(Result::unwrap).collect();
        let found: Vec<_> = checked.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(again, found);
        InputFile { key, file }
    }

    /// Publishes a file that was made, and returns its bytes.
    async fn publish(&mut self, made: MadeFile) -> Bytes {
        let (id, key) = self.next();
        let object = self.objects.upload(&key, made.path()).await.unwrap();
        let verified = made.check(id, object, &self.place.pool).await.unwrap();
        verified.publish().await.unwrap();
        self.place.assert_empty();
        self.objects.read(&key, None, 1 << 30).await.unwrap()
    }
}

fn addresses(file: &[u8]) -> Vec<ChunkAddress> {
    listed(file)
        .into_iter()
        .map(|entry| entry.address)
        .collect()
}

/// The addresses of several files, each once.
fn union<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Vec<ChunkAddress> {
    let all: BTreeSet<_> = files.into_iter().flat_map(addresses).collect();
    all.into_iter().collect()
}

fn own_files() -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fixtures::own().into_iter();
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn conjoined_files_hold_exactly_the_union() {
    let mut store = Store::new();
    let mut inputs = Vec::new();
    let files = own_files();
    for (path, file) in &files {
        inputs.push(store.put(name_of(path), file).await);
    }
    let tables: Vec<_> = inputs
        .iter()
        .filter(|input| input.file.kind == FileKind::Table)
        .cloned()
        .collect();
    let table_files = files.iter().filter(|(path, _)| path.extension().is_none());

    let made = conjoin(&store.objects, &tables, &store.place.spool)
        .await
        .unwrap();
    assert_eq!(made.declared().kind, FileKind::Table);
    let table = store.publish(made).await;
    assert_eq!(
        addresses(&table),
        union(table_files.map(|(_, file)| file.as_slice()))
    );

    let made = conjoin(&store.objects, &inputs, &store.place.spool)
        .await
        .unwrap();
    assert_eq!(made.declared().kind, FileKind::Archive);
    let all = store.publish(made).await;
    assert_eq!(
        addresses(&all),
        union(files.iter().map(|(_, file)| file.as_slice()))
    );
    let again = conjoin(&store.objects, &inputs, &store.place.spool)
        .await
        .unwrap();
    assert!(store.publish(again).await == all, "made twice, it differs");
}

#[tokio::test]
async fn every_sort_budget_makes_the_same_file() {
    let mut store = Store::new();
    let mut inputs = Vec::new();
    for count in [40, 400, 200] {
        let archive = Archive::of(&words(count));
        inputs.push(store.put(archive.name(), &archive.encode()).await);
        let table = Table::of(&words(count + 100));
        inputs.push(store.put(table.name(), &table.encode()).await);
    }
    let mut files = Vec::new();
    for sort_memory in [8 << 20, 999] {
        let place = Place::with_sort_memory(sort_memory);
        let made = conjoin(&store.objects, &inputs, &place.spool).await;
        files.push(store.publish(made.unwrap()).await);
    }
    assert!(files[0] == files[1], "the budget shows in the file");
}

#[tokio::test]
async fn what_does_not_fit_into_the_spool_is_not_even_read() {
    let mut store = Store::new();
    let mut inputs = Vec::new();
    for count in [100, 101] {
        let table = Table::of(&words(count));
        inputs.push(store.put(table.name(), &table.encode()).await);
    }
    let together: u64 = inputs.iter().map(|input| input.file.len).sum();
    let place = Place::with_bounds(8 << 20, together + 1);
    let other = place.spool.create(2).await.unwrap();
    let plan = FaultPlan::count_only();
    let watched = FaultyStore::new(Arc::new(store.objects.clone()), Arc::clone(&plan));
    let error = conjoin(&watched, &inputs, &place.spool).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(plan.count(), 0);
    drop(other);
    place.assert_empty();
}

#[tokio::test]
async fn the_entries_of_a_stored_file_are_read_also_under_the_floor() {
    let mut store = Store::new();
    let table = Table::of(&words(500));
    let input = store.put(table.name(), &table.encode()).await;
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        max_total_bytes: 1 << 30,
        free_floor_bytes: u64::MAX / 2,
    };
    let spool = SpoolDir::open(directory.path(), options, store.place.pool.clone()).unwrap();
    let spool = spool.with_sort_memory(999);
    assert!(spool.create(1).await.is_err());
    let entries = read_entries(&store.objects, &input.key, &input.file, &spool).await;
    assert_eq!(entries.unwrap().count(), 500);
}

#[tokio::test]
async fn equal_chunks_and_equal_dictionaries_are_kept_once() {
    let mut store = Store::new();
    let (first, second) = (Archive::of(&words(60)), Archive::of(&words(90)));
    let table = Table::of(&words(30));
    let inputs = [
        store.put(table.name(), &table.encode()).await,
        store.put(first.name(), &first.encode()).await,
        store.put(second.name(), &second.encode()).await,
    ];
    let made = conjoin(&store.objects, &inputs, &store.place.spool)
        .await
        .unwrap();
    let file = store.publish(made).await;
    assert_eq!(addresses(&file), addresses(&second.encode()));
    let layout = archive::Layout::decode(&file, file.len() as u64).unwrap();
    assert_eq!(layout.span_count(), 91, "one dictionary");
}

#[tokio::test]
async fn a_twin_holds_exactly_the_archive_and_is_always_the_same() {
    let mut store = Store::new();
    for (path, file) in own_files() {
        let input = store.put(name_of(&path), &file).await;
        let made = make_twin(&store.objects, &input, &store.place.spool).await;
        let made = made.unwrap();
        let declared = made.declared().clone();
        assert_eq!(declared.kind, FileKind::Table);
        let first = store.publish(made).await;
        assert_eq!(addresses(&first), addresses(&file), "{}", path.display());
        let made = make_twin(&store.objects, &input, &store.place.spool).await;
        let second = store.publish(made.unwrap()).await;
        assert!(first == second, "made twice, it differs");
        assert_eq!(declared.len, first.len() as u64);
    }
}
