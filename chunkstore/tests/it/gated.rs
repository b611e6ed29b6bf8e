//! A store that holds uploads back until the test lets them go.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use tokio::sync::Semaphore;

/// Lets no upload begin whose key has a part in it, before the gate opens for it.
#[derive(Debug)]
pub(crate) struct Gated {
    inner: Arc<dyn ObjectStore>,
    part: &'static str,
    gate: Semaphore,
    waiting: AtomicUsize,
}

impl Gated {
    pub(crate) fn new(inner: &Arc<dyn ObjectStore>, part: &'static str) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            part,
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    /// How many uploads have come to the gate.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Waits until so many uploads have come to the gate.
    pub(crate) async fn until_waiting(&self, count: usize) {
        while self.waiting() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Opens the gate for so many.
    pub(crate) fn open(&self, count: usize) {
        self.gate.add_permits(count);
    }
}

#[async_trait]
impl ObjectStore for Gated {
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
        if key.as_str().contains(self.part) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
        }
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
