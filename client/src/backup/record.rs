//! What is written down of a backup.
//!
//! ```text
//! { "form": 2, "id": 7, "at": <milliseconds since 1970>, "root": …, "replaces": <root of the store before>,
//!   "source": …, "added": { "chunks": …, "bytes": … }, "by": …, "client": …,
//!   "previous": <SHA-256 of the text of the record before>, "file_count": …,
//!   "files": { "whole": [ { "id": …, "chunks": … }, … ] }
//!         or { "changed": { "base": <a backup before>, "new": [ { "id": …, "chunks": … }, … ], "gone": [ <id>, … ] } },
//!   "before": [ <what a list shows of a backup, and the digest of its record>, … ] }
//!
//! { "form": 1, … as above, "files": [ { "id": …, "chunks": … }, … ] }      read, never written
//! ```
//!
//! Which base a list has, and which records tell of those before them, [`super::spine`] says; readers go by what is
//! written. A record is never changed. Another form gets another number.

use data_encoding::HEXLOWER;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::{RootAddress, TableFileId};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::backup_id::BackupId;

/// The form that is written here.
const FORM: u32 = 2;

/// The form before it, which is read here as well.
const FIRST_FORM: u32 = 1;

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

/// Why text is not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is none at all.
    #[error("its text cannot be read")]
    Text {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It is of a form that a later version writes.
    #[error(
        "it is of form {form}, and this version knows forms up to {FORM}; a newer holdfast reads it"
    )]
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
    /// Another record tells something else of it.
    #[error("it is not what the record of backup {by} tells of it: one of them was changed")]
    Told {
        /// Whose record tells it.
        by: BackupId,
    },
    /// Its list of files does not follow from the one that it names.
    #[error("its list of files does not follow from that of backup {base}")]
    Files {
        /// The backup whose list it changes.
        base: BackupId,
    },
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
    /// Who made it, where that is known.
    pub by: Option<String>,
    /// The version of the program that made it.
    pub client: String,
    /// The digest of the record before, where there is one.
    pub previous: Option<String>,
    /// How many files it lists.
    pub file_count: u64,
    /// The files that hold everything below the root, and what else was there.
    pub files: FileList,
    /// What lists show of the backups before it, the oldest first, where it is one that tells this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<ListedBackup>,
}

/// The files of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileList {
    /// All of them.
    Whole(Vec<RecordedFile>),
    /// Those of a backup before it, but for what is said here.
    Changed {
        /// Which backup.
        base: BackupId,
        /// What is there besides.
        new: Vec<RecordedFile>,
        /// What is not there.
        gone: Vec<TableFileId>,
    },
}

/// What a list shows of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedBackup {
    /// Its number.
    pub id: BackupId,
    /// When it was made.
    pub at: Timestamp,
    /// The root of the database.
    pub root: RootAddress,
    /// What was backed up.
    pub source: String,
    /// What the target lacked before.
    pub added: Added,
    /// How many files it lists.
    pub files: u64,
    /// Who made it, where that is known.
    pub by: Option<String>,
    /// The version of the program that made it.
    pub client: String,
    /// The SHA-256 of the text of its record.
    pub digest: String,
}

/// A record as the first form had it.
#[derive(Debug, Deserialize)]
struct FirstRecord {
    form: u32,
    id: BackupId,
    at: Timestamp,
    root: RootAddress,
    replaces: RootAddress,
    source: String,
    added: Added,
    files: Vec<RecordedFile>,
    by: Option<String>,
    client: String,
    previous: Option<String>,
}

impl From<FirstRecord> for BackupRecord {
    fn from(first: FirstRecord) -> Self {
        Self {
            form: first.form,
            id: first.id,
            at: first.at,
            root: first.root,
            replaces: first.replaces,
            source: first.source,
            added: first.added,
            by: first.by,
            client: first.client,
            previous: first.previous,
            file_count: first.files.len() as u64,
            files: FileList::Whole(first.files),
            before: Vec::new(),
        }
    }
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

/// What is to be written down of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// When it is made.
    pub at: Timestamp,
    /// The root of the database.
    pub root: RootAddress,
    /// The root of the store before.
    pub replaces: RootAddress,
    /// What was backed up.
    pub source: String,
    /// What the target lacked before.
    pub added: Added,
    /// Who makes it, where that is known.
    pub by: Option<String>,
    /// The files of the target.
    pub files: Vec<RecordedFile>,
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
    /// Makes the record that follows `last`, without its files and what it tells.
    pub(super) fn following(last: Option<&Last>, draft: &Draft) -> Self {
        Self {
            form: FORM,
            id: last.map_or(BackupId::FIRST, |last| last.id.next()),
            at: draft.at,
            root: draft.root,
            replaces: draft.replaces,
            source: draft.source.clone(),
            added: draft.added,
            by: draft.by.clone(),
            client: env!("CARGO_PKG_VERSION").to_owned(),
            previous: last.map(|last| last.digest.clone()),
            file_count: 0,
            files: FileList::Whole(Vec::new()),
            before: Vec::new(),
        }
    }

    /// What a list shows of it; `digest` is that of its text.
    pub(super) fn listed(&self, digest: String) -> ListedBackup {
        ListedBackup {
            id: self.id,
            at: self.at,
            root: self.root,
            source: self.source.clone(),
            added: self.added,
            files: self.file_count,
            by: self.by.clone(),
            client: self.client.clone(),
            digest,
        }
    }

    /// The text of the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("numbers and text can be written");
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
        let record: Self = match form {
            FORM => serde_json::from_slice(text).map_err(wrong)?,
            FIRST_FORM => {
                let first: FirstRecord = serde_json::from_slice(text).map_err(wrong)?;
                first.into()
            }
            form => return Err(RecordError::Form { form }),
        };
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
        let files = vec![RecordedFile {
            id: TableFileId::new([3; 20]),
            chunks: 9,
        }];
        let draft = Draft {
            at: Timestamp(1_700_000_000_000),
            root: RootAddress::new([1; 20]),
            replaces: RootAddress::ZERO,
            source: "/data/shop".to_owned(),
            added: Added::default(),
            by: None,
            files: Vec::new(),
        };
        BackupRecord {
            file_count: 1,
            files: FileList::Whole(files),
            ..BackupRecord::following(last, &draft)
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let first = record(None);
        let text = first.encode();
        assert_eq!(BackupRecord::decode(BackupId::FIRST, &text).unwrap(), first);
        let last = Last {
            id: first.id,
            root: first.root,
            source: first.source.clone(),
            digest: digest(&text),
        };
        let second = record(Some(&last));
        assert_eq!(second.id, BackupId::FIRST.next());
        assert_eq!(second.previous.as_deref(), Some(&*digest(&text)));
        let read = BackupRecord::decode(BackupId::FIRST.next(), &second.encode());
        assert_eq!(read.unwrap(), second);
    }

    #[test]
    fn what_is_no_record_of_that_number_is_refused() {
        let text = record(None).encode();
        let other = BackupRecord::decode(BackupId::FIRST.next(), &text).unwrap_err();
        assert!(matches!(other, RecordError::Id { .. }), "{other}");
        let later = String::from_utf8(text.clone()).unwrap();
        let later = later.replace("\"form\":2", "\"form\":3");
        let later = BackupRecord::decode(BackupId::FIRST, later.as_bytes()).unwrap_err();
        assert!(matches!(later, RecordError::Form { form: 3 }), "{later}");
        for end in 0..text.len() - 2 {
            assert!(BackupRecord::decode(BackupId::FIRST, &text[..end]).is_err());
        }
    }

    #[test]
    fn a_record_of_the_first_form_is_read() {
        let text = r#"{
          "form": 1, "id": 7, "at": 1700000000000, "root": "04040404040404040404040404040404",
          "replaces": "00000000000000000000000000000000", "source": "/data/shop",
          "added": { "chunks": 3, "bytes": 40 },
          "files": [ { "id": "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", "chunks": 9 } ],
          "by": "An <an@example.org>", "client": "0.1.0", "previous": "77"
        }"#;
        let record =
            BackupRecord::decode(BackupId::of_number(7).unwrap(), text.as_bytes()).unwrap();
        assert_eq!(record.previous.as_deref(), Some("77"));
        assert_eq!(record.file_count, 1);
        let FileList::Whole(files) = record.files else {
            panic!("a first record lists all files")
        };
        assert_eq!(files[0].chunks, 9);
    }
}
