//! A store whose time is later than the system's for what is stored from now on.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use parking_lot::Mutex;

/// The store.
#[derive(Debug)]
pub(crate) struct Later {
    inner: Arc<dyn ObjectStore>,
    by: Duration,
    /// What was stored through it.
    stored: Mutex<BTreeSet<ObjectKey>>,
}

impl Later {
    /// What `inner` holds is as old as it says; all that comes is so much later.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, by: Duration) -> Self {
        Self {
            inner,
            by,
            stored: Mutex::default(),
        }
    }

    fn note(&self, key: &ObjectKey) {
        self.stored.lock().insert(key.clone());
    }

    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        match self.stored.lock().contains(&meta.key) {
            true => ObjectMeta {
                modified: meta.modified.plus(self.by),
                ..meta
            },
            false => meta,
        }
    }
}

#[async_trait]
impl ObjectStore for Later {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        Ok(self.dated(self.inner.head(key).await?))
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.note(key);
        self.inner.create(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.note(key);
        self.inner.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        self.note(key);
        self.inner.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let listed = self.inner.list(prefix, after).await?;
        Ok(listed.into_iter().map(|meta| self.dated(meta)).collect())
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
