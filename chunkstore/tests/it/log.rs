//! The log as a register: what it promises while records are late, many, long or lost.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
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

/// A store of one writer, as a local disk is: the creation of a record, once begun, ends whoever waits for it.
/// Here it also waits for a permit.
#[derive(Debug)]
struct LateRecords {
    inner: Arc<dyn ObjectStore>,
    permits: Arc<Semaphore>,
    began: Notify,
    ended: Arc<Notify>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LateRecords {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.inner.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        if !key.as_str().contains("/log/") {
            return self.inner.create(key, body).await;
        }
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        let (permits, ended) = (Arc::clone(&self.permits), Arc::clone(&self.ended));
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
        true
    }
}

#[tokio::test]
async fn a_record_that_arrives_after_its_writer_went_away_is_seen() {
    let late = Arc::new(LateRecords {
        inner: store(),
        permits: Arc::new(Semaphore::new(0)),
        began: Notify::new(),
        ended: Arc::default(),
    });
    let scratch = TempDir::new().unwrap();
    let objects: Arc<dyn ObjectStore> = Arc::<LateRecords>::clone(&late);
    let repository = acme(parts(objects, scratch.path(), 1)).await;
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
        late.permits.add_permits(1);
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
