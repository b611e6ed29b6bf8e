//! A table file's entries: prefix tuples are sorted by ordinal, and so meet lengths and suffixes.

use super::part::{IndexPart, Section};
use super::{NumberedEntry, StoredIndexError};
use crate::address::ChunkAddress;
use crate::format::DecodeError;
use crate::format::table::{self, Layout, RecordSpans};
use crate::index::{ChunkEntry, ChunkSpan};
use crate::sort::{SortOptions, Sorted, SortedIter, Sorter};

/// The entries of a table file in the order of the records.
#[derive(Debug)]
pub(super) struct TableEntries {
    count: u32,
    /// `u32 ordinal | u64 prefix`.
    prefixes: SortedIter<12>,
    lengths: Section<4>,
    suffixes: Section<12>,
    /// Nothing behind the last record.
    spans: Option<RecordSpans>,
    next: u32,
}

impl TableEntries {
    pub(super) fn open(
        part: &IndexPart,
        layout: &Layout,
        sort: &SortOptions,
    ) -> Result<Self, StoredIndexError> {
        let prefixes = by_ordinal(part, layout, sort)?.iter();
        Ok(Self {
            count: layout.count(),
            prefixes: prefixes.map_err(StoredIndexError::Sort)?,
            lengths: part.section(layout.lengths()),
            suffixes: part.section(layout.suffixes()),
            spans: Some(RecordSpans::new(layout)),
            next: 0,
        })
    }

    /// The next entry; nothing behind the last, whose end is checked then.
    pub(super) fn next_entry(&mut self) -> Result<Option<NumberedEntry>, StoredIndexError> {
        let Some(record) = self
            .prefixes
            .next()
            .transpose()
            .map_err(StoredIndexError::Sort)?
        else {
            if let Some(spans) = self.spans.take() {
                spans.finish()?;
            }
            return Ok(None);
        };
        let Some(spans) = &mut self.spans else {
            return Ok(None);
        };
        let (ordinal, prefix) = record.split_first_chunk().expect("12 bytes hold 4");
        let prefix = prefix.first_chunk().expect("8 bytes are left");
        let ordinal = u32::from_be_bytes(*ordinal);
        if ordinal != self.next {
            let error = DecodeError::Ordinal {
                position: self.next,
                ordinal,
                count: self.count,
            };
            return Err(error.into());
        }
        self.next = self.next.saturating_add(1);
        let data = spans.advance(u32::from_be_bytes(self.lengths.expect()?))?;
        let suffix = self.suffixes.expect()?;
        Ok(Some(NumberedEntry {
            number: ordinal,
            entry: ChunkEntry {
                address: ChunkAddress::from_parts(u64::from_be_bytes(*prefix), suffix),
                span: ChunkSpan {
                    data,
                    dictionary: None,
                },
            },
        }))
    }
}

/// Sorts the prefixes, which must ascend, by ordinal.
fn by_ordinal(
    part: &IndexPart,
    layout: &Layout,
    sort: &SortOptions,
) -> Result<Sorted<12>, StoredIndexError> {
    let mut by_ordinal = Sorter::new(sort.clone());
    let mut tuples = part.section::<12>(layout.prefixes());
    let (mut position, mut last) = (0, 0);
    while let Some(bytes) = tuples.next_item()? {
        for tuple in table::prefix_tuples(&bytes)? {
            if tuple.prefix < last {
                return Err(DecodeError::Order { position }.into());
            }
            last = tuple.prefix;
            position += 1;
            let mut record = [0; 12];
            record[..4].copy_from_slice(&tuple.ordinal.to_be_bytes());
            record[4..].copy_from_slice(&tuple.prefix.to_be_bytes());
            by_ordinal.push(record).map_err(StoredIndexError::Sort)?;
        }
    }
    by_ordinal.finish().map_err(StoredIndexError::Sort)
}
