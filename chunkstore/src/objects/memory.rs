//! Objects in a map: the strictest store.
//!
//! It does what any real store might do to its users: bodies arrive in pieces of odd lengths, lists in pages of
//! three, others run between a call and its effect, the time of storing is the clock's, and the spool file of an
//! upload must hold what was handed over. For tests, and for stores that need not survive.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, ObjectVersion,
    Replacement, SignedAddress, VersionedStore, checked_range,
};
use crate::clock::{Clock, Timestamp};
use crate::hash::hash_chunk;
use crate::pool::BlockingPool;

const PAGE: usize = 3;

/// Objects in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, StoredObject>>>,
    clock: Arc<dyn Clock>,
    pool: BlockingPool,
}

#[derive(Debug, Clone)]
struct StoredObject {
    body: Bytes,
    modified: Timestamp,
}

#[derive(Debug)]
struct MemoryUpload {
    store: MemoryStore,
    key: ObjectKey,
    spool: PathBuf,
    received: BytesMut,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            objects: Arc::default(),
            clock,
            pool: BlockingPool::new(4),
        }
    }

    fn find(&self, key: &ObjectKey) -> Result<StoredObject, ObjectError> {
        let objects = self.objects.lock();
        let found = objects.get(key.as_str()).cloned();
        found.ok_or_else(|| ObjectError::NotFound { key: key.clone() })
    }

    fn insert(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let mut objects = self.objects.lock();
        if objects.contains_key(key.as_str()) {
            return Err(ObjectError::AlreadyExists { key: key.clone() });
        }
        refuse_nesting(&objects, key)?;
        objects.insert(key.as_str().to_owned(), self.stored(body));
        Ok(())
    }

    fn stored(&self, body: Bytes) -> StoredObject {
        StoredObject {
            body,
            modified: self.clock.now(),
        }
    }
}

/// Of `a` and `a/b` only one can be an object, as in a directory.
fn refuse_nesting(
    objects: &BTreeMap<String, StoredObject>,
    key: &ObjectKey,
) -> Result<(), ObjectError> {
    let text = key.as_str();
    let mut above = text.match_indices('/').map(|(at, _)| &text[..at]);
    let below = format!("{text}/");
    let first_below = objects.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded));
    let is_above = |(name, _): (&String, &StoredObject)| name.starts_with(&below);
    if above.any(|name| objects.contains_key(name)) || first_below.take(1).any(is_above) {
        return Err(ObjectError::refused(
            "store",
            key,
            "an object stands above or below it",
        ));
    }
    Ok(())
}

/// Cuts a body into pieces of 1, 4, 13 … bytes, none longer than 64 KiB.
fn odd_pieces(body: Bytes) -> impl Iterator<Item = Bytes> + Send {
    let mut rest = body;
    let mut len = 1;
    std::iter::from_fn(move || {
        let piece = rest.split_to(len.min(rest.len()));
        len = (len * 3 + 1) % (64 << 10) + 1;
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

/// Gives everybody else a turn, as a call over a network would.
async fn let_others_run() {
    tokio::task::yield_now().await;
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let_others_run().await;
        let body = self.find(key)?.body;
        let object_len = body.len() as u64;
        let range = checked_range(key, range, object_len)?;
        let start = usize::try_from(range.start).expect("a position in memory is a usize");
        let end = usize::try_from(range.end).expect("a position in memory is a usize");
        let pieces = stream::iter(odd_pieces(body.slice(start..end)));
        Ok(ObjectBody {
            object_len,
            range,
            stream: pieces
                .then(|piece| async {
                    let_others_run().await;
                    Ok(piece)
                })
                .boxed(),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let_others_run().await;
        let object = self.find(key)?;
        Ok(ObjectMeta {
            key: key.clone(),
            len: object.body.len() as u64,
            modified: object.modified,
        })
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let_others_run().await;
        let outcome = self.insert(key, body);
        let_others_run().await;
        outcome
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let_others_run().await;
        let mut objects = self.objects.lock();
        refuse_nesting(&objects, key)?;
        objects.insert(key.as_str().to_owned(), self.stored(body));
        Ok(())
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        let_others_run().await;
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            key: key.clone(),
            spool: spool.to_owned(),
            received: BytesMut::new(),
        }))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let_others_run().await;
        let start = match after.map(ObjectKey::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects.lock();
        let listed = objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(PAGE)
            .map(|(name, object)| ObjectMeta {
                key: ObjectKey::parse(name.clone()).expect("the name was a key when it came in"),
                len: object.body.len() as u64,
                modified: object.modified,
            });
        Ok(listed.collect())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let_others_run().await;
        self.objects.lock().remove(key.as_str());
        Ok(())
    }

    async fn presign(
        &self,
        _key: &ObjectKey,
        _signed_at: Timestamp,
        _valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        Ok(None)
    }

    /// Others may hold a clone.
    fn is_exclusive(&self) -> bool {
        false
    }
}

impl MemoryUpload {
    async fn spooled_len(&self) -> Result<u64, ObjectError> {
        let spool = self.spool.clone();
        let len = self.store.pool.run(move || std::fs::metadata(spool)).await;
        len.map(|metadata| metadata.len())
            .map_err(|error| ObjectError::refused("read the spool file of", &self.key, error))
    }
}

#[async_trait]
impl VersionedStore for MemoryStore {
    async fn read_version(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<(Bytes, ObjectVersion)>, ObjectError> {
        tokio::task::yield_now().await;
        let Ok(stored) = self.find(key) else {
            return Ok(None);
        };
        if stored.body.len() as u64 > limit {
            let text = format!("it has more than {limit} bytes");
            return Err(ObjectError::refused("read into memory", key, text));
        }
        let version = version_of(&stored.body);
        Ok(Some((stored.body, version)))
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        body: Bytes,
        version: Option<&ObjectVersion>,
    ) -> Result<Replacement, ObjectError> {
        tokio::task::yield_now().await;
        let stored = self.stored(body);
        let mut objects = self.objects.lock();
        let found = objects.get(key.as_str());
        if found.map(|found| version_of(&found.body)).as_ref() != version {
            return Ok(Replacement::Outdated);
        }
        objects.insert(key.as_str().to_owned(), stored);
        Ok(Replacement::Done)
    }
}

/// The version of an object with these bytes.
fn version_of(body: &Bytes) -> ObjectVersion {
    ObjectVersion::new(format!("\"{}\"", hash_chunk(body)))
}

#[async_trait]
impl ObjectUpload for MemoryUpload {
    /// As strict as a bucket, whose parts are read back from the spool file while it grows.
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        self.received.extend_from_slice(&piece);
        if self.spooled_len().await? < self.received.len() as u64 {
            return Err(ObjectError::refused(
                "store",
                &self.key,
                "a piece was handed over before it was in the spool file",
            ));
        }
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        let spool = self.spool.clone();
        let spooled = self.store.pool.run(move || std::fs::read(spool)).await;
        let spooled = spooled
            .map_err(|error| ObjectError::refused("read the spool file of", &self.key, error))?;
        if spooled != self.received {
            return Err(ObjectError::refused(
                "store",
                &self.key,
                "the spool file does not hold what was handed over",
            ));
        }
        let_others_run().await;
        let outcome = self.store.insert(&self.key, spooled.into());
        let_others_run().await;
        outcome
    }

    async fn abort(self: Box<Self>) {
        let_others_run().await;
    }
}
