//! The log as a register: what it promises while records are late, many, long or lost.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{SystemClock, Timestamp};
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload,
};
use holdfast_chunkstore::repo::{Committed, FileKind, Proposal};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
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
