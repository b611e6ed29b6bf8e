//! Lists that are too long for the record that they belong to.
//!
//! # Order
//! The objects of a list are created before the record that names them, under names that hold the record's
//! stamp.
//!
//! # Crash
//! Objects that no record names are left; they promise nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::{RepoId, Stamp};
use crate::objects::{ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _};
use crate::pool::BlockingPool;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::Sha256;
use crate::repo::layout;
use crate::repo::record::{
    INLINE_BYTES, INLINE_LIMIT, Listed, SideObject, decode_list, digest, encode_list,
};

/// How long an object beside a record becomes in bytes, unless its only entry is longer.
const OBJECT_BYTES: usize = 1 << 20;
/// The longest object beside a record that is written and read.
const MAX_OBJECT_LEN: u64 = 4 << 20;
/// How many objects are written or read at once.
const AT_ONCE: usize = 8;

/// The objects beside the records of one log.
#[derive(Debug, Clone)]
pub(crate) struct SideLists {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) repo: RepoId,
    /// Threads for encoding, decoding and hashing: a megabyte takes milliseconds.
    pub(crate) pool: BlockingPool,
}

impl SideLists {
    /// Makes a list one that a record can hold: as it is, or put into objects of its own.
    pub(crate) async fn set_aside<T: Serialize + Clone + Send + Sync + 'static>(
        &self,
        stamp: Stamp,
        what: &'static str,
        list: &[T],
    ) -> Result<Listed<T>, RepositoryError> {
        if list.len() <= INLINE_LIMIT && encode_list(list).len() <= INLINE_BYTES {
            return Ok(Listed::Inline(list.to_vec()));
        }
        let write = |(number, part): (usize, Part)| {
            let key = layout::side_part(self.repo, stamp, what, number);
            write_part(Arc::clone(&self.objects), key, part)
        };
        let parts = parts_of(list.into(), self.pool.clone()).enumerate();
        let objects = parts.map(write).buffered(AT_ONCE).try_collect().await?;
        let count = list.len() as u64;
        Ok(Listed::Side { objects, count })
    }

    /// Reads a list, wherever it stands.
    pub(crate) async fn read<T: DeserializeOwned + Clone + Send + Sync + 'static>(
        &self,
        listed: &Listed<T>,
    ) -> Result<Vec<T>, RepositoryError> {
        let (named, count) = match listed {
            Listed::Inline(list) => return Ok(list.clone()),
            Listed::Side { objects, count } => (objects.clone(), *count),
        };
        let mut list: Vec<T> = Vec::new();
        let read = |part| read_part::<T>(self.clone(), part);
        let mut parts = stream::iter(named).map(read).buffered(AT_ONCE);
        while let Some(part) = parts.try_next().await? {
            list.extend(part);
        }
        if list.len() as u64 == count {
            return Ok(list);
        }
        let have = list.len();
        Err(self.damaged(format!(
            "a list beside a record has {have} entries, not {count}"
        )))
    }

    /// What is wrong with the lists where no single object can be named.
    fn damaged(&self, what: String) -> RepositoryError {
        RepositoryError::Damaged {
            key: layout::hint(self.repo),
            what,
        }
    }
}

/// A part of a list, encoded.
struct Part {
    bytes: Bytes,
    sha256: Sha256,
    entries: usize,
}

/// The parts of a list, one after another.
fn parts_of<T: Serialize + Send + Sync + 'static>(
    list: Arc<[T]>,
    pool: BlockingPool,
) -> BoxStream<'static, Part> {
    let begin = (list, 0, pool);
    let parts = stream::unfold(begin, |(list, at, pool)| async move {
        let first = move || (Part::first_of(&list[at..]), list);
        let (part, list) = pool.run(first).await;
        let part = part?;
        let at = at + part.entries;
        Some((part, (list, at, pool)))
    });
    parts.boxed()
}

impl Part {
    /// The first part of a list; nothing of an empty one.
    fn first_of<T: Serialize>(list: &[T]) -> Option<Self> {
        let mut len = "[]".len();
        let fits = |entry: &&T| {
            len += encode_list(std::slice::from_ref(*entry)).len() - 1;
            len <= OBJECT_BYTES
        };
        let fitting = list.iter().take_while(fits).count();
        let part = &list[..fitting.max(1).min(list.len())];
        (!part.is_empty()).then(|| {
            let bytes = encode_list(part);
            let sha256 = digest(&bytes);
            let entries = part.len();
            Self {
                bytes,
                sha256,
                entries,
            }
        })
    }
}

async fn write_part(
    objects: Arc<dyn ObjectStore>,
    key: ObjectKey,
    part: Part,
) -> Result<SideObject, RepositoryError> {
    let len = part.bytes.len() as u64;
    if len > MAX_OBJECT_LEN {
        return Err(RepositoryError::TooLong {
            what: "a list beside a record",
            len,
            max: MAX_OBJECT_LEN,
        });
    }
    match objects.create_stamped(&key, part.bytes).await {
        // The name holds the stamp of this attempt: what stands there is ours.
        Ok(()) | Err(ObjectError::AlreadyExists { .. }) => {}
        Err(error) => return Err(object("write a list beside the log")(error)),
    }
    Ok(SideObject {
        object: key.to_string(),
        sha256: part.sha256,
        count: part.entries as u64,
    })
}

async fn read_part<T: DeserializeOwned + Send + 'static>(
    lists: SideLists,
    part: SideObject,
) -> Result<Vec<T>, RepositoryError> {
    let SideObject {
        object: name,
        sha256,
        count,
    } = part;
    let key = ObjectKey::parse(name).map_err(|error| lists.damaged(error.to_string()))?;
    let bytes = lists.objects.read(&key, None, MAX_OBJECT_LEN).await;
    let bytes = bytes.map_err(object("read a list beside the log"))?;
    let damaged = |what: String| RepositoryError::Damaged {
        key: key.clone(),
        what,
    };
    let decode = move || (digest(&bytes), decode_list(&bytes));
    let (found, list) = lists.pool.run(decode).await;
    if found != sha256 {
        let what = "its SHA-256 is not the one that the record names";
        return Err(damaged(what.to_owned()));
    }
    let list: Vec<T> = list.map_err(|error| damaged(error.to_string()))?;
    if list.len() as u64 == count {
        Ok(list)
    } else {
        let have = list.len();
        Err(damaged(format!("it has {have} entries, not {count}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_falls_into_parts_of_bounded_length_and_none_is_lost() {
        let entry = |number: usize| "x".repeat(number % 700 * 13);
        let list: Vec<String> = (0..2000).map(entry).collect();
        let mut joined: Vec<String> = Vec::new();
        let mut parts = 0;
        while let Some(part) = Part::first_of(&list[joined.len()..]) {
            assert!(part.bytes.len() <= OBJECT_BYTES);
            let entries: Vec<String> = decode_list(&part.bytes).unwrap();
            assert_eq!(entries.len(), part.entries);
            joined.extend(entries);
            parts += 1;
        }
        assert!(parts >= 8, "{parts}");
        assert_eq!(joined, list);
    }

    #[test]
    fn an_entry_that_is_longer_than_an_object_should_be_stands_alone() {
        let list = ["a".to_owned(), "x".repeat(OBJECT_BYTES), "b".to_owned()];
        for at in 0..3 {
            assert_eq!(Part::first_of(&list[at..]).unwrap().entries, 1);
        }
        assert!(Part::first_of(&list[3..]).is_none());
    }
}
