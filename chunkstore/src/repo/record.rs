//! One record of a repository's log: a change, as JSON (pure).
//!
//! A record is a delta: what was added, retired and moved. Every [`CHECKPOINT_EVERY`]th also carries a
//! checkpoint, the whole state after it, so that reading a log never takes more than that many records.
//! Lists longer than [`INLINE_LIMIT`] or [`INLINE_BYTES`] stand in objects beside it, which the record names with
//! their SHA-256; so no record comes near to [`MAX_LEN`], whatever a change does.
//! Records are never changed. A reader refuses a record of a later [`VERSION`].

use bytes::Bytes;
use sha2::{Digest as _, Sha256 as Hasher};

use crate::address::{ChunkAddress, RootAddress};
use crate::clock::Timestamp;
use crate::id::{Stamp, UploadId};
use crate::objects::ObjectKey;
use crate::repo::file::{Sha256, StoredFile};

/// The highest version of the layout that this code reads. A record has the lowest that can say what it says.
pub const VERSION: u32 = 3;
/// The version from which on a file that a record releases is known until a later record says that it is deleted. In
/// records of version 2 released files were forgotten at once, and their objects stay.
pub const RELEASES: u32 = 3;
/// The version of a record that does nothing of that.
const PLAIN: u32 = 1;
/// Each record whose sequence is a multiple of this carries a checkpoint.
pub const CHECKPOINT_EVERY: u64 = 256;
/// The most entries of a list that stands in the record itself.
pub const INLINE_LIMIT: usize = 1000;
/// The most bytes of a list, written without spaces, that stands in the record itself.
pub const INLINE_BYTES: usize = 256 << 10;
/// The longest record that is written and read.
pub const MAX_LEN: u64 = 4 << 20;

/// Who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Actor {
    /// The account, or `anyone` on an open server, or `holdfast` for the forge's own upkeep.
    pub name: String,
    /// The program he used, as it names itself.
    pub client: String,
}

/// What kind of change a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Files were added; the root stayed.
    Add,
    /// The root moved, by a client's Commit.
    Push,
    /// Small files were put together into larger ones; the root stayed.
    Merge,
    /// Files that nothing needs any more were released, or deleted; the root stayed.
    Release,
}

/// A ref that moved: a name of the dataset map and what it pointed at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefMove {
    /// The full name, such as `refs/heads/main`.
    pub name: String,
    /// Before; nothing for a new ref.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<ChunkAddress>,
    /// After; nothing for a deleted ref.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<ChunkAddress>,
}

/// A list: in the record itself, or, where it is long, in objects beside it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Listed<T> {
    /// The list.
    Inline(Vec<T>),
    /// Where the list is.
    Side {
        /// Its parts, in order.
        objects: Vec<SideObject>,
        /// How many entries they have together.
        count: u64,
    },
}

/// An object beside a record: a part of a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SideObject {
    /// The object's key.
    pub object: String,
    /// SHA-256 of the object.
    pub sha256: Sha256,
    /// How many entries it has.
    pub count: u64,
}

impl<T> Listed<T> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Inline(list) if list.is_empty())
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// A file that no longer counts, though its bytes may still be read under an address given out before.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RetiredFile {
    /// The upload.
    pub upload: UploadId,
    /// When it ceased to count.
    pub at: Timestamp,
    /// The record by which it did, or a later one; 0 in a checkpoint that an older version wrote.
    #[serde(default)]
    pub sequence: u64,
    /// What is known of it; nothing in a checkpoint that an older version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<StoredFile>,
}

impl RetiredFile {
    /// Whether both say the same, as far as an older version wrote it down.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let is_partial = self.file.is_none() || other.file.is_none();
        self == other || (is_partial && (self.upload, self.at) == (other.upload, other.at))
    }
}

/// The whole state after a record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// The files that count.
    pub files: Listed<StoredFile>,
    /// The files that were retired and not yet released.
    pub retired: Listed<RetiredFile>,
    /// The files that were released and of which no record says yet that they are deleted.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub released: Listed<RetiredFile>,
    /// Up to this record no objects are kept beside checkpoints.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cleared: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One change of a repository.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// Version of the layout.
    pub version: u32,
    /// Its number; the first is 1.
    pub sequence: u64,
    /// When; never before the record before.
    pub time: Timestamp,
    /// Marks the attempt that wrote it.
    pub stamp: Stamp,
    /// SHA-256 of the record before; nothing in the first.
    pub previous: Option<Sha256>,
    /// What kind of change.
    pub act: Act,
    /// Who asked for it.
    pub actor: Actor,
    /// The root before.
    pub old_root: RootAddress,
    /// The root after.
    pub new_root: RootAddress,
    /// The refs that moved, by name.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub refs: Listed<RefMove>,
    /// The files that were added.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub added: Listed<StoredFile>,
    /// The files that were retired.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub retired: Listed<UploadId>,
    /// The files that are gone: they count no more, and their bytes are promised to nobody.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub released: Listed<UploadId>,
    /// The files that were released before and whose objects are deleted.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub deleted: Listed<UploadId>,
    /// The lists beside all checkpoints up to this record are deleted; nothing where that is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared: Option<u64>,
    /// The whole state after it, in every [`CHECKPOINT_EVERY`]th record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not JSON, or fields missing or of the wrong type.
    #[error("decode log record {key}")]
    Malformed {
        /// Where it was read.
        key: ObjectKey,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a later Holdfast.
    #[error("log record {key} has version {version}; this Holdfast reads up to {VERSION}")]
    Newer {
        /// Where it was read.
        key: ObjectKey,
        /// Its version.
        version: u32,
    },
    /// It stands at another place than it says, or does not follow the record before it.
    #[error("log record {key} does not follow the record before it: {what}")]
    Chain {
        /// Where it was read.
        key: ObjectKey,
        /// Which link is broken.
        what: &'static str,
    },
}

impl Record {
    /// The lowest version that can say what this record says.
    pub fn lowest_version(&self) -> u32 {
        let releases =
            |checkpoint: &Checkpoint| !checkpoint.released.is_empty() || checkpoint.cleared > 0;
        let is_plain = self.act != Act::Release
            && self.released.is_empty()
            && self.deleted.is_empty()
            && self.cleared.is_none()
            && !self.checkpoint.as_ref().is_some_and(releases);
        if is_plain { PLAIN } else { RELEASES }
    }

    /// Writes the record down.
    pub fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec_pretty(self).expect("a record has only text keys"))
    }

    /// Reads what [`Record::encode`] wrote.
    pub fn decode(key: &ObjectKey, bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |source| RecordError::Malformed {
            key: key.clone(),
            source,
        };
        let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version > VERSION {
            return Err(RecordError::Newer {
                key: key.clone(),
                version,
            });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }
}

/// Writes down a list that is to stand beside a record.
pub fn encode_list<T: serde::Serialize>(list: &[T]) -> Bytes {
    Bytes::from(serde_json::to_vec(list).expect("a list of records has only text keys"))
}

/// Reads what [`encode_list`] wrote.
pub fn decode_list<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> Result<Vec<T>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// The hash by which the next record names one.
pub fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(Hasher::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: VERSION,
            sequence: 1,
            time: Timestamp(5),
            stamp: Stamp::new([1; 16]),
            previous: None,
            act: Act::Push,
            actor: Actor {
                name: "anyone".into(),
                client: "test".into(),
            },
            old_root: RootAddress::ZERO,
            new_root: RootAddress::new([9; 20]),
            refs: Listed::Inline(vec![RefMove {
                name: "refs/heads/main".into(),
                old: None,
                new: None,
            }]),
            added: Listed::default(),
            retired: Listed::Inline(vec![UploadId::new([3; 16])]),
            released: Listed::Inline(vec![UploadId::new([4; 16])]),
            deleted: Listed::Inline(vec![UploadId::new([5; 16])]),
            cleared: Some(256),
            checkpoint: None,
        }
    }

    #[test]
    fn a_record_reads_back() {
        let key = ObjectKey::parse("log").unwrap();
        assert_eq!(Record::decode(&key, &record().encode()).unwrap(), record());
    }

    #[test]
    fn an_older_checkpoint_says_less_of_a_retired_file() {
        let upload = UploadId::new([4; 16]);
        let text = format!(r#"{{"upload": "{upload}", "at": 7}}"#);
        let old: RetiredFile = serde_json::from_str(&text).unwrap();
        assert_eq!((old.at, old.sequence, &old.file), (Timestamp(7), 0, &None));
        let other = RetiredFile {
            at: Timestamp(8),
            ..old.clone()
        };
        assert!(old.agrees_with(&old) && !old.agrees_with(&other));
    }

    #[test]
    fn a_record_has_the_lowest_version_that_can_say_it() {
        let plain = Record {
            released: Listed::default(),
            deleted: Listed::default(),
            cleared: None,
            ..record()
        };
        assert_eq!(plain.lowest_version(), 1);
        let text = String::from_utf8(plain.encode().to_vec()).unwrap();
        assert!(
            !text.contains("deleted") && !text.contains("cleared"),
            "{text}"
        );
        assert_eq!(record().lowest_version(), VERSION);
        let release = Record {
            act: Act::Release,
            ..plain
        };
        assert_eq!(release.lowest_version(), VERSION);
    }

    #[test]
    fn a_later_version_is_refused_by_its_number() {
        let key = ObjectKey::parse("log").unwrap();
        let bytes = br#"{"version": 4, "something": "else"}"#;
        assert!(matches!(
            Record::decode(&key, bytes),
            Err(RecordError::Newer { version: 4, .. })
        ));
        assert!(matches!(
            Record::decode(&key, b"{}"),
            Err(RecordError::Malformed { .. })
        ));
    }
}
