//! Damage of every kind is planted in a healthy repository, and the verification names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::id::{PoolId, RepoId, UploadId};
use holdfast_chunkstore::index::{ByteSpan, ChunkEntry, SortedEntries};
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::record::{Listed, digest};
use holdfast_chunkstore::repo::spool::Sender;
use holdfast_chunkstore::repo::verify::{Damage, Report, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{
    Committed, DeclaredFile, FileKind, Md5, NamedFile, Parts, Proposal, Record, Repository,
    StoredFile, View, layout,
};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{
    acme, actor, named, parent, parts, root_of, root_of_many, upload,
};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

use crate::made_files::{Archive, Table};

/// The record of the push that moves many refs.
const MANY_REFS: u64 = 36;
/// The only checkpoint.
const CHECKPOINT: u64 = 256;
/// The last record: a push of a file of leaves and a file of the root over them.
const LAST: u64 = 257;

struct Quiet;

impl VerifyProgress for Quiet {
    fn done(&self, _stage: Stage, _done: u64, _of: u64) {}
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

/// A repository in which everything occurs that can be damaged, object by object.
#[derive(Clone)]
struct World {
    objects: BTreeMap<ObjectKey, Bytes>,
    repo: RepoId,
    pool: PoolId,
}

fn leaves(salt: u64, count: u64) -> Vec<Vec<u8>> {
    let leaf = |leaf| format!("leaf {leaf} of {salt}").into_bytes();
    (0..count).map(leaf).collect()
}

fn root_over(salt: u64, leaves: &[Vec<u8>]) -> Vec<u8> {
    let children: Vec<ChunkAddress> = leaves.iter().map(|leaf| hash_chunk(leaf)).collect();
    parent(salt, &children)
}

async fn send(repository: &Repository, root: &[u8], files: &[(&Made, FileKind)]) {
    for (made, kind) in files {
        upload(repository, made, *kind).await.unwrap();
    }
    let proposal = Proposal {
        last: repository.state().await.unwrap().root,
        current: root_of(root),
        files: files.iter().map(|(made, _)| named(made)).collect(),
        actor: actor(),
    };
    let committed = repository.commit(&proposal).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

/// Pushes one file of a root and its leaves, and returns the root.
async fn push(repository: &Repository, salt: u64) -> Vec<u8> {
    let mut chunks = leaves(salt, 2);
    let root = root_over(salt, &chunks);
    chunks.push(root.clone());
    let made = table_file_of(chunks);
    send(repository, &root, &[(&made, FileKind::Table)]).await;
    root
}

/// 33 pushes and their merge, an archive and its twin, a push that moves many refs, a root that goes back and
/// forth until there is a checkpoint, and a push of two files.
async fn healthy() -> World {
    let objects = store();
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(Arc::clone(&objects), scratch.path(), 1)).await;
    for salt in 0..33 {
        push(&repository, salt).await;
    }
    repository.merge().await.unwrap().unwrap();
    let mut chunks = leaves(100, 20);
    let in_archive = root_over(100, &chunks);
    chunks.push(in_archive.clone());
    let archive = archive_of(chunks, Compression::Mixed);
    send(&repository, &in_archive, &[(&archive, FileKind::Archive)]).await;
    repository.listing(View::Classic).await.unwrap();
    let many = root_of_many(1001);
    let file = table_file_of(vec![many.clone()]);
    send(&repository, &many, &[(&file, FileKind::Table)]).await;
    for sequence in MANY_REFS + 1..=CHECKPOINT {
        let root = if sequence % 2 == 0 {
            &many
        } else {
            &in_archive
        };
        send(&repository, root, &[]).await;
    }
    let (lower, upper) = two_files();
    let root = upper.chunks[0].1.clone();
    let files = [(&lower, FileKind::Table), (&upper, FileKind::Table)];
    send(&repository, &root, &files).await;
    assert_eq!(repository.state().await.unwrap().sequence, LAST);
    World {
        objects: read_all(&*objects).await,
        repo: repository.id(),
        pool: repository.pool(),
    }
}

/// Leaves, and a root over them.
fn two_files() -> (Made, Made) {
    let lower = leaves(200, 5);
    let upper = root_over(200, &lower);
    (table_file_of(lower), table_file_of(vec![upper]))
}

async fn read_all(objects: &dyn ObjectStore) -> BTreeMap<ObjectKey, Bytes> {
    let mut all = BTreeMap::new();
    for meta in objects.list_all("").await.unwrap() {
        let body = objects.read(&meta.key, None, 1 << 30).await.unwrap();
        all.insert(meta.key, body);
    }
    all
}

/// Puts a world into a store of its own, opens it as a new server would, and verifies it.
async fn verify(world: &World, prepare: impl AsyncFnOnce(&Parts)) -> Report {
    let objects = store();
    for (key, body) in &world.objects {
        objects.create(key, body.clone()).await.unwrap();
    }
    let scratch = TempDir::new().unwrap();
    let parts = parts(objects, scratch.path(), 2);
    prepare(&parts).await;
    let report = acme(parts).await.verify(&Quiet).await;
    assert_eq!(report.damages, report.findings.len() as u64);
    report
}

fn kinds(report: &Report) -> BTreeSet<String> {
    let kind = |damage: Damage| damage.to_string();
    report.findings.iter().map(|it| kind(it.damage)).collect()
}

impl World {
    fn body(&self, key: &ObjectKey) -> Bytes {
        self.objects[key].clone()
    }

    fn delete(&mut self, key: &ObjectKey) {
        assert!(self.objects.remove(key).is_some(), "{key} is not there");
    }

    fn replace(&mut self, key: &ObjectKey, body: impl Into<Bytes>) {
        let before = self.objects.insert(key.clone(), body.into());
        assert!(before.is_some(), "{key} was not there");
    }

    fn flip_a_byte(&mut self, key: &ObjectKey) {
        let mut body = self.body(key).to_vec();
        let middle = body.len() / 2;
        body[middle] ^= 1;
        self.replace(key, body);
    }

    fn shorten(&mut self, key: &ObjectKey) {
        let body = self.body(key);
        self.replace(key, body.slice(..body.len() - 1));
    }

    fn record_key(&self, sequence: u64) -> ObjectKey {
        layout::record(self.repo, sequence)
    }

    fn record(&self, sequence: u64) -> Record {
        let key = self.record_key(sequence);
        Record::decode(&key, &self.body(&key)).unwrap()
    }

    /// Writes another record in the place of one, and leaves the next as it is.
    fn replace_record(&mut self, sequence: u64, edit: impl FnOnce(&mut Record)) {
        let mut record = self.record(sequence);
        edit(&mut record);
        self.replace(&self.record_key(sequence), record.encode());
    }

    /// The same, and makes the later ones follow it.
    fn rewrite_history(&mut self, sequence: u64, edit: impl FnOnce(&mut Record)) {
        self.replace_record(sequence, edit);
        for later in sequence + 1..=LAST {
            let previous = digest(&self.body(&self.record_key(later - 1)));
            self.replace_record(later, |record| record.previous = Some(previous));
        }
    }

    /// The files that a record adds.
    fn added(&self, sequence: u64) -> Vec<StoredFile> {
        in_record(&mut self.record(sequence).added).clone()
    }

    /// The file of leaves of the last push, or the file of its root.
    fn last_file(&self, made: &Made) -> StoredFile {
        let is_it = |file: &StoredFile| file.id == made.written.id;
        self.added(LAST).into_iter().find(is_it).unwrap()
    }

    fn lower(&self) -> StoredFile {
        self.last_file(&two_files().0)
    }

    fn upper(&self) -> StoredFile {
        self.last_file(&two_files().1)
    }

    fn file_key(&self, file: &StoredFile) -> ObjectKey {
        layout::file(self.pool, file)
    }

    fn note_key(&self, file: &StoredFile) -> ObjectKey {
        layout::upload(self.repo, file.id, file.upload)
    }

    /// Changes what record and note say of the file of leaves.
    fn amend_lower(&mut self, edit: impl FnOnce(&mut StoredFile)) {
        let before = self.lower();
        let mut after = before.clone();
        edit(&mut after);
        let key = self.note_key(&before);
        let mut note: serde_json::Value = serde_json::from_slice(&self.body(&key)).unwrap();
        note["file"] = serde_json::to_value(&after).unwrap();
        self.replace(&key, note.to_string());
        self.replace_record(LAST, |record| {
            let is_it = |file: &&mut StoredFile| file.upload == before.upload;
            *in_record(&mut record.added).iter_mut().find(is_it).unwrap() = after;
        });
    }

    /// The last push without one of its files.
    fn forget(&mut self, file: &StoredFile) {
        self.replace_record(LAST, |record| {
            in_record(&mut record.added).retain(|added| added.upload != file.upload);
        });
    }

    /// A file that the merge retired.
    fn retired(&self) -> StoredFile {
        self.added(1)[0].clone()
    }

    fn archive(&self) -> StoredFile {
        let added = self.added(MANY_REFS - 1);
        assert_eq!(added[0].kind, FileKind::Archive);
        added[0].clone()
    }

    fn twin(&self) -> ObjectKey {
        let note = layout::twin_note(self.pool, self.archive().upload, 1);
        let twin: StoredFile = serde_json::from_slice(&self.body(&note)).unwrap();
        layout::twin(self.pool, self.archive().upload, twin.upload)
    }

    fn side_list(&self) -> ObjectKey {
        match self.record(MANY_REFS).refs {
            Listed::Side { objects, .. } => ObjectKey::parse(objects[0].object.as_str()).unwrap(),
            Listed::Inline(refs) => panic!("{} refs fit into the record", refs.len()),
        }
    }
}

/// A list that fits into its record.
fn in_record<T>(listed: &mut Listed<T>) -> &mut Vec<T> {
    match listed {
        Listed::Inline(list) => list,
        Listed::Side { count, .. } => panic!("{count} entries stand beside the record"),
    }
}

/// One damage: what was done, how it is done, and every kind that must be named, the cause first.
type Case = (&'static str, fn(&mut World), &'static [Damage]);

const IN_THE_LOG: &[Case] = &[
    (
        "a record is gone",
        |world| world.delete(&world.record_key(40)),
        &[Damage::LogGap],
    ),
    (
        "the last records are gone",
        |world| {
            [CHECKPOINT, LAST]
                .iter()
                .for_each(|it| world.delete(&world.record_key(*it)))
        },
        &[Damage::LogGap],
    ),
    (
        "a record is cut off",
        |world| world.shorten(&world.record_key(41)),
        &[Damage::LogRecord],
    ),
    (
        "a record is the copy of another",
        |world| world.replace(&world.record_key(41), world.body(&world.record_key(43))),
        &[Damage::LogRecord],
    ),
    (
        "a record says that somebody else pushed",
        |world| world.replace_record(42, |record| record.actor.name.push('!')),
        &[Damage::LogChain],
    ),
    (
        "the root jumps",
        |world| world.rewrite_history(LAST, |record| record.old_root = RootAddress::ZERO),
        &[Damage::LogChain],
    ),
    (
        "time goes back",
        |world| world.rewrite_history(43, |record| record.time.0 = 0),
        &[Damage::LogChain],
    ),
    (
        "a checkpoint lacks a retired file",
        |world| {
            world.rewrite_history(CHECKPOINT, |record| {
                let checkpoint = record.checkpoint.as_mut().unwrap();
                in_record(&mut checkpoint.retired).pop().unwrap();
            });
        },
        &[Damage::Checkpoint],
    ),
    (
        "a checkpoint is gone from its record",
        |world| world.rewrite_history(CHECKPOINT, |record| record.checkpoint = None),
        &[Damage::Checkpoint],
    ),
    (
        "a list beside a record is changed",
        |world| world.flip_a_byte(&world.side_list()),
        &[Damage::SideList],
    ),
    (
        "a list beside a record is gone",
        |world| world.delete(&world.side_list()),
        &[Damage::SideList],
    ),
    (
        "the pool does not know the repository",
        |world| world.delete(&layout::member(world.pool, world.repo)),
        &[Damage::PoolMember],
    ),
    (
        "the note of a file is gone",
        |world| world.delete(&world.note_key(&world.lower())),
        &[Damage::UploadNote],
    ),
    (
        "the note of a file is that of another",
        |world| {
            world.replace(
                &world.note_key(&world.lower()),
                world.body(&world.note_key(&world.upper())),
            );
        },
        &[Damage::UploadNote],
    ),
    (
        "the note of a retired file is cut off",
        |world| world.shorten(&world.note_key(&world.retired())),
        &[Damage::UploadNote],
    ),
    (
        "the note of a retired file is gone",
        |world| world.delete(&world.note_key(&world.retired())),
        &[Damage::UploadNote],
    ),
];

const IN_THE_FILES: &[Case] = &[
    (
        "a file is gone",
        |world| world.delete(&world.file_key(&world.lower())),
        &[Damage::FileMissing, Damage::DanglingReference],
    ),
    (
        "a retired file is gone",
        |world| world.delete(&world.file_key(&world.retired())),
        &[Damage::FileMissing],
    ),
    (
        "a file is cut off",
        |world| world.shorten(&world.file_key(&world.lower())),
        &[Damage::FileLength, Damage::DanglingReference],
    ),
    (
        "a retired file is cut off",
        |world| world.shorten(&world.file_key(&world.retired())),
        &[Damage::FileLength],
    ),
    (
        "one bit of a file is flipped",
        |world| world.flip_a_byte(&world.file_key(&world.upper())),
        &[Damage::FileBytes, Damage::RootMissing],
    ),
    (
        "a chunk is another than its address says",
        put_another_chunk_at_an_address,
        &[Damage::FileContents, Damage::DanglingReference],
    ),
    (
        "a record miscounts the chunks of a file",
        |world| world.amend_lower(|file| file.chunks += 1),
        &[Damage::FileContents, Damage::DanglingReference],
    ),
    (
        "a record misplaces the index of a file",
        |world| world.amend_lower(|file| file.split_offset += 1),
        &[Damage::FileContents],
    ),
    (
        "no record names the leaves of the last root",
        |world| world.forget(&world.lower()),
        &[Damage::DanglingReference],
    ),
    (
        "no record names the file of the last root",
        |world| world.forget(&world.upper()),
        &[Damage::RootMissing],
    ),
    (
        "one bit of a twin is flipped",
        |world| world.flip_a_byte(&world.twin()),
        &[Damage::Twin],
    ),
    (
        "a twin is gone and its note is not",
        |world| world.delete(&world.twin()),
        &[Damage::Twin],
    ),
    (
        "the note of a twin is cut off",
        |world| world.shorten(&layout::twin_note(world.pool, world.archive().upload, 1)),
        &[Damage::Twin],
    ),
];

/// File, record and note agree with each other, and only hashing the chunk shows that it is the wrong one.
fn put_another_chunk_at_an_address(world: &mut World) {
    let chunks = leaves(200, 5);
    let mut table = Table::of(&chunks);
    let wrong = b"leaf 9 of 200".to_vec();
    assert_eq!(wrong.len(), chunks[3].len());
    table.records[3] = Table::of(&[wrong]).records.remove(0);
    let bytes = table.encode();
    world.replace(&world.file_key(&world.lower()), bytes.clone());
    world.amend_lower(|file| {
        assert_eq!((file.len, file.id), (bytes.len() as u64, table.name()));
        file.sha256 = digest(&bytes);
        file.md5 = md5_of(&bytes);
    });
}

fn md5_of(bytes: &[u8]) -> Md5 {
    use md5::Digest as _;
    Md5(md5::Md5::digest(bytes).into())
}

async fn every_damage_is_named(cases: &[Case]) {
    let healthy = healthy().await;
    for (what, plant, expected) in cases {
        let mut world = healthy.clone();
        plant(&mut world);
        let report = verify(&world, async |_| {}).await;
        let names: Vec<String> = expected.iter().map(Damage::to_string).collect();
        assert!(!report.findings.is_empty(), "{what}: nothing was found");
        assert_eq!(report.findings[0].damage, expected[0], "{what}: {report:?}");
        let expected_names = names.iter().cloned().collect();
        assert_eq!(kinds(&report), expected_names, "{what}: {report:#?}");
        eprintln!("{what}: {}", names.join(", "));
    }
}

#[tokio::test]
async fn a_healthy_repository_has_no_damage() {
    let report = verify(&healthy().await, async |_| {}).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.files), (LAST, 5));
    // Merged: 33 roots over 2 leaves; the archive: 21; the many refs; five leaves and their root.
    assert_eq!(report.chunks, 99 + 21 + 1 + 5 + 1);
}

#[tokio::test]
async fn every_damage_in_the_log_is_named() {
    every_damage_is_named(IN_THE_LOG).await;
}

#[tokio::test]
async fn every_damage_in_the_files_is_named() {
    every_damage_is_named(IN_THE_FILES).await;
}

fn entries_of(made: &Made) -> Vec<ChunkEntry> {
    let (_, index) = holdfast_chunkstore::format::table::Index::decode_file(&made.file).unwrap();
    index.in_address_order().collect()
}

async fn enter(parts: &Parts, pool: PoolId, file: UploadId, entries: Vec<ChunkEntry>) {
    let count = entries.len() as u64;
    let entries: SortedEntries = Box::new(entries.into_iter().map(Ok));
    parts
        .index
        .add_file(pool, file, count, entries)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_index_that_lacks_or_misplaces_a_chunk_of_a_marked_file_is_damaged() {
    let world = healthy().await;
    let lower = world.lower();
    let right = entries_of(&two_files().0);
    let mut misplaced = right.clone();
    misplaced[2].span.data.offset += 1;
    let mut strange = right.clone();
    strange[4].span.dictionary = Some(ByteSpan { offset: 0, len: 1 });
    let cases = [
        ("right", right.clone(), ""),
        ("one lacking", right[1..].to_vec(), "1 chunks are indexed"),
        ("empty", Vec::new(), "5 chunks are indexed"),
        ("misplaced", misplaced, "1 chunks are indexed"),
        ("a dictionary too many", strange, "1 chunks are indexed"),
    ];
    for (what, entries, said) in cases {
        let prepare = async |parts: &Parts| enter(parts, world.pool, lower.upload, entries).await;
        let report = verify(&world, prepare).await;
        if said.is_empty() {
            assert_eq!(report.findings, [], "{what}");
            continue;
        }
        assert_eq!(
            kinds(&report),
            BTreeSet::from(["index".to_owned()]),
            "{what}"
        );
        assert!(report.findings[0].detail.starts_with(said), "{report:#?}");
        assert_eq!(report.findings[0].at, world.file_key(&lower).as_str());
        eprintln!("an index with the entries of a file {what}: index");
    }
}

#[tokio::test]
async fn an_archive_that_holds_a_chunk_twice_is_whole() {
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(store(), scratch.path(), 1)).await;
    let mut archive = Archive::of(&leaves(1, 6));
    let [at, _] = archive.two_snappy_chunks();
    let mut again = archive.chunks[at].clone();
    archive
        .spans
        .push(archive.spans[again.data as usize - 1].clone());
    again.data = u32::try_from(archive.spans.len()).unwrap();
    archive.chunks.insert(at, again);
    let file = archive.encode();
    let declared = DeclaredFile {
        id: archive.name(),
        kind: FileKind::Archive,
        len: file.len() as u64,
        chunks: 7,
        md5: None,
    };
    let mut incoming = repository
        .receive(declared.clone(), actor(), Sender(0))
        .await
        .unwrap();
    incoming.write(Bytes::from(file)).await.unwrap();
    incoming.finish().await.unwrap();
    let named = NamedFile {
        id: declared.id,
        chunks: declared.chunks,
    };
    repository.add(&[named], &actor()).await.unwrap();
    let report = repository.verify(&Quiet).await;
    assert_eq!((report.chunks, report.findings), (7, Vec::new()));
}

#[tokio::test]
async fn a_log_of_a_thousand_pushes_is_verified_in_seconds() {
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(store(), scratch.path(), 1)).await;
    for salt in 0..1000 {
        push(&repository, salt).await;
    }
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let report = repository.verify(&Quiet).await;
    let took = clock.monotonic() - began;
    eprintln!("1,000 records and 1,000 files took {took:?}");
    assert_eq!(
        (report.records, report.files, report.damages),
        (1000, 1000, 0)
    );
}
