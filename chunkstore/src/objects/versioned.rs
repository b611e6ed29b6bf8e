//! Small objects that many replace: each under the condition that nobody did so since it was read.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ObjectError, ObjectKey, ObjectStore};

/// Which bytes stood under a key: an opaque word of the store, compared and sent back as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(String);

impl ObjectVersion {
    /// Takes the store's word.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The store's word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of an attempt to replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The bytes stand there.
    Done,
    /// Another version stands there, or is on its way; nothing was done.
    Outdated,
}

/// An [`ObjectStore`] that can replace.
#[async_trait]
pub trait VersionedStore: ObjectStore {
    /// Reads an object of at most `limit` bytes, and its version; nothing where there is none.
    async fn read_version(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<(Bytes, ObjectVersion)>, ObjectError>;

    /// Puts a small object in the place of that version of it, or where there is none yet. It is sent once: an error
    /// says nothing about whether it took effect, and who must know reads it again.
    async fn replace(
        &self,
        key: &ObjectKey,
        body: Bytes,
        version: Option<&ObjectVersion>,
    ) -> Result<Replacement, ObjectError>;
}
