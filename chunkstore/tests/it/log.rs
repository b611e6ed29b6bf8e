//! The log as a register: what it promises while records are late, many, long or lost.

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
use holdfast_chunkstore::id::{IdSource, RepoId};
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload,
};
use holdfast_chunkstore::repo::log::{Appended, Draft, Log};
use holdfast_chunkstore::repo::{
    Act, Committed, FileKind, Proposal, RepositoryError, State, layout,
};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

const REPO: RepoId = RepoId::new([7; 16]);

fn log(objects: &Arc<dyn ObjectStore>) -> Log {
    Log::new(Arc::clone(objects), Arc::new(SystemClock::new()), REPO)
}

/// A change that moves the root somewhere, and nothing else.
fn draft(number: u64) -> Draft {
    let mut root = [0xaa; 20];
    root[..8].copy_from_slice(&number.to_be_bytes());
    Draft {
        act: Act::Push,
        actor: actor(),
        new_root: RootAddress::new(root),
        refs: Vec::new(),
        added: Vec::new(),
        retired: Vec::new(),
    }
}

async fn append(log: &Log, ids: &IdSource, state: &State, draft: &Draft) -> State {
    match log.append(state, draft, ids.stamp()).await.unwrap() {
        Appended::Won(state) => state,
        Appended::Lost(_) => panic!("nobody else writes"),
    }
}

/// A log of so many records.
async fn log_of(objects: &Arc<dyn ObjectStore>, records: u64) -> State {
    let (log, ids) = (log(objects), IdSource::from_seed(records));
    let mut state = State::empty();
    for number in 1..=records {
        state = append(&log, &ids, &state, &draft(number)).await;
    }
    state
}

/// A store that counts the reads of records, or, with permits, one of a single writer, as a local disk is: there
/// the creation of a record, once begun, goes on whoever waits for it, and here it also takes a permit.
#[derive(Debug)]
struct WatchedRecords {
    inner: Arc<dyn ObjectStore>,
    permits: Option<Arc<Semaphore>>,
    began: Notify,
    ended: Arc<Notify>,
    reads: AtomicUsize,
    reading: AtomicUsize,
    most_reading: AtomicUsize,
}

impl WatchedRecords {
    fn new(inner: Arc<dyn ObjectStore>, permits: Option<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            permits: permits.map(Arc::new),
            began: Notify::new(),
            ended: Arc::default(),
            reads: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            most_reading: AtomicUsize::new(0),
        })
    }

    fn store(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        Arc::<Self>::clone(self)
    }

    fn begin_reading(&self) -> Reading<'_> {
        let reading = self.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_reading.fetch_max(reading, Ordering::SeqCst);
        Reading(&self.reading)
    }

    /// How many records were read since this was last asked, and how many of them at once.
    fn take_counts(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.reads), take(&self.most_reading))
    }
}

/// One read, until it is done or given up.
struct Reading<'a>(&'a AtomicUsize);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for WatchedRecords {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        if !key.as_str().contains("/log/") {
            return self.inner.get(key, range).await;
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let _reading = self.begin_reading();
        // Lets others begin.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.inner.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let Some(permits) = self.permits.clone() else {
            return self.inner.create(key, body).await;
        };
        if !key.as_str().contains("/log/") {
            return self.inner.create(key, body).await;
        }
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        let ended = Arc::clone(&self.ended);
        let creation = tokio::spawn(async move {
            permits.acquire().await.unwrap().forget();
            let created = inner.create(&key, body).await;
            ended.notify_one();
            created
        });
        self.began.notify_one();
        creation.await.unwrap()
    }

    async fn create_stamped(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.create(key, body).await
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
    ) -> Result<Option<String>, ObjectError> {
        self.inner.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        self.permits.is_some()
    }
}

#[tokio::test]
async fn a_record_that_arrives_after_its_writer_went_away_is_seen() {
    let late = WatchedRecords::new(store(), Some(Semaphore::new(0)));
    let permits = late.permits.clone().unwrap();
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(late.store(), scratch.path(), 1)).await;
    let mut last = RootAddress::ZERO;
    for salt in 1..=3 {
        let chunk = parent(salt, &[]);
        let (made, root) = (table_file_of(vec![chunk.clone()]), root_of(&chunk));
        upload(&repository, &made, FileKind::Table).await.unwrap();
        let proposal = Proposal {
            last,
            current: root,
            files: vec![named(&made)],
            actor: actor(),
        };
        {
            let commit = repository.commit(&proposal);
            tokio::select! {
                committed = commit => panic!("nobody permitted the record: {committed:?}"),
                () = late.began.notified() => {}
            }
        }
        // Whoever asks now learns the truth of now, and must not keep the next one from learning his.
        for _ in 0..2 {
            assert_eq!(repository.state().await.unwrap().root, last);
        }
        permits.add_permits(1);
        late.ended.notified().await;
        assert_eq!(repository.state().await.unwrap().root, root);
        let again = repository.commit(&proposal).await.unwrap();
        assert_eq!(again, Committed::Already);
        last = root;
    }
}

#[tokio::test]
async fn a_log_that_lost_a_record_is_not_served_and_not_written_to() {
    for (records, lost) in [
        // Behind the checkpoint, which the hint names.
        (300, 300..301),
        (300, 299..300),
        (300, 270..290),
        (300, 257..300),
        // The checkpoint itself, and what follows it.
        (300, 256..301),
        (256, 256..257),
        // No checkpoint, no hint.
        (9, 1..2),
        (9, 5..9),
        (9, 1..9),
    ] {
        let objects = store();
        let whole = log_of(&objects, records).await;
        assert_eq!(log(&objects).load().await.unwrap(), whole);
        for sequence in lost.clone() {
            let key = layout::record(REPO, sequence);
            objects.delete(&key).await.unwrap();
        }
        let loaded = log(&objects).load().await;
        if lost == (300..301) {
            // Nothing tells that there was one.
            assert_eq!(loaded.unwrap().sequence, 299);
            continue;
        }
        let error = loaded.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{lost:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_gap_in_the_log_is_named_by_the_first_lost_record() {
    let objects = store();
    log_of(&objects, 9).await;
    let key = layout::record(REPO, 5);
    objects.delete(&key).await.unwrap();
    objects.delete(&layout::record(REPO, 6)).await.unwrap();
    match log(&objects).load().await.unwrap_err() {
        RepositoryError::Damaged { key: named, what } => {
            assert_eq!(named, key);
            assert!(what.contains("holdfastd verify"), "{what}");
        }
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn records_are_read_several_at_a_time() {
    let watched = WatchedRecords::new(store(), None);
    let first = log_of(&watched.store(), 40).await;
    assert_eq!(first.sequence, 40);
    let (ids, writer) = (IdSource::from_seed(2), log(&watched.store()));
    let mut last = first.clone();
    for number in 41..=255 {
        last = append(&writer, &ids, &last, &draft(number)).await;
    }
    watched.take_counts();

    assert_eq!(log(&watched.store()).load().await.unwrap(), last);
    assert_eq!(watched.take_counts(), (255, 16));

    // Whoever slept reads on, and not much beyond the end.
    let slept = log(&watched.store());
    assert_eq!(slept.catch_up(first).await.unwrap(), last);
    let (reads, at_once) = watched.take_counts();
    assert!(
        (215..=215 + 17).contains(&reads) && at_once == 16,
        "{reads}"
    );
    assert_eq!(slept.catch_up(last.clone()).await.unwrap(), last);
    assert_eq!(watched.take_counts(), (1, 1));
}

#[tokio::test]
async fn a_lost_reply_is_looked_for_in_what_is_at_hand() {
    let watched = WatchedRecords::new(store(), None);
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let writer = acme(parts(watched.store(), folders[0].path(), 1)).await;
    let mut roots = vec![RootAddress::ZERO];
    let roots_file = |count: u64| {
        let chunks: Vec<Vec<u8>> = (0..count).map(|salt| parent(salt, &[])).collect();
        let addresses: Vec<RootAddress> = chunks.iter().map(|chunk| root_of(chunk)).collect();
        (table_file_of(chunks), addresses)
    };
    let (made, all) = roots_file(300);
    upload(&writer, &made, FileKind::Table).await.unwrap();
    roots.extend(all);
    let push = |number: usize| Proposal {
        last: roots[number - 1],
        current: roots[number],
        files: vec![named(&made)],
        actor: actor(),
    };
    for number in 1..=300 {
        let committed = writer.commit(&push(number)).await.unwrap();
        assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
    }
    let mut invented = push(300);
    invented.last = RootAddress::new([5; 20]);

    // The one that wrote them reads nothing but what confirms the state.
    watched.take_counts();
    assert_eq!(writer.commit(&push(60)).await.unwrap(), Committed::Already);
    assert_eq!(writer.commit(&push(10)).await.unwrap(), Committed::Stale);
    assert_eq!(watched.take_counts(), (2, 1));

    // Another begins at the checkpoint, and reads what was before it several at a time.
    let other = acme(parts(watched.store(), folders[1].path(), 2)).await;
    other.state().await.unwrap();
    watched.take_counts();
    assert_eq!(other.commit(&push(299)).await.unwrap(), Committed::Already);
    assert_eq!(watched.take_counts(), (1, 1));
    assert_eq!(other.commit(&push(60)).await.unwrap(), Committed::Already);
    let (reads, at_once) = watched.take_counts();
    assert!((196..=213).contains(&reads) && at_once == 16, "{reads}");
    invented.current = roots[7];
    assert_eq!(other.commit(&invented).await.unwrap(), Committed::Stale);
}
