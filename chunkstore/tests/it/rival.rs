//! A writer that is always faster: whoever loses every race gives up after a while, and goes on when it can.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{SystemClock, Timestamp};
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::id::IdSource;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use holdfast_chunkstore::repo::log::{Deletions, Draft, Log};
use holdfast_chunkstore::repo::{Act, Committed, FileKind, Proposal, UploadFailure};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

/// A store in which another record stands whenever somebody wants to write one.
#[derive(Debug)]
struct Contested {
    inner: Arc<dyn ObjectStore>,
    /// How many races the rival still wins.
    wins: AtomicU64,
    ids: IdSource,
}

impl Contested {
    /// Whether the rival writes now.
    fn is_raced(&self, key: &ObjectKey) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let is_record = key.as_str().contains("/log/");
        is_record
            && self
                .wins
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
    }

    async fn write_first(&self, key: &ObjectKey) {
        let repo = key.as_str().split('/').nth(1).unwrap().parse().unwrap();
        let clock = Arc::new(SystemClock::new());
        let log = Log::new(Arc::clone(&self.inner), clock, repo);
        let state = log.load().await.unwrap();
        let draft = Draft {
            act: Act::Add,
            actor: actor(),
            new_root: state.root,
            refs: Vec::new(),
            added: Vec::new(),
            released: Vec::new(),
            deletions: Deletions::default(),
            retired: Vec::new(),
        };
        log.append(&state, &draft, self.ids.stamp()).await.unwrap();
    }
}

#[async_trait]
impl ObjectStore for Contested {
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
        if self.is_raced(key) {
            self.write_first(key).await;
        }
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

#[tokio::test]
async fn a_merge_that_loses_every_race_gives_up() {
    let scratch = TempDir::new().unwrap();
    let contested = Arc::new(Contested {
        inner: Arc::new(MemoryStore::new(Arc::new(SystemClock::new()))),
        wins: AtomicU64::new(0),
        ids: IdSource::from_seed(7),
    });
    let objects: Arc<dyn ObjectStore> = Arc::<Contested>::clone(&contested);
    let repository = acme(parts(objects, scratch.path(), 1)).await;
    let mut last = RootAddress::ZERO;
    for salt in 0..33 {
        let root = parent(salt, &[]);
        let made = table_file_of(vec![root.clone()]);
        upload(&repository, &made, FileKind::Table).await.unwrap();
        let proposal = Proposal {
            last,
            current: root_of(&root),
            files: vec![named(&made)],
            actor: actor(),
        };
        let committed = repository.commit(&proposal).await.unwrap();
        assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
        last = root_of(&root);
    }
    contested.wins.store(1_000, Ordering::SeqCst);
    let failure = repository.merge().await.unwrap_err();
    assert!(
        matches!(&failure, UploadFailure::Repository(error) if error.kind() == ErrorKind::Unavailable),
        "{failure:?}"
    );
    let left = contested.wins.swap(3, Ordering::SeqCst);
    assert_eq!(left, 900, "it tried a hundred times");
    assert!(!repository.is_merge_due().await, "it rests first");
    let merged = repository.merge().await.unwrap().unwrap();
    assert_eq!(merged.parts, 33, "a race may be lost");
}
