//! The log as a register: what it promises while records are late, many, long or lost.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::{SystemClock, Timestamp};
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::id::{IdSource, RepoId, UploadId};
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectUpload,
    SignedAddress,
};
use holdfast_chunkstore::repo::log::{Appended, Deletions, Draft, Log};
use holdfast_chunkstore::repo::record::{INLINE_BYTES, INLINE_LIMIT, Listed, MAX_LEN, encode_list};
use holdfast_chunkstore::repo::{
    Act, Committed, FileKind, Md5, Proposal, RefMove, RepositoryError, Sha256, State, StoredFile,
    layout,
};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
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
        released: Vec::new(),
        deletions: Deletions::default(),
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
    ) -> Result<Option<SignedAddress>, ObjectError> {
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

/// A file that nobody ever sent; as long in a record as others are.
fn made_up_file(number: u64) -> StoredFile {
    let mut upload = [0x55; 16];
    upload[..8].copy_from_slice(&number.to_be_bytes());
    StoredFile {
        upload: UploadId::new(upload),
        id: TableFileId::new([0x33; 20]),
        kind: FileKind::Archive,
        len: u64::MAX - number,
        chunks: u32::MAX,
        split_offset: u64::MAX,
        sha256: Sha256([0x77; 32]),
        md5: Md5([0x99; 16]),
    }
}

#[tokio::test]
async fn a_record_of_very_many_files_is_read_by_another_server() {
    const FILES: u64 = 20_000;
    let objects = store();
    let (writer, ids) = (log(&objects), IdSource::from_seed(1));
    let all: Vec<StoredFile> = (0..FILES).map(made_up_file).collect();
    let mut added = draft(1);
    added.added.clone_from(&all);
    let state = append(&writer, &ids, &State::empty(), &added).await;
    assert_eq!(state.files.len() as u64, FILES);
    assert_eq!(log(&objects).load().await.unwrap(), state);
    let (record, _) = writer.read(1).await.unwrap().unwrap();
    match &record.added {
        Listed::Side { objects, count } => assert!(objects.len() > 3 && *count == FILES),
        Listed::Inline(files) => panic!("{} files stand in the record", files.len()),
    }

    let mut retired = draft(2);
    retired.retired = all[1..].iter().map(|file| file.upload).collect();
    let mut state = append(&writer, &ids, &state, &retired).await;
    assert_eq!(
        (state.files.len(), state.retired.len() as u64),
        (1, FILES - 1)
    );
    assert_eq!(log(&objects).load().await.unwrap(), state);

    // The checkpoint names them all again, and is what others begin with.
    let mut more = draft(3);
    more.added = (FILES..FILES + 5000).map(made_up_file).collect();
    for number in 3..=257 {
        state = append(&writer, &ids, &state, &more).await;
        more = draft(number + 1);
    }
    let longest = longest_record(&*objects).await;
    assert!(longest < 100_000, "a record has {longest} bytes");
    for sequence in 1..=255 {
        let key = layout::record(REPO, sequence);
        objects.delete(&key).await.unwrap();
    }
    assert_eq!(log(&objects).load().await.unwrap(), state);
}

async fn longest_record(objects: &dyn ObjectStore) -> u64 {
    let listed = objects.list_all(&layout::log(REPO)).await.unwrap();
    listed.iter().map(|meta| meta.len).max().unwrap()
}

#[tokio::test]
async fn records_with_lists_at_the_limit_are_read_by_another_server() {
    // So many entries, or so many bytes, stand in the record; one more does not.
    let moves = |count: usize, len: usize| -> Vec<RefMove> {
        let ref_move = |number| RefMove {
            name: format!("{number:0len$}"),
            old: Some(ChunkAddress::new([0xee; 20])),
            new: Some(ChunkAddress::new([0xff; 20])),
        };
        (0..count).map(ref_move).collect()
    };
    // `{"name":"","old":"","new":""}`, two addresses, and a comma or the bracket at the end; then the other one.
    let around = 29 + 2 * 32 + 1;
    let fitting = (INLINE_BYTES - 1) / 64 - around;
    let cases = [
        (moves(INLINE_LIMIT, 1), true),
        (moves(INLINE_LIMIT + 1, 1), false),
        (moves(64, fitting), true),
        (moves(64, fitting + 1), false),
        (moves(70, 60_000), false),
    ];
    let many_files = INLINE_BYTES / encode_list(&[made_up_file(0)]).len();
    let files: Vec<StoredFile> = (0..many_files as u64).map(made_up_file).collect();
    let objects = store();
    let (writer, ids) = (log(&objects), IdSource::from_seed(1));
    let mut state = State::empty();
    for (number, (refs, is_inline)) in (1..).zip(cases) {
        let what = format!("{} refs of {} bytes", refs.len(), refs[0].name.len());
        let change = Draft {
            refs: refs.clone(),
            added: files.clone(),
            retired: files.iter().map(|file| file.upload).collect(),
            ..draft(number)
        };
        state = append(&writer, &ids, &state, &change).await;
        let reader = log(&objects);
        assert_eq!(reader.load().await.unwrap(), state, "{what}");
        let (record, _) = reader.read(number).await.unwrap().unwrap();
        let stands_inside = matches!(record.refs, Listed::Inline(_));
        assert_eq!(stands_inside, is_inline, "{what}");
        assert_eq!(reader.list(&record.refs).await.unwrap(), refs, "{what}");
    }
    let longest = longest_record(&*objects).await;
    let range = 2 * INLINE_BYTES as u64..MAX_LEN / 2;
    assert!(range.contains(&longest), "a record has {longest} bytes");
}

#[tokio::test]
async fn a_record_that_could_not_be_read_again_is_refused_and_not_written() {
    let objects = store();
    let (writer, ids) = (log(&objects), IdSource::from_seed(1));
    let state = append(&writer, &ids, &State::empty(), &draft(1)).await;
    let mut change = draft(2);
    change.actor.client = "x".repeat(5 << 20);
    let error = writer.append(&state, &change, ids.stamp()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        matches!(error, RepositoryError::TooLong { .. }),
        "{error:?}"
    );

    let mut change = draft(2);
    change.refs = vec![RefMove {
        name: "x".repeat(5 << 20),
        old: None,
        new: None,
    }];
    let error = writer.append(&state, &change, ids.stamp()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(log(&objects).load().await.unwrap(), state);
    append(&writer, &ids, &state, &draft(2)).await;
}

#[tokio::test]
async fn a_side_list_of_another_length_than_its_record_says_is_damage() {
    let objects = store();
    let (writer, ids) = (log(&objects), IdSource::from_seed(1));
    let mut added = draft(1);
    added.added = (0..20_000).map(made_up_file).collect();
    append(&writer, &ids, &State::empty(), &added).await;
    let (record, _) = writer.read(1).await.unwrap().unwrap();
    let Listed::Side { objects, count } = record.added else {
        panic!("20,000 files stand in the record");
    };
    let lists = [
        (objects[1..].to_vec(), count),
        (objects.clone(), count + 1),
        (objects[..0].to_vec(), 1),
    ];
    for (objects, count) in lists {
        let listed: Listed<StoredFile> = Listed::Side { objects, count };
        let error = writer.list(&listed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    let mut swapped = objects;
    swapped[0].sha256 = swapped[1].sha256;
    let listed: Listed<StoredFile> = Listed::Side {
        objects: swapped,
        count,
    };
    let error = writer.list(&listed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}
