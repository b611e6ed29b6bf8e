//! Doubts everything that a repository promises: its log, its files, its index, and the invariant that every
//! chunk of every named file has all its children in named files.
//!
//! Reads only. May run beside a server: what is checked is the state at the record that was the last one when
//! the log was listed. Memory is bounded; sets of addresses are sorted on disk.

mod beside;
pub(crate) mod closed;
mod contents;
pub(crate) mod held;
mod history;
mod indexed;
pub(crate) mod references;
mod shared_ids;

use std::fmt;

use crate::repo::error::RepositoryError;
use crate::repo::name::RepoName;
use crate::repo::repository::Repository;

/// More findings of one repository are counted, not told.
const MOST_FINDINGS: usize = 1000;

/// What kind of damage was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// A record is missing although a later one is there, or was seen once.
    LogGap,
    /// A record cannot be read.
    LogRecord,
    /// A record does not follow the one before it: one of them was changed.
    LogChain,
    /// A checkpoint is not what the records before it give.
    Checkpoint,
    /// A list beside a record, or beside an upload's note, is missing or changed.
    SideList,
    /// Something could not be read or checked: a fault of the disk, or want of room.
    Unreadable,
    /// What a name means cannot be read.
    NameEntry,
    /// A file that a record names, or that was retired and is still promised, is not there.
    FileMissing,
    /// A file has another length than its record says.
    FileLength,
    /// A file's bytes changed: its SHA-256 is not the recorded one.
    FileBytes,
    /// A file is not what it was checked to be: its index, or the address of a chunk, is wrong.
    FileContents,
    /// Two files that differ are named by one id: a clone gets one of them.
    FileShared,
    /// The note of an upload is missing, unreadable, or says otherwise than the log.
    UploadNote,
    /// A chunk refers to a chunk that no named file holds.
    DanglingReference,
    /// The chunk of the root is in no named file.
    RootMissing,
    /// The index says a chunk lies where it does not, or lacks a chunk of a file it claims to hold.
    Index,
    /// The classic twin of an archive is damaged.
    Twin,
    /// The pool does not list the repository as its member.
    PoolMember,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogGap => "log-gap",
            Self::LogRecord => "log-record",
            Self::LogChain => "log-chain",
            Self::Checkpoint => "checkpoint",
            Self::SideList => "side-list",
            Self::Unreadable => "unreadable",
            Self::NameEntry => "name-entry",
            Self::FileMissing => "file-missing",
            Self::FileLength => "file-length",
            Self::FileBytes => "file-bytes",
            Self::FileContents => "file-contents",
            Self::FileShared => "file-shared",
            Self::UploadNote => "upload-note",
            Self::DanglingReference => "dangling-reference",
            Self::RootMissing => "root-missing",
            Self::Index => "index",
            Self::Twin => "twin",
            Self::PoolMember => "pool-member",
        })
    }
}

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What kind.
    pub damage: Damage,
    /// Where: an object's key, or an address.
    pub at: String,
    /// What is wrong, in one line.
    pub detail: String,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The repository.
    pub repository: RepoName,
    /// How many records its log has.
    pub records: u64,
    /// How many files were read.
    pub files: u64,
    /// How many chunks were hashed.
    pub chunks: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// How many damages there are.
    pub damages: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Report {
    fn new(repository: RepoName) -> Self {
        Self {
            repository,
            records: 0,
            files: 0,
            chunks: 0,
            bytes: 0,
            damages: 0,
            findings: Vec::new(),
        }
    }

    /// The report on a name of which nothing can be looked at.
    pub fn of_unreadable_name(name: RepoName, error: &RepositoryError) -> Self {
        let mut report = Self::new(name);
        let at = report.repository.to_string();
        report.find(Damage::NameEntry, at, history::chain(error));
        report
    }

    fn find(&mut self, damage: Damage, at: impl fmt::Display, detail: impl fmt::Display) {
        self.damages += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                damage,
                at: at.to_string(),
                detail: detail.to_string(),
            });
        }
    }
}

/// What a verification is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The log, record by record.
    Log,
    /// The named files, byte by byte: each is read once and checked once.
    Files,
    /// The files that were retired and are still promised, each as long as the others.
    Retired,
    /// The classic twins of archives, each as long as the others.
    Twins,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "the log",
            Self::Files => "the files",
            Self::Retired => "the retired files",
            Self::Twins => "the classic twins",
        })
    }
}

/// Is told how far a verification has come.
pub trait VerifyProgress: Send + Sync {
    /// So much of so much of a stage is done.
    fn done(&self, stage: Stage, done: u64, of: u64);
}

impl Repository {
    /// Checks everything that the repository promises, and reports what is damaged and what could not be checked.
    pub async fn verify(&self, progress: &dyn VerifyProgress) -> Report {
        let mut report = Report::new(self.name().clone());
        if let Err(error) = self.verify_into(&mut report, progress).await {
            let at = self.name().to_string();
            report.find(Damage::Unreadable, at, history::chain(&error));
        }
        report
    }

    async fn verify_into(
        &self,
        report: &mut Report,
        progress: &dyn VerifyProgress,
    ) -> Result<(), RepositoryError> {
        let replayed = history::check(self, report, progress).await?;
        shared_ids::check(self, &replayed.state, report);
        contents::check(self, &replayed, report, progress).await
    }

    /// Whether anything of a log is there, be it readable or not.
    pub async fn has_log(&self) -> Result<bool, RepositoryError> {
        history::has_log(self).await
    }
}
