//! Entries as they are handed in, made trustworthy: sorted, as many as promised, one for each address.

use std::fmt;
use std::iter::FusedIterator;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::index::{ChunkEntry, IndexError, SortedEntries};

/// What is wrong with the entries of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntriesError {
    /// They are not in ascending order.
    #[error("address {next} comes after {previous}")]
    Unsorted {
        /// The greater address.
        previous: ChunkAddress,
        /// The smaller one that came after it.
        next: ChunkAddress,
    },
    /// There are fewer or more than promised.
    #[error("{expected} entries promised, {seen} seen")]
    Count {
        /// How many were promised.
        expected: u64,
        /// How many there were; one more than promised stands for "more".
        seen: u64,
    },
}

/// The distinct addresses of a file in ascending order, each with the first of its places. Ends after the
/// first error. Only an iteration that came to its end without one has seen the whole file.
pub struct CheckedEntries {
    file: UploadId,
    entries: SortedEntries,
    expected: u64,
    seen: u64,
    previous: Option<ChunkAddress>,
    is_done: bool,
}

impl CheckedEntries {
    /// Wraps the entries of `file`, of which `expected` are promised.
    pub fn new(file: UploadId, expected: u64, entries: SortedEntries) -> Self {
        Self {
            file,
            entries,
            expected,
            seen: 0,
            previous: None,
            is_done: false,
        }
    }

    fn fail(&mut self, source: EntriesError) -> Option<Result<ChunkEntry, IndexError>> {
        self.is_done = true;
        Some(Err(IndexError::Entries {
            file: self.file,
            source: Box::new(source),
        }))
    }
}

impl Iterator for CheckedEntries {
    type Item = Result<ChunkEntry, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let Some(next) = self.entries.next() else {
                if self.seen != self.expected {
                    let (expected, seen) = (self.expected, self.seen);
                    return self.fail(EntriesError::Count { expected, seen });
                }
                self.is_done = true;
                break;
            };
            let entry = match next {
                Ok(entry) => entry,
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            };
            if self.seen == self.expected {
                let (expected, seen) = (self.expected, self.seen.saturating_add(1));
                return self.fail(EntriesError::Count { expected, seen });
            }
            self.seen += 1;
            let next = entry.address;
            match self.previous.replace(next) {
                Some(previous) if previous == next => {}
                Some(previous) if previous > next => {
                    return self.fail(EntriesError::Unsorted { previous, next });
                }
                _ => return Some(Ok(entry)),
            }
        }
        None
    }
}

impl FusedIterator for CheckedEntries {}

impl fmt::Debug for CheckedEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedEntries")
            .field("file", &self.file)
            .field("expected", &self.expected)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
