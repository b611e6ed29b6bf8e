//! A store through which two servers write their records at the same moment.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use tokio::sync::Barrier;

/// How many records of each server wait for one of the other. Both must write at least as many.
const PAIRS: usize = 10;

/// The store of one of two servers: its n-th record is created when the n-th of the other is.
#[derive(Debug)]
pub(crate) struct Racing {
    inner: Arc<dyn ObjectStore>,
    barrier: Arc<Barrier>,
    records: AtomicUsize,
    lost: AtomicUsize,
}

impl Racing {
    /// A store for each of the two.
    pub(crate) fn pair(inner: &Arc<dyn ObjectStore>) -> [Arc<Self>; 2] {
        let barrier = Arc::new(Barrier::new(2));
        std::array::from_fn(|_| {
            Arc::new(Self {
                inner: Arc::clone(inner),
                barrier: Arc::clone(&barrier),
                records: AtomicUsize::new(0),
                lost: AtomicUsize::new(0),
            })
        })
    }

    /// How many records found that their number was taken.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ObjectStore for Racing {
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
        if self.records.fetch_add(1, Ordering::SeqCst) < PAIRS {
            self.barrier.wait().await;
        }
        let created = self.inner.create(key, body).await;
        if let Err(error) = &created
            && error.kind() == ErrorKind::Conflict
        {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        created
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
