//! The entries of a stored file: what the chunk index is filled from.
//!
//! For a new file the check finds them; for a file that is stored already they are read again from its index
//! part alone, as streams and with the same bounds on memory; a small one without a disk. The chunks' bytes are not
//! looked at.

use std::io;

use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::format::DecodeError;
use crate::id::UploadId;
use crate::index::{ByteSpan, ChunkEntry, ChunkSpan, IndexError, SortedEntries};
use crate::objects::{ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _};
use crate::repo::file::StoredFile;
use crate::repo::spool::{SpoolDir, SpoolError, SpooledFile, is_full};
use crate::sort::{SortOptions, Sorted, Sorter};
use crate::stored_index::{IndexPart, NumberedEntry, StoredIndex, StoredIndexError};

/// Length of a sorted entry.
///
/// ```text
/// 20 bytes address | u32 number of the record or span | u64 offset | u32 length
///                                                      | u64 offset | u32 length of the dictionary; zeros for none
/// ```
pub(crate) const RECORD_LEN: usize = 48;

/// An entry as it is sorted: by address, then by its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) address: ChunkAddress,
    /// The number of the record, counted from 0, or of the span, counted from 1.
    pub(crate) number: u32,
    pub(crate) span: ChunkSpan,
}

impl StoredEntry {
    pub(crate) fn encode(&self) -> [u8; RECORD_LEN] {
        let dictionary = self
            .span
            .dictionary
            .unwrap_or(ByteSpan { offset: 0, len: 0 });
        let mut record = [0; RECORD_LEN];
        record[..20].copy_from_slice(self.address.as_bytes());
        record[20..24].copy_from_slice(&self.number.to_be_bytes());
        record[24..36].copy_from_slice(&encode_span(self.span.data));
        record[36..].copy_from_slice(&encode_span(dictionary));
        record
    }

    pub(crate) fn decode(record: &[u8; RECORD_LEN]) -> Self {
        let (address, rest) = record.split_first_chunk().expect("48 bytes hold 20");
        let (number, rest) = rest.split_first_chunk().expect("28 bytes hold 4");
        let (data, rest) = rest.split_first_chunk().expect("24 bytes hold 12");
        let dictionary = decode_span(rest.first_chunk().expect("12 bytes are left"));
        Self {
            address: ChunkAddress::new(*address),
            number: u32::from_be_bytes(*number),
            span: ChunkSpan {
                data: decode_span(data),
                dictionary: (dictionary.len > 0).then_some(dictionary),
            },
        }
    }
}

fn encode_span(span: ByteSpan) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&span.offset.to_be_bytes());
    bytes[8..].copy_from_slice(&span.len.to_be_bytes());
    bytes
}

fn decode_span(bytes: &[u8; 12]) -> ByteSpan {
    let (offset, len) = bytes.split_first_chunk().expect("12 bytes hold 8");
    let len = len.first_chunk().expect("4 bytes are left");
    ByteSpan {
        offset: u64::from_be_bytes(*offset),
        len: u32::from_be_bytes(*len),
    }
}

/// The entries of one file. Clones share them.
#[derive(Debug, Clone)]
pub struct FileEntries {
    file: UploadId,
    sorted: Sorted<RECORD_LEN>,
}

impl FileEntries {
    pub(crate) fn new(file: UploadId, sorted: Sorted<RECORD_LEN>) -> Self {
        Self { file, sorted }
    }

    /// How many entries there are; repeated addresses count again.
    pub fn count(&self) -> u64 {
        self.sorted.len()
    }

    /// Reads the entries in ascending order, as often as wanted. Blocks where the set is large.
    pub fn sorted(&self) -> Result<SortedEntries, IndexError> {
        let file = self.file;
        let failed = move |source: io::Error| IndexError::Entries {
            file,
            source: source.into(),
        };
        let records = self.sorted.iter().map_err(failed)?;
        Ok(Box::new(records.map(move |record| {
            let entry = StoredEntry::decode(&record.map_err(failed)?);
            Ok(ChunkEntry {
                address: entry.address,
                span: entry.span,
            })
        })))
    }

    pub(crate) fn records(&self) -> &Sorted<RECORD_LEN> {
        &self.sorted
    }
}

/// Why the entries of a stored file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntriesError {
    /// The object could not be read.
    #[error("read the index of {key}")]
    Object {
        /// The object.
        key: ObjectKey,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// The index is not what was stored.
    #[error("the index of {key} is damaged")]
    Damaged {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The file has another count or another index length than its record says.
    #[error("the footer of {key} is not that of the file that was stored")]
    Different {
        /// The object.
        key: ObjectKey,
    },
    /// There was no room for the index.
    #[error("keep the index of {key}")]
    Spool {
        /// The object.
        key: ObjectKey,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// Reading or sorting beside the spool failed.
    #[error("sort the index of {key}")]
    Scratch {
        /// The object.
        key: ObjectKey,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl EntriesError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Object { source, .. } => source.kind(),
            Self::Damaged { .. } | Self::Different { .. } => ErrorKind::Corrupt,
            Self::Spool { source, .. } => source.kind(),
            Self::Scratch { source, .. } if is_full(source) => ErrorKind::Exhausted,
            Self::Scratch { .. } => ErrorKind::Unavailable,
        }
    }
}

/// An index part of at most so many bytes is kept in memory: its file can be read in also where the disk is full.
const KEPT_IN_MEMORY: u64 = 2 << 20;

/// Reads the entries of a stored file: its index part passes through the spool, unless it is small.
pub async fn read_entries(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    file: &StoredFile,
    spool: &SpoolDir,
) -> Result<FileEntries, EntriesError> {
    let part = fetch_index(store, key, file, spool).await?;
    let sort = spool.for_reads().sort_options();
    let sorting = file.clone();
    let sorted = spool
        .pool()
        .run(move || sort_entries(&part, &sorting, &sort))
        .await;
    let key = key.clone();
    match sorted {
        Ok(sorted) => Ok(FileEntries::new(file.upload, sorted)),
        Err(Fault::Index(StoredIndexError::Decode(source))) => {
            Err(EntriesError::Damaged { key, source })
        }
        Err(Fault::Index(StoredIndexError::Read(source) | StoredIndexError::Sort(source))) => {
            Err(EntriesError::Scratch { key, source })
        }
        Err(Fault::Different) => Err(EntriesError::Different { key }),
    }
}

async fn fetch_index(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    file: &StoredFile,
    spool: &SpoolDir,
) -> Result<PartBytes, EntriesError> {
    let object = |source| EntriesError::Object {
        key: key.clone(),
        source,
    };
    let spooled = |source| EntriesError::Spool {
        key: key.clone(),
        source,
    };
    let len = file.len.saturating_sub(file.split_offset);
    let range = Some(file.split_offset..file.len);
    if len <= KEPT_IN_MEMORY {
        let bytes = store.read(key, range, KEPT_IN_MEMORY).await;
        return Ok(PartBytes::Kept(bytes.map_err(object)?));
    }
    let mut part = spool.for_reads().create(len).await.map_err(spooled)?;
    let body = store.get(key, range).await;
    let mut body = body.map_err(object)?.stream;
    while let Some(piece) = body.try_next().await.map_err(object)? {
        part.append(piece).await.map_err(spooled)?;
    }
    let part = part.finish().await.map_err(spooled)?;
    Ok(PartBytes::Spooled(part))
}

/// What can be wrong with an index part.
enum Fault {
    Index(StoredIndexError),
    Different,
}

impl From<StoredIndexError> for Fault {
    fn from(error: StoredIndexError) -> Self {
        Self::Index(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Index(StoredIndexError::Sort(error))
    }
}

/// The bytes of an index part.
enum PartBytes {
    Kept(Bytes),
    Spooled(SpooledFile),
}

/// Sorts the entries of a file by address.
fn sort_entries(
    bytes: &PartBytes,
    file: &StoredFile,
    sort: &SortOptions,
) -> Result<Sorted<RECORD_LEN>, Fault> {
    let (start, len) = (file.split_offset, file.len);
    let part = match bytes {
        PartBytes::Kept(bytes) => IndexPart::in_memory(bytes.clone(), start, len),
        PartBytes::Spooled(part) => IndexPart::in_file(part.file(), start, len),
    };
    let index = StoredIndex::of_part(part, file.kind)?;
    if index.count() != file.chunks || index.data_len() != start {
        return Err(Fault::Different);
    }
    let mut entries = Sorter::new(sort.clone());
    for numbered in index.in_file_order(sort)? {
        let NumberedEntry { number, entry } = numbered?;
        let entry = StoredEntry {
            address: entry.address,
            number,
            span: entry.span,
        };
        entries.push(entry.encode())?;
    }
    Ok(entries.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_sort_by_address_and_come_back() {
        let entry = |first: u8, dictionary| StoredEntry {
            address: ChunkAddress::new([first; 20]),
            number: 7,
            span: ChunkSpan {
                data: ByteSpan {
                    offset: 1 << 40,
                    len: 99,
                },
                dictionary,
            },
        };
        let dictionary = ByteSpan { offset: 0, len: 5 };
        for entry in [entry(1, None), entry(1, Some(dictionary))] {
            assert_eq!(StoredEntry::decode(&entry.encode()), entry);
        }
        assert!(entry(1, Some(dictionary)).encode() < entry(2, None).encode());
    }
}
