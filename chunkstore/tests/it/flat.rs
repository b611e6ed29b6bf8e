//! A repository of many small pushes: what its server keeps of the past does not grow with their number.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{Clock as _, Timestamp};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::index::CachedIndex;
use holdfast_chunkstore::index::rocks::{RocksIndex, RocksSettings};
use holdfast_chunkstore::objects::local::{LocalOptions, LocalStore};
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectUpload,
    SignedAddress,
};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo::record::{CHECKPOINT_EVERY, Record};
use holdfast_chunkstore::repo::verify::{Stage, VerifyProgress};
use holdfast_chunkstore::repo::{Committed, FileKind, Parts, Proposal, Repository, layout};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::forward::Forward;

/// How long retired files stay.
const KEEP: Duration = Duration::from_hours(56);
/// How much time passes between two pushes.
const BETWEEN: Duration = Duration::from_mins(10);
/// The most entries of files that are gone which the index keeps where it keeps fewer others, and some slack.
const SLACK: u64 = 80_000;

/// A store in a directory by whose clock records and the hint are stored when the test's clock says so.
#[derive(Debug)]
struct Dated {
    inner: LocalStore,
    clock: Arc<Forward>,
    records: Mutex<Vec<Timestamp>>,
    hint: Mutex<Timestamp>,
}

impl Dated {
    fn note(&self, key: &ObjectKey) {
        if key.as_str().contains("/log/") {
            self.records.lock().push(self.clock.now());
        }
        if key.name() == "hint" {
            *self.hint.lock() = self.clock.now();
        }
    }
}

#[async_trait]
impl ObjectStore for Dated {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let mut meta = self.inner.head(key).await?;
        if key.as_str().contains("/log/") {
            let sequence: usize = key.name().parse().unwrap();
            meta.modified = self.records.lock()[sequence - 1];
        }
        if key.name() == "hint" {
            meta.modified = *self.hint.lock();
        }
        Ok(meta)
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.create(key, body).await?;
        self.note(key);
        Ok(())
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.overwrite(key, body).await?;
        self.note(key);
        Ok(())
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
        self.inner.list(prefix, after).await
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

/// What there is at one moment.
#[derive(Debug)]
struct Figures {
    pushes: u64,
    /// Files in the state: those that count, and those that do not.
    counted: usize,
    uncounted: usize,
    chunks: u64,
    /// Bytes of the files that count, of the retired ones, and of all that the store holds.
    live: u64,
    retired: u64,
    stored: u64,
    /// How many notes and lists there are.
    notes: usize,
    sides: usize,
    checkpoint_bytes: usize,
    log_bytes: u64,
    index_bytes: u64,
    resident_mb: u64,
}

struct World {
    folder: TempDir,
    objects: Arc<Dated>,
    clock: Arc<Forward>,
    index: Arc<RocksIndex>,
    server: Repository,
    root: RootAddress,
}

fn bytes_below(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap();
    let len = |path: PathBuf| match path.is_dir() {
        true => bytes_below(&path),
        // It may be gone by now.
        false => std::fs::metadata(path).map_or(0, |meta| meta.len()),
    };
    entries.map(|entry| len(entry.unwrap().path())).sum()
}

fn resident_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

impl World {
    async fn new() -> Self {
        // In memory where there is such a place: nothing here is about the disk.
        let shared = Path::new("/dev/shm");
        let folder = match shared.is_dir() {
            true => TempDir::with_prefix_in("holdfast-flat-", shared).unwrap(),
            false => TempDir::new().unwrap(),
        };
        let clock = Arc::new(Forward::default());
        let store = LocalStore::open(&folder.path().join("store"), LocalOptions::default()).await;
        let objects = Arc::new(Dated {
            inner: store.unwrap(),
            clock: Arc::clone(&clock),
            records: Mutex::default(),
            hint: Mutex::new(Timestamp(0)),
        });
        let settings = RocksSettings::default();
        let path = folder.path().join("index");
        let opened = RocksIndex::open(&path, &settings, BlockingPool::new(4));
        let index = Arc::new(opened.await.unwrap().0);
        let behind = Arc::<RocksIndex>::clone(&index);
        let shared: Arc<dyn ObjectStore> = Arc::<Dated>::clone(&objects);
        let parts = Parts {
            clock: Arc::<Forward>::clone(&clock),
            index: Arc::new(CachedIndex::new(behind, 4 << 20)),
            ..parts(shared, &folder.path().join("spool"), 1)
        };
        Self {
            server: acme(parts).await,
            folder,
            objects,
            clock,
            index,
            root: RootAddress::ZERO,
        }
    }

    /// A push, and what the server does after it.
    async fn push(&mut self, salt: u64) {
        let leaf = format!("leaf {salt}").into_bytes();
        let root = parent(salt, &[hash_chunk(&leaf)]);
        let current = root_of(&root);
        let made = table_file_of(vec![leaf, root]);
        upload(&self.server, &made, FileKind::Table).await.unwrap();
        let proposal = Proposal {
            last: self.root,
            current,
            files: vec![named(&made)],
            actor: actor(),
        };
        let committed = self.server.commit(&proposal).await.unwrap();
        assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
        self.root = current;
        if self.server.is_merge_due().await {
            self.server.merge().await.unwrap().unwrap();
        }
        if self.server.until_release(KEEP).await == Some(Duration::ZERO) {
            self.server.release_retired(KEEP).await.unwrap();
        }
        self.clock.jump(BETWEEN);
    }

    async fn sum(&self, prefix: &str) -> (usize, u64) {
        let (mut count, mut len, mut last) = (0, 0, None);
        loop {
            let page = self.objects.list(prefix, last.as_ref()).await.unwrap();
            let Some(end) = page.last() else {
                return (count, len);
            };
            last = Some(end.key.clone());
            count += page.len();
            len += page.iter().map(|meta| meta.len).sum::<u64>();
        }
    }

    async fn figures(&self, pushes: u64) -> Figures {
        self.index.settle().await.unwrap();
        let state = self.server.state().await.unwrap();
        let checkpoint = state.sequence - state.sequence % CHECKPOINT_EVERY;
        let checkpoint_bytes = match checkpoint {
            0 => 0,
            sequence => {
                let key = layout::record(self.server.id(), sequence);
                let body = self.objects.read(&key, None, 4 << 20).await.unwrap();
                assert!(Record::decode(&key, &body).unwrap().checkpoint.is_some());
                body.len()
            }
        };
        let retired = state.retired.values().chain(state.released.values());
        let retired = retired.map(|file| file.file.as_ref().unwrap().len);
        let (id, pool) = (self.server.id(), self.server.pool());
        Figures {
            pushes,
            counted: state.files.len(),
            uncounted: state.retired.len() + state.released.len(),
            chunks: state
                .files
                .values()
                .map(|file| u64::from(file.chunks))
                .sum(),
            live: state.stored_len(),
            retired: retired.sum(),
            stored: self.sum(&format!("pools/{pool}/")).await.1,
            notes: self.sum(&layout::uploads(id)).await.0,
            sides: self.sum(&format!("repos/{id}/side/")).await.0,
            checkpoint_bytes,
            log_bytes: self.sum(&layout::log(id)).await.1,
            index_bytes: bytes_below(&self.folder.path().join("index")),
            resident_mb: resident_mb(),
        }
    }
}

struct Silent;

impl VerifyProgress for Silent {
    fn done(&self, _: Stage, _: u64, _: u64) {}
}

async fn pushes(count: u64) {
    let mut world = World::new().await;
    let mut most_uncounted = 0;
    for salt in 0..count {
        world.push(salt).await;
        if (salt + 1) % (count / 10) != 0 {
            continue;
        }
        let figures = world.figures(salt + 1).await;
        let (log, resident) = (figures.log_bytes, figures.resident_mb);
        eprintln!(
            "{} pushes: {log} bytes of log, {resident} MB resident, {figures:?}",
            figures.pushes
        );
        assert!(
            figures.stored * 10 <= figures.live * 13 + figures.retired * 10 + 10_000,
            "the store keeps what nothing needs"
        );
        assert!(figures.counted <= 64, "small files are merged");
        // Of 56 hours and one more, at 6 pushes an hour, and a merged file for 31 of them.
        assert!(
            figures.uncounted <= 57 * 6 + 12 + 32,
            "retired files pile up"
        );
        assert!(figures.notes <= figures.counted + figures.uncounted + 1);
        assert_eq!(figures.sides, 0);
        assert!(figures.checkpoint_bytes <= 512 << 10);
        // 13 merged files of the last hours, and as much again of what is gone.
        let entries = figures.chunks * 13 * 2 + SLACK;
        assert!(
            figures.index_bytes <= 60 * entries + (4 << 20),
            "the index grows"
        );
        most_uncounted = most_uncounted.max(figures.uncounted);
    }
    assert!(most_uncounted >= 300, "hardly anything was retired");
    let report = world.server.verify(&Silent).await;
    assert_eq!(report.damages, 0, "{report:?}");
    assert_eq!(
        report.chunks,
        2 * count,
        "every chunk of every push is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_some_hundred_pushes_is_flat() {
    pushes(600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 100,000 pushes, some minutes"]
async fn what_is_kept_of_a_hundred_thousand_pushes_is_flat() {
    pushes(100_000).await;
}
