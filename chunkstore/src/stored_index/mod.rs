//! The index of a stored file, read as streams: its entries in the order of their data.
//!
//! [`table::Index`] and [`archive::Index`] hold a whole index in memory. Here no part of it is held: what does not
//! stand in the order of the data is sorted on disk, and the rest is read beside it. All rules that the two check are
//! checked here too; some are found broken only behind the entries before them.
//!
//! * Memory: a budget of [`SortOptions`], what [`crate::sort`] takes to read what it put aside, and a block of each
//!   section. It depends on neither the number of chunks nor the length of the file.
//! * Not done here: to look at chunks, at an archive's metadata, or at the name of the file.

mod archive_entries;
mod part;
mod table_entries;

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::error::ErrorKind;
use crate::format::{DecodeError, FileKind, archive, table};
use crate::index::ChunkEntry;
use crate::sort::SortOptions;

use archive_entries::ArchiveEntries;
pub(crate) use part::IndexPart;
use table_entries::TableEntries;

/// Why an index could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredIndexError {
    /// The index breaks a rule.
    #[error("decode the index")]
    Decode(#[from] DecodeError),
    /// The file could not be read.
    #[error("read the index")]
    Read(#[source] io::Error),
    /// What is sorted could not be put aside.
    #[error("sort the index")]
    Sort(#[source] io::Error),
}

impl StoredIndexError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Decode(_) => ErrorKind::Corrupt,
            Self::Read(_) | Self::Sort(_) => ErrorKind::Internal,
        }
    }
}

/// An entry and the number of what it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberedEntry {
    /// The number of the record, counted from 0, or of the span, counted from 1.
    pub number: u32,
    /// The entry.
    pub entry: ChunkEntry,
}

/// The index of a file whose footer was read.
#[derive(Debug, Clone)]
pub struct StoredIndex {
    part: IndexPart,
    layout: Layout,
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    Table(table::Layout),
    Archive(archive::Layout),
}

impl StoredIndex {
    /// Reads the footer of a whole file. Blocks.
    pub fn open(file: Arc<File>, kind: FileKind) -> Result<Self, StoredIndexError> {
        let len = file.metadata().map_err(StoredIndexError::Read)?.len();
        Self::of_part(IndexPart::in_file(file, 0, len), kind)
    }

    /// Reads the footer of a file of `file_len` bytes of which `end` holds what is from `start` on, at least the footer.
    /// Entries can be read where [`Self::data_len`] is not before `start`. Blocks.
    pub fn of_end(
        end: Arc<File>,
        start: u64,
        file_len: u64,
        kind: FileKind,
    ) -> Result<Self, StoredIndexError> {
        Self::of_part(IndexPart::in_file(end, start, file_len), kind)
    }

    /// Reads the footer of a file of which only the end may be there.
    pub(crate) fn of_part(part: IndexPart, kind: FileKind) -> Result<Self, StoredIndexError> {
        let tail = part.tail().map_err(StoredIndexError::Read)?;
        let layout = match kind {
            FileKind::Table => Layout::Table(table::Layout::decode(&tail, part.file_len())?),
            FileKind::Archive => Layout::Archive(archive::Layout::decode(&tail, part.file_len())?),
        };
        Ok(Self { part, layout })
    }

    /// How many chunks the file holds, repeated ones counted again.
    pub fn count(&self) -> u32 {
        match &self.layout {
            Layout::Table(layout) => layout.count(),
            Layout::Archive(layout) => layout.count(),
        }
    }

    /// Where the index begins.
    pub fn data_len(&self) -> u64 {
        match &self.layout {
            Layout::Table(layout) => layout.data_len(),
            Layout::Archive(layout) => layout.data_len(),
        }
    }

    /// Sorts the index, and returns the entries in the order of their data. Blocks, and so does reading the entries.
    pub fn in_file_order(&self, sort: &SortOptions) -> Result<InFileOrder, StoredIndexError> {
        let entries = match &self.layout {
            Layout::Table(layout) => Entries::Table(TableEntries::open(&self.part, layout, sort)?),
            Layout::Archive(layout) => {
                Entries::Archive(ArchiveEntries::open(&self.part, layout, sort)?)
            }
        };
        Ok(InFileOrder {
            entries: Some(entries),
        })
    }
}

/// The entries of a file in the order of their data. Behind an error there are no more. The index is right if none
/// comes up to the end.
#[derive(Debug)]
pub struct InFileOrder {
    /// Nothing behind the last entry or an error.
    entries: Option<Entries>,
}

#[derive(Debug)]
enum Entries {
    Table(TableEntries),
    Archive(ArchiveEntries),
}

impl Iterator for InFileOrder {
    type Item = Result<NumberedEntry, StoredIndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.entries.as_mut()? {
            Entries::Table(entries) => entries.next_entry(),
            Entries::Archive(entries) => entries.next_entry(),
        };
        if !matches!(next, Ok(Some(_))) {
            self.entries = None;
        }
        next.transpose()
    }
}

#[cfg(test)]
mod tests;
