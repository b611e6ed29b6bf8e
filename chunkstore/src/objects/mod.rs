//! Named bytes, somewhere: the one seam to storage.
//!
//! An object is written once, whole, and never changed: [`ObjectStore::create`] and [`ObjectStore::upload`]
//! fail with [`ObjectError::AlreadyExists`] where something stands already, and of any number of concurrent
//! calls for one key exactly one succeeds. Only [`ObjectStore::overwrite`], for hints that may be lost,
//! replaces. Success means durable: the object survives a crash of the process and of the machine.
//!
//! An error other than `AlreadyExists` and `NotFound` says nothing about whether the call took effect; who
//! must know stamps what he writes and reads it back, or puts the stamp into the key.
//!
//! Keys are also paths: of `a` and `a/b` only one can be an object, and the second may be refused.

pub mod disk;
pub mod durable;
mod file_pieces;
pub mod key;
pub mod limited;
pub mod local;
pub mod memory;
pub mod probe;
pub mod retrying;
#[cfg(feature = "s3")]
pub mod s3;
mod versioned;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::clock::Timestamp;
use crate::error::ErrorKind;
pub use key::ObjectKey;
pub use versioned::{ObjectVersion, Replacement, VersionedStore};

/// Why a call to an [`ObjectStore`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no such object.
    #[error("could not find object {key}")]
    NotFound {
        /// The key that was asked for.
        key: ObjectKey,
    },
    /// Something stands under the key already.
    #[error("could not create object {key}: it exists")]
    AlreadyExists {
        /// The key that was to be created.
        key: ObjectKey,
    },
    /// The range does not lie inside the object.
    #[error("could not read range {}..{} of object {key}: it has {len} bytes", range.start, range.end)]
    Range {
        /// The object's key.
        key: ObjectKey,
        /// What was asked for.
        range: Range<u64>,
        /// The object's length in bytes.
        len: u64,
    },
    /// No room: disk full, or under the floor of free space.
    #[error("could not write object {key}: no space is left")]
    Full {
        /// The key that was to be written.
        key: ObjectKey,
    },
    /// The store refuses by configuration or rights; asking again does not help.
    #[error("could not {action} {key}: the object store refused")]
    Refused {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The key.
        key: ObjectKey,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault that may pass, or whose effect is unknown.
    #[error("could not {action} {key}")]
    Failed {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The key.
        key: ObjectKey,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ObjectError {
    pub(crate) fn failed(
        action: &'static str,
        key: &ObjectKey,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            action,
            key: key.clone(),
            source: source.into(),
        }
    }

    pub(crate) fn refused(
        action: &'static str,
        key: &ObjectKey,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Refused {
            action,
            key: key.clone(),
            source: source.into(),
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::Conflict,
            Self::Range { .. } => ErrorKind::Invalid,
            Self::Full { .. } => ErrorKind::Exhausted,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Failed { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The most bytes that one piece of an [`ObjectBody`] holds: clients that do not read hold one each.
pub const MAX_PIECE_BYTES: usize = 128 << 10;

/// The most objects that one [`ObjectStore::list`] answers.
pub const MAX_LISTED: usize = 1000;

/// What of an object of `len` bytes is to be read.
pub(crate) fn checked_range(
    key: &ObjectKey,
    range: Option<Range<u64>>,
    len: u64,
) -> Result<Range<u64>, ObjectError> {
    match range {
        None => Ok(0..len),
        Some(range) if range.start < range.end && range.end <= len => Ok(range),
        Some(range) => Err(ObjectError::Range {
            key: key.clone(),
            range,
            len,
        }),
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub len: u64,
    /// When it was stored, by the store's own clock.
    pub modified: Timestamp,
}

/// The bytes of an object, or of a range of it, as they arrive.
pub struct ObjectBody {
    /// Length of the whole object in bytes.
    pub object_len: u64,
    /// The range that the stream yields: exactly this many bytes, or an error.
    pub range: Range<u64>,
    /// The bytes in order, in pieces of at most [`MAX_PIECE_BYTES`].
    pub stream: BoxStream<'static, Result<Bytes, ObjectError>>,
}

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBody")
            .field("object_len", &self.object_len)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// An address under which anybody may read an object. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedAddress {
    /// The address: never logged.
    pub url: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl fmt::Debug for SignedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedAddress")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Named, immutable bytes.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Opens an object, or a range of it, for reading. An empty range, and one that passes the end, is
    /// [`ObjectError::Range`]; an object may itself be empty only where it was created so.
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError>;

    /// Asks for an object's length and age.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError>;

    /// Stores a small object if nothing stands under the key.
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError>;

    /// Stores a small object whose key holds an id or a stamp that the caller drew for it alone, or of which he
    /// believes whatever stands there. What stands there after a fault is as good as his, so that this can be tried
    /// again where [`ObjectStore::create`] cannot.
    async fn create_stamped(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.create(key, body).await
    }

    /// Stores a small object, replacing what stands there. For hints only.
    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError>;

    /// Begins to store a large object whose bytes the caller also writes to the file at `spool`. Nobody sees
    /// the object before [`ObjectUpload::complete`] has succeeded. The file stays, and what was written to it
    /// stays as it is, until `complete` or `abort` has returned; after that its name may be removed, but its
    /// bytes may have become the object's and must not be changed. The key holds an id or a stamp that was drawn
    /// for this object alone, as that of [`ObjectStore::create_stamped`].
    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError>;

    /// Lists up to 1,000 objects whose key begins with `prefix` and is greater than `after`, in the order of
    /// their keys. An empty answer is the end.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError>;

    /// Deletes an object; deleting what is not there succeeds.
    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError>;

    /// An address under which anybody may read the object with GET and Range until `valid` after `signed_at`, or
    /// until the keys of the store end; the same text for the same two and the same keys. Nothing where the store
    /// has no such addresses, or none now.
    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError>;

    /// Whether no other process can write to this store while we have it open, so that what was read once
    /// needs no confirmation.
    fn is_exclusive(&self) -> bool;
}

/// A large object on its way into a store. Dropping it leaves no object; the parts that the store keeps of it are
/// removed soon. [`ObjectUpload::abort`] waits for that.
#[async_trait]
pub trait ObjectUpload: Send + fmt::Debug {
    /// Hands over the next bytes, which the caller has already written to the spool file, so that whoever
    /// opens it reads them.
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError>;

    /// Makes the object durable and then visible, if nothing stands under the key.
    async fn complete(self: Box<Self>) -> Result<(), ObjectError>;

    /// Gives the upload up.
    async fn abort(self: Box<Self>);
}

/// Conveniences over [`ObjectStore`].
#[async_trait]
pub trait ObjectStoreExt: ObjectStore {
    /// Reads a small object, or a small range, into memory. More than `limit` bytes is an error.
    async fn read(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, ObjectError> {
        use futures::TryStreamExt as _;
        let body = self.get(key, range).await?;
        let len = body.range.end - body.range.start;
        let too_long = || ObjectError::Refused {
            action: "read into memory",
            key: key.clone(),
            source: format!("{len} bytes are more than the {limit} allowed").into(),
        };
        let mut bytes = match usize::try_from(len) {
            Ok(len_bytes) if len <= limit => bytes::BytesMut::with_capacity(len_bytes),
            _ => return Err(too_long()),
        };
        let mut stream = body.stream;
        while let Some(piece) = stream.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// Lists everything under a prefix. Only for prefixes known to be small.
    async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, ObjectError> {
        let mut all: Vec<ObjectMeta> = Vec::new();
        loop {
            let page = self.list(prefix, all.last().map(|meta| &meta.key)).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

impl<S: ObjectStore + ?Sized> ObjectStoreExt for S {}
