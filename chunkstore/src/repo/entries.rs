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
use crate::format::archive::{self, DataSpans};
use crate::format::table::{self, RecordSpans};
use crate::format::{AddressOrder, DecodeError, TAIL_LEN};
use crate::id::UploadId;
use crate::index::{ByteSpan, ChunkEntry, ChunkSpan, IndexError, SortedEntries};
use crate::items::{BLOCK_BYTES, ItemReader};
use crate::objects::{ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _};
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::spool::{SpoolDir, SpoolError, SpooledFile, is_full};
use crate::sort::{SortOptions, Sorted, Sorter};

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
    let reading = IndexPart {
        bytes: part,
        start: file.split_offset,
        len: file.len,
        sort: spool.for_reads().sort_options(),
    };
    let (kind, chunks) = (file.kind, file.chunks);
    let sorted = spool
        .pool()
        .run(move || match kind {
            FileKind::Table => reading.table_entries(chunks),
            FileKind::Archive => reading.archive_entries(chunks),
        })
        .await;
    let key = key.clone();
    match sorted {
        Ok(sorted) => Ok(FileEntries::new(file.upload, sorted)),
        Err(Fault::Decode(source)) => Err(EntriesError::Damaged { key, source }),
        Err(Fault::Different) => Err(EntriesError::Different { key }),
        Err(Fault::Io(source)) => Err(EntriesError::Scratch { key, source }),
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
    Decode(DecodeError),
    Different,
    Io(io::Error),
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes of an index part.
enum PartBytes {
    Kept(Bytes),
    Spooled(SpooledFile),
}

/// The end of a stored file, from its index on.
struct IndexPart {
    bytes: PartBytes,
    /// Where it begins in the stored file.
    start: u64,
    /// Length of the stored file.
    len: u64,
    sort: SortOptions,
}

impl IndexPart {
    fn tail(&self) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let part_len = self.len.saturating_sub(self.start);
        let len = part_len.min(TAIL_LEN as u64);
        let mut tail = vec![0; usize::try_from(len).unwrap_or(TAIL_LEN)];
        match &self.bytes {
            PartBytes::Kept(bytes) => {
                let from = bytes.len() - tail.len();
                tail.copy_from_slice(&bytes[from..]);
            }
            PartBytes::Spooled(part) => {
                part.file().read_exact_at(&mut tail, part_len - len)?;
            }
        }
        Ok(tail)
    }

    fn section<const N: usize>(&self, range: std::ops::Range<u64>) -> ItemReader<N> {
        let offset = range.start.saturating_sub(self.start);
        let len = range.end - range.start;
        match &self.bytes {
            PartBytes::Kept(bytes) => {
                let at =
                    |offset| usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                ItemReader::in_memory(&bytes[at(offset)..at(offset.saturating_add(len))], len)
            }
            PartBytes::Spooled(part) => ItemReader::new(part.file(), offset, len, BLOCK_BYTES),
        }
    }

    fn sorter<const N: usize>(&self) -> Sorter<N> {
        Sorter::new(self.sort.clone())
    }

    /// Prefixes are sorted by ordinal, and so meet lengths and suffixes.
    fn table_entries(&self, chunks: u32) -> Result<Sorted<RECORD_LEN>, Fault> {
        let layout = table::Layout::decode(&self.tail()?, self.len)?;
        if layout.count() != chunks || layout.data_len() != self.start {
            return Err(Fault::Different);
        }
        let mut by_ordinal = self.sorter::<12>();
        let mut tuples = self.section::<12>(layout.prefixes());
        while let Some(bytes) = tuples.next_item()? {
            for tuple in table::prefix_tuples(&bytes)? {
                let mut record = [0; 12];
                record[..4].copy_from_slice(&tuple.ordinal.to_be_bytes());
                record[4..].copy_from_slice(&tuple.prefix.to_be_bytes());
                by_ordinal.push(record)?;
            }
        }
        let mut lengths = self.section::<4>(layout.lengths());
        let mut suffixes = self.section::<12>(layout.suffixes());
        let mut spans = RecordSpans::new(&layout);
        let mut entries = self.sorter();
        for (position, record) in (0..).zip(by_ordinal.finish()?.iter()?) {
            let record = record?;
            let (ordinal, prefix) = record.split_first_chunk().expect("12 bytes hold 4");
            let prefix = prefix.first_chunk().expect("8 bytes are left");
            let ordinal = u32::from_be_bytes(*ordinal);
            if ordinal != position {
                let count = layout.count();
                let error = DecodeError::Ordinal {
                    position,
                    ordinal,
                    count,
                };
                return Err(error.into());
            }
            let data = spans.advance(u32::from_be_bytes(expect(lengths.next_item()?)?))?;
            let suffix = expect(suffixes.next_item()?)?;
            let entry = StoredEntry {
                address: ChunkAddress::from_parts(u64::from_be_bytes(*prefix), suffix),
                number: ordinal,
                span: ChunkSpan {
                    data,
                    dictionary: None,
                },
            };
            entries.push(entry.encode())?;
        }
        spans.finish()?;
        Ok(entries.finish()?)
    }

    /// References are sorted by data span, and so meet the span ends.
    fn archive_entries(&self, chunks: u32) -> Result<Sorted<RECORD_LEN>, Fault> {
        let layout = archive::Layout::decode(&self.tail()?, self.len)?;
        if layout.count() != chunks || layout.data_len() != self.start {
            return Err(Fault::Different);
        }
        let mut spans = SpanWalk {
            ends: self.section(layout.span_ends()),
            spans: DataSpans::new(&layout),
            number: 0,
            span: ByteSpan { offset: 0, len: 0 },
        };
        let mut entries = self.sorter();
        let mut dictionary = (0, None);
        for record in self.archive_uses(&layout)?.iter()? {
            let record = record?;
            let (data, rest) = record.split_first_chunk().expect("28 bytes hold 4");
            let (wanted, address) = rest.split_first_chunk().expect("24 bytes hold 4");
            let address = address.first_chunk().expect("20 bytes are left");
            let (number, wanted) = (u32::from_be_bytes(*data), u32::from_be_bytes(*wanted));
            let data = spans.forward_to(number)?;
            if dictionary.0 != wanted {
                dictionary = (wanted, Some(self.span_of(&layout, wanted)?));
            }
            let entry = StoredEntry {
                address: ChunkAddress::new(*address),
                number,
                span: ChunkSpan {
                    data,
                    dictionary: dictionary.1.filter(|_| wanted > 0),
                },
            };
            entries.push(entry.encode())?;
        }
        Ok(entries.finish()?)
    }

    /// `data span | dictionary span | address` of each chunk.
    fn archive_uses(&self, layout: &archive::Layout) -> Result<Sorted<28>, Fault> {
        let mut uses = self.sorter::<28>();
        let mut prefixes = self.section::<8>(layout.prefixes());
        let mut suffixes = self.section::<12>(layout.suffixes());
        let mut references = self.section::<8>(layout.references());
        let mut order = AddressOrder::default();
        let mut chunk = 0;
        while let Some(prefix) = prefixes.next_item()? {
            let suffix = expect(suffixes.next_item()?)?;
            let address = ChunkAddress::from_parts(u64::from_be_bytes(prefix), suffix);
            order.check(address)?;
            for reference in archive::references(&expect(references.next_item()?)?)? {
                let count = layout.span_count();
                for span in [reference.data, reference.dictionary] {
                    if span > count || reference.data == 0 {
                        return Err(DecodeError::SpanRange { chunk, span, count }.into());
                    }
                }
                let mut record = [0; 28];
                record[..4].copy_from_slice(&reference.data.to_be_bytes());
                record[4..8].copy_from_slice(&reference.dictionary.to_be_bytes());
                record[8..].copy_from_slice(address.as_bytes());
                uses.push(record)?;
            }
            chunk += 1;
        }
        Ok(uses.finish()?)
    }

    /// Where a span lies, read off the span ends.
    fn span_of(&self, layout: &archive::Layout, number: u32) -> Result<ByteSpan, Fault> {
        let Some(before) = number.checked_sub(1) else {
            return Ok(ByteSpan { offset: 0, len: 0 });
        };
        let end_at = |before: u32| -> io::Result<u64> {
            let start = layout.span_ends().start + 8 * u64::from(before);
            let mut ends = self.section::<8>(start..start + 8);
            Ok(u64::from_be_bytes(expect(ends.next_item()?)?))
        };
        let offset = match before.checked_sub(1) {
            Some(before) => end_at(before)?,
            None => 0,
        };
        let len = end_at(before)?.checked_sub(offset);
        let len = len.and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(DecodeError::SpanBackwards { number })?;
        Ok(ByteSpan { offset, len })
    }
}

/// Walks over the spans of an archive.
struct SpanWalk {
    ends: ItemReader<8>,
    spans: DataSpans,
    number: u32,
    span: ByteSpan,
}

impl SpanWalk {
    /// Goes on to a span that is not before the last one that was asked for.
    fn forward_to(&mut self, number: u32) -> Result<ByteSpan, Fault> {
        while self.number < number {
            let end = expect(self.ends.next_item()?)?;
            self.span = self.spans.advance(u64::from_be_bytes(end))?;
            self.number += 1;
        }
        Ok(self.span)
    }
}

fn expect<const N: usize>(item: Option<[u8; N]>) -> io::Result<[u8; N]> {
    item.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
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
