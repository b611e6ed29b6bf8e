//! What is asked about damaged chunks, and what is answered.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::{ChunkAddress, RootAddress};

use crate::error::ReadError;
use crate::refs::RefName;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Where the refs are.
    pub root: RootAddress,
    /// Commits that may be missing.
    pub ghosts: &'a HashSet<ChunkAddress>,
    /// Which chunks are damaged.
    pub damaged: Damaged<'a>,
    /// How many refs, and how many commits, are named.
    pub named: usize,
    /// Where files without a name may lie as long as this runs.
    pub folder: &'a Path,
}

/// Which chunks are damaged.
#[derive(Debug, Clone, Copy)]
pub enum Damaged<'a> {
    /// These.
    Known(&'a [ChunkAddress]),
    /// Those that the source does not give.
    Unread,
}

/// Why it is not known what needs damaged chunks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeedsError {
    /// The source failed.
    #[error("could not walk over what the refs reach")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// There is no place for what points at what.
    #[error("could not note in {} what points at what", folder.display())]
    Note {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What a damaged chunk is to what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A commit.
    Commit,
    /// The tables of a commit, or a part of them.
    Tables,
    /// The list of a commit's ancestors, or a part of it.
    Ancestors,
    /// What a ref stands for that is no branch, or a part of it: a tag, what is not committed.
    Ref,
    /// Nothing that can be read leads to it.
    Unreached,
}

/// What needs a damaged chunk, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What the chunk is. Of several, the most that one of them is.
    pub place: Place,
    /// Refs that reach it: branches first, then tags, then what else there is.
    pub refs: Vec<RefName>,
    /// How many more there are.
    pub more_refs: u64,
    /// Commits that hold it in their tables or their list of ancestors, the newest first; those whose history it is in
    /// are not among them.
    pub commits: Vec<NeedingCommit>,
    /// How many more there are.
    pub more_commits: u64,
}

/// A commit that holds a damaged chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeedingCommit {
    /// When it was made, in milliseconds since 1970.
    pub at_millis: i64,
    /// Its address.
    pub address: ChunkAddress,
}

/// What needs the damaged chunks of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// For each of the first chunks what needs it.
    pub each: Vec<(ChunkAddress, Need)>,
    /// How many more there are, and what needs one of them.
    pub others: Option<(u64, Need)>,
    /// Whether not all refs could be read.
    pub lacks_refs: bool,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::Commit => "a commit",
            Place::Tables => "under the root value of commits",
            Place::Ancestors => "in the list of ancestors of commits",
            Place::Ref => "under no commit",
            Place::Unreached => return f.write_str("no ref that can be read reaches it"),
        })?;
        f.write_str(", reached by ")?;
        for (number, name) in self.refs.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", name.to_string().escape_default())?;
        }
        if self.refs.is_empty() {
            f.write_str("no ref that can be read")?;
        }
        if self.more_refs > 0 {
            write!(f, " and {} more", self.more_refs)?;
        }
        if self.commits.is_empty() {
            return Ok(());
        }
        f.write_str("; commits: ")?;
        for (number, commit) in self.commits.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", commit.address)?;
        }
        match self.more_commits {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
