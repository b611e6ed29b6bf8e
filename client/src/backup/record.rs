//! What is written down of a backup.
//!
//! ```text
//! { "form": 1, "id": 7, "at": <milliseconds since 1970>, "root": …, "replaces": <root of the store before>,
//!   "source": …, "added": { "chunks": …, "bytes": … }, "files": [ { "id": …, "chunks": … }, … ],
//!   "by": …, "client": …, "previous": <SHA-256 of the text of the record before> }
//! ```
//!
//! A record is never changed. Another form gets another number.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::{RootAddress, TableFileId};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The form that is written and read here.
const FORM: u32 = 1;

/// The number of a backup: one more than that of the backup before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(u64);

/// How many backups are named in a line.
const NAMED: usize = 10;

/// Says which backups need something, of many the first ten.
pub fn needed_by(backups: &[BackupId]) -> String {
    if backups.is_empty() {
        return "needed by no earlier backup".to_owned();
    }
    let named: Vec<_> = backups
        .iter()
        .take(NAMED)
        .map(BackupId::to_string)
        .collect();
    let more = match backups.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("needed by backup {}{more}", named.join(", "))
}

/// Text that is not the number of a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the number of a backup")]
pub struct BackupIdError {
    text: String,
}

impl BackupId {
    /// That of the first backup.
    pub const FIRST: Self = Self(1);

    /// That of the backup behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number itself.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// The name of its record. Names sort as numbers do.
    pub(super) fn record_name(self) -> String {
        format!("{:010}.json", self.0)
    }

    /// The name of what says that it is forgotten.
    pub(super) fn forgotten_name(self) -> String {
        format!("{:010}.forgotten", self.0)
    }

    /// Reads the name of a file that ends with `suffix`.
    pub(super) fn of_name(name: &str, suffix: &str) -> Option<Self> {
        let digits = name.strip_suffix(suffix)?;
        let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, BackupIdError> {
        let wrong = || BackupIdError {
            text: text.chars().take(64).collect(),
        };
        let number: u64 = text.parse().map_err(|_| wrong())?;
        match number {
            0 => Err(wrong()),
            number => Ok(Self(number)),
        }
    }
}

/// Why text is not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is none at all.
    #[error("read its text")]
    Text {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It is of a form that a later version writes.
    #[error("it is of form {form}, and only {FORM} is known")]
    Form {
        /// The form.
        form: u32,
    },
    /// It lies under the number of another backup.
    #[error("it is the record of backup {id}")]
    Id {
        /// Of which backup.
        id: BackupId,
    },
    /// It follows another record than the one before it.
    #[error("the record before it is not the one that it follows: one of them was changed")]
    Previous,
    /// The record before it is gone.
    #[error("the record before it is gone")]
    Gap,
}

/// A backup as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    form: u32,
    /// Its number.
    pub id: BackupId,
    /// When it was made.
    pub at: Timestamp,
    /// The root of the database: everything below it is in the backup.
    pub root: RootAddress,
    /// The root of the store when the backup was made.
    pub replaces: RootAddress,
    /// What was backed up.
    pub source: String,
    /// What the target lacked before.
    pub added: Added,
    /// The files that hold everything below the root, and what else was there.
    pub files: Vec<RecordedFile>,
    /// Who made it, where that is known.
    pub by: Option<String>,
    /// The version of the program that made it.
    pub client: String,
    /// The digest of the record before, where there is one.
    pub previous: Option<String>,
}

/// What a backup added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// How many chunks.
    pub chunks: u64,
    /// How many bytes those have in their stored form.
    pub bytes: u64,
}

/// A file of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Its id.
    pub id: TableFileId,
    /// How many chunks are in it.
    pub chunks: u32,
}

/// The record that a new one follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) id: BackupId,
    pub(super) root: RootAddress,
    pub(super) source: String,
    pub(super) digest: String,
}

impl BackupRecord {
    /// Makes the record that follows `last`, for everything else to be filled in.
    pub(super) fn following(last: Option<&Last>, at: Timestamp, root: RootAddress) -> Self {
        Self {
            form: FORM,
            id: last.map_or(BackupId::FIRST, |last| last.id.next()),
            at,
            root,
            replaces: RootAddress::ZERO,
            source: String::new(),
            added: Added::default(),
            files: Vec::new(),
            by: None,
            client: env!("CARGO_PKG_VERSION").to_owned(),
            previous: last.map(|last| last.digest.clone()),
        }
    }

    /// The text of the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("numbers and text can be written");
        text.push(b'\n');
        text
    }

    /// Reads the text of the record of backup `id`.
    pub fn decode(id: BackupId, text: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let wrong = |source| RecordError::Text { source };
        let Form { form } = serde_json::from_slice(text).map_err(wrong)?;
        if form != FORM {
            return Err(RecordError::Form { form });
        }
        let record: Self = serde_json::from_slice(text).map_err(wrong)?;
        match record.id == id {
            true => Ok(record),
            false => Err(RecordError::Id { id: record.id }),
        }
    }
}

/// The digest of a record's text, which the next record holds.
pub(super) fn digest(text: &[u8]) -> String {
    HEXLOWER.encode(&sha2::Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last: Option<&Last>) -> BackupRecord {
        BackupRecord {
            source: "/data/shop".to_owned(),
            files: vec![RecordedFile {
                id: TableFileId::new([3; 20]),
                chunks: 9,
            }],
            ..BackupRecord::following(
                last,
                Timestamp(1_700_000_000_000),
                RootAddress::new([1; 20]),
            )
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let first = record(None);
        let text = first.encode();
        assert_eq!(BackupRecord::decode(BackupId(1), &text).unwrap(), first);
        let last = Last {
            id: first.id,
            root: first.root,
            source: first.source.clone(),
            digest: digest(&text),
        };
        let second = record(Some(&last));
        assert_eq!(second.id, BackupId(2));
        assert_eq!(second.previous.as_deref(), Some(&*digest(&text)));
        let read = BackupRecord::decode(BackupId(2), &second.encode());
        assert_eq!(read.unwrap(), second);
    }

    #[test]
    fn what_is_no_record_of_that_number_is_refused() {
        let text = record(None).encode();
        let other = BackupRecord::decode(BackupId(2), &text).unwrap_err();
        assert!(matches!(other, RecordError::Id { .. }), "{other}");
        let later = String::from_utf8(text.clone()).unwrap();
        let later = later.replace("\"form\": 1", "\"form\": 2");
        let later = BackupRecord::decode(BackupId(1), later.as_bytes()).unwrap_err();
        assert!(matches!(later, RecordError::Form { form: 2 }), "{later}");
        for end in 0..text.len() - 2 {
            assert!(BackupRecord::decode(BackupId(1), &text[..end]).is_err());
        }
    }

    #[test]
    fn names_sort_as_numbers_do() {
        let names = [9, 10, 99_999].map(|number| BackupId(number).record_name());
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(BackupId::of_name(&names[1], ".json"), Some(BackupId(10)));
        assert_eq!(BackupId::of_name(&names[1], ".forgotten"), None);
        assert_eq!(BackupId::of_name("x.json", ".json"), None);
        assert!("0".parse::<BackupId>().is_err());
        assert_eq!("0000000010".parse(), Ok(BackupId(10)));
    }
}
