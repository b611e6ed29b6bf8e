//! At most so many calls at once.
//!
//! A call counts until it is answered; the body of a [`ObjectStore::get`] flows outside the bound, so that a slow
//! reader keeps nobody waiting and somebody who reads one object while he asks for another cannot wait for
//! himself. Uploads have a bound of their own, so that slow senders do not hold up small requests.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use crate::clock::Timestamp;

/// A store that lets at most so many calls through at once; the others wait in the order they came.
#[derive(Debug, Clone)]
pub struct LimitedStore {
    inner: Arc<dyn ObjectStore>,
    calls: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

#[derive(Debug)]
struct LimitedUpload {
    inner: Box<dyn ObjectUpload>,
    uploads: Arc<Semaphore>,
}

impl LimitedStore {
    /// Bounds the calls to a store, and as many of uploads beside them (at least one at once).
    pub fn new(inner: Arc<dyn ObjectStore>, concurrent_calls: usize) -> Self {
        let permits = concurrent_calls.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner,
            calls: Arc::new(Semaphore::new(permits)),
            uploads: Arc::new(Semaphore::new(permits)),
        }
    }
}

async fn turn(calls: &Semaphore) -> SemaphorePermit<'_> {
    calls
        .acquire()
        .await
        .expect("the semaphore is never closed")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LimitedStore {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.create(key, body).await
    }

    async fn create_stamped(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.create_stamped(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        let _turn = turn(&self.uploads).await;
        let inner = self.inner.upload(key, spool).await?;
        Ok(Box::new(LimitedUpload {
            inner,
            uploads: Arc::clone(&self.uploads),
        }))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let _turn = turn(&self.calls).await;
        self.inner.delete(key).await
    }

    /// Asks no store, so it needs no turn.
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectUpload for LimitedUpload {
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        let _turn = turn(&self.uploads).await;
        self.inner.write(piece).await
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        let _turn = turn(&self.uploads).await;
        self.inner.complete().await
    }

    async fn abort(self: Box<Self>) {
        let _turn = turn(&self.uploads).await;
        self.inner.abort().await;
    }
}
