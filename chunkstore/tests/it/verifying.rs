//! What a verification does beside damage: it tells how far it is, goes on beside a busy server and on a full disk,
//! and reads the lists that stand beside notes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{SystemClock, Timestamp};
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectUpload,
    SignedAddress,
};
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};
use holdfast_chunkstore::repo::verify::{Damage, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{
    Committed, FileKind, Proposal, Repository, RepositoryError, layout,
};
use holdfast_chunkstore::testing::generate::{
    Compression, Made, archive_of, chunks, table_file_of,
};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use parking_lot::Mutex;
use tempfile::TempDir;

/// Everything that was told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(Stage, u64, u64)>>);

impl VerifyProgress for Told {
    fn done(&self, stage: Stage, done: u64, of: u64) {
        self.0.lock().push((stage, done, of));
    }
}

impl Told {
    /// How far one stage was, each time; never back, and never beyond its end.
    fn of(&self, stage: Stage) -> (Vec<u64>, u64) {
        let told = self.0.lock();
        let told = told.iter().filter(|(of_stage, ..)| *of_stage == stage);
        let (done, of): (Vec<u64>, Vec<u64>) = told.map(|(_, done, of)| (*done, *of)).unzip();
        assert!(done.is_sorted(), "{done:?}");
        let end = of.last().copied().unwrap_or(0);
        assert!(of.iter().all(|of| *of == end));
        assert!(done.iter().all(|done| *done <= end), "{done:?} of {end}");
        (done, end)
    }
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

async fn open(objects: &Arc<dyn ObjectStore>, scratch: &Path, seed: u64) -> Repository {
    acme(parts(Arc::clone(objects), scratch, seed)).await
}

/// Sends files, and moves the root to one of their chunks.
async fn push(repository: &Repository, root: &[u8], files: &[(&Made, FileKind)]) {
    for (made, kind) in files {
        upload(repository, made, *kind).await.unwrap();
    }
    let committed = commit(repository, root, files).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

async fn commit(
    repository: &Repository,
    root: &[u8],
    files: &[(&Made, FileKind)],
) -> Result<Committed, RepositoryError> {
    let proposal = Proposal {
        last: repository.state().await.unwrap().root,
        current: root_of(root),
        files: files.iter().map(|(made, _)| named(made)).collect(),
        actor: actor(),
    };
    repository.commit(&proposal).await
}

async fn small_push(repository: &Repository, salt: u64) {
    let root = parent(salt, &[]);
    let made = table_file_of(vec![root.clone()]);
    push(repository, &root, &[(&made, FileKind::Table)]).await;
}

#[tokio::test]
async fn within_one_large_file_is_told_how_much_of_it_is_read_and_checked() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    let mut large = chunks(7, 4000);
    let children: Vec<_> = large.iter().map(|chunk| hash_chunk(chunk)).collect();
    let root = parent(1, &children);
    large.push(root.clone());
    let made = archive_of(large, Compression::Snappy);
    let len = made.file.len() as u64;
    assert!(len > 2 << 20, "{len}");
    push(&repository, &root, &[(&made, FileKind::Archive)]).await;

    let told = Told::default();
    assert_eq!(repository.verify(&told).await.findings, []);
    let (done, end) = told.of(Stage::Files);
    assert_eq!(end, 2 * len);
    assert_eq!((done.first(), done.last()), (Some(&0), Some(&end)));
    let reading = done.iter().filter(|done| (1..len).contains(*done));
    assert!(reading.count() >= 2, "{done:?}");
    let checking = done.iter().filter(|done| (len + 1..end).contains(*done));
    assert!(checking.count() >= 1, "{done:?}");
    assert_eq!(told.of(Stage::Log), (vec![1], 1));
}

#[tokio::test]
async fn of_retired_files_and_twins_each_counts_for_the_same() {
    use holdfast_chunkstore::repo::View;
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    for salt in 0..33 {
        small_push(&repository, salt).await;
    }
    repository.merge().await.unwrap().unwrap();
    let root = parent(100, &[]);
    let made = archive_of(vec![root.clone()], Compression::Snappy);
    push(&repository, &root, &[(&made, FileKind::Archive)]).await;
    repository.listing(View::Classic).await.unwrap();

    let told = Told::default();
    assert_eq!(repository.verify(&told).await.findings, []);
    let (retired, end) = told.of(Stage::Retired);
    let whole_files = retired.iter().filter(|done| **done % 1000 == 0);
    assert_eq!(whole_files.count() as u64 * 1000, end, "{retired:?}");
    let (twins, end) = told.of(Stage::Twins);
    assert_eq!((twins.last(), end), (Some(&1000), 1000));
}

#[tokio::test]
async fn a_floor_of_free_space_is_nothing_to_who_only_reads() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    small_push(&repository, 1).await;
    let other = TempDir::new().unwrap();
    let mut below = parts(objects, other.path(), 2);
    let options = SpoolOptions {
        max_total_bytes: 1 << 30,
        free_floor_bytes: u64::MAX / 2,
    };
    let spool = SpoolDir::open(other.path(), options, below.pool.clone()).unwrap();
    // So little memory that sets are put aside.
    below.spool = Arc::new(spool.with_sort_memory(1));
    let repository = acme(below).await;
    let report = repository.verify(&Told::default()).await;
    assert_eq!((report.files, report.findings), (1, Vec::new()));
    let made = table_file_of(vec![parent(2, &[])]);
    let refused = upload(&repository, &made, FileKind::Table).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Exhausted);
}

/// Two files, of which the first refers to more chunks of the second than a note takes.
fn upper_and_lower() -> (Vec<u8>, Made, Made) {
    let leaf = |leaf: u64| format!("leaf {leaf}").into_bytes();
    let leaves: Vec<Vec<u8>> = (0..1500).map(leaf).collect();
    let children: Vec<_> = leaves.iter().map(|leaf| hash_chunk(leaf)).collect();
    let root = parent(1, &children);
    let upper = table_file_of(vec![root.clone()]);
    (root, upper, table_file_of(leaves))
}

/// The list beside the only note that has one.
async fn side_list(objects: &dyn ObjectStore, repository: &Repository) -> (ObjectKey, Bytes) {
    let prefix = format!("repos/{}/side/", repository.id());
    let listed = objects.list_all(&prefix).await.unwrap();
    assert_eq!(listed.len(), 1);
    let key = listed[0].key.clone();
    let body = objects.read(&key, None, 1 << 20).await.unwrap();
    assert_eq!(body.len(), 1500 * 20);
    (key, body)
}

/// What can happen to a list: what is left of it, and how that is called.
fn damages(body: &Bytes) -> [(Bytes, &'static str); 2] {
    let mut flipped = body.to_vec();
    flipped[15_000] ^= 1;
    let cut = body.slice(..body.len() - 20);
    [
        (flipped.into(), "its SHA-256 is not the one"),
        (cut, "it has 29980 bytes, too few for 1500 addresses"),
    ]
}

#[tokio::test]
async fn a_damaged_list_beside_a_note_is_named() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    let (root, upper, lower) = upper_and_lower();
    let files = [(&upper, FileKind::Table), (&lower, FileKind::Table)];
    push(&repository, &root, &files).await;
    assert_eq!(repository.verify(&Told::default()).await.findings, []);
    let (key, body) = side_list(&*objects, &repository).await;
    let named = async |said: &str| {
        let report = repository.verify(&Told::default()).await;
        let [finding] = &report.findings[..] else {
            panic!("{report:?}");
        };
        assert_eq!(finding.damage, Damage::SideList);
        assert!(finding.at.contains("/uploads/"), "{finding:?}");
        assert!(finding.detail.contains(key.as_str()), "{finding:?}");
        assert!(finding.detail.contains(said), "{finding:?}");
    };
    for (damaged, said) in damages(&body) {
        objects.overwrite(&key, damaged).await.unwrap();
        named(said).await;
    }
    objects.delete(&key).await.unwrap();
    named("could not find object").await;
}

#[tokio::test]
async fn a_file_whose_list_beside_its_note_is_damaged_is_not_added() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    let (root, upper, lower) = upper_and_lower();
    let files = [(&upper, FileKind::Table), (&lower, FileKind::Table)];
    for (made, kind) in files {
        upload(&repository, made, kind).await.unwrap();
    }
    let (key, body) = side_list(&*objects, &repository).await;
    for (damaged, said) in damages(&body) {
        objects.overwrite(&key, damaged).await.unwrap();
        let error = commit(&repository, &root, &files).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        let RepositoryError::Damaged { key: at, what } = error else {
            panic!("{error:?}");
        };
        assert!(at == key && what.contains(said), "{at}: {what}");
    }
    assert_eq!(
        repository.state().await.unwrap().root,
        RootAddress::ZERO,
        "nothing was added"
    );
    objects.overwrite(&key, body).await.unwrap();
    let committed = commit(&repository, &root, &files).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

/// A store whose lists lack one object, as a list may that is made while objects come; and which does not find it
/// so many times.
#[derive(Debug)]
struct Hiding {
    inner: Arc<dyn ObjectStore>,
    key: ObjectKey,
    not_found: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Hiding {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let one_less = |left: usize| left.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        if *key == self.key
            && self
                .not_found
                .fetch_update(relaxed, relaxed, one_less)
                .is_ok()
        {
            return Err(ObjectError::NotFound { key: key.clone() });
        }
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.inner.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.create(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        self.inner.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let mut page = self.inner.list(prefix, after).await?;
        // A page that is left empty would be taken for the end.
        if page.len() == 1 && page[0].key == self.key {
            return self.inner.list(prefix, Some(&self.key)).await;
        }
        page.retain(|meta| meta.key != self.key);
        Ok(page)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.inner.delete(key).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.inner.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }
}

#[tokio::test]
async fn a_record_that_a_list_lacks_is_missing_only_if_it_cannot_be_read() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    for salt in 0..10 {
        small_push(&repository, salt).await;
    }
    for hidden in 1..=10 {
        for not_found in [0, 1, usize::MAX] {
            let hiding: Arc<dyn ObjectStore> = Arc::new(Hiding {
                inner: Arc::clone(&objects),
                key: layout::record(repository.id(), hidden),
                not_found: AtomicUsize::new(not_found),
            });
            let scratch = TempDir::new().unwrap();
            let other = open(&hiding, scratch.path(), 2).await;
            let report = other.verify(&Told::default()).await;
            let what = format!("{hidden}, not found {not_found} times");
            if hidden == 10 {
                // The list may as well have been made before it came.
                assert_eq!((report.records, report.findings), (9, Vec::new()), "{what}");
            } else if not_found < 2 {
                assert_eq!(
                    (report.records, report.findings),
                    (10, Vec::new()),
                    "{what}"
                );
            } else {
                assert_eq!(report.records, 9, "{what}");
                assert_eq!(report.findings[0].damage, Damage::LogGap, "{what}");
                let said = format!("record {hidden} of 10 is missing");
                assert_eq!(report.findings[0].detail, said);
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_a_hint_names_counts_also_where_the_list_lacks_it() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    for salt in 0..3 {
        small_push(&repository, salt).await;
    }
    let hint = layout::hint(repository.id());
    objects.overwrite(&hint, Bytes::from("3")).await.unwrap();
    let hiding: Arc<dyn ObjectStore> = Arc::new(Hiding {
        inner: objects,
        key: layout::record(repository.id(), 3),
        not_found: AtomicUsize::new(0),
    });
    let other = TempDir::new().unwrap();
    let repository = open(&hiding, other.path(), 2).await;
    let report = repository.verify(&Told::default()).await;
    assert_eq!((report.records, report.findings), (3, Vec::new()));
}

#[tokio::test]
async fn a_gap_of_a_million_records_is_told_in_moments() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = open(&objects, scratch.path(), 1).await;
    small_push(&repository, 1).await;
    let far = layout::record(repository.id(), 1_000_000);
    objects.create(&far, Bytes::from("{}")).await.unwrap();
    let report = repository.verify(&Told::default()).await;
    assert_eq!(report.records, 2);
    // Two to 999,999, and the last, which is none.
    assert_eq!(report.damages, 999_998 + 1);
    assert_eq!(report.findings.len(), 1000);
}
