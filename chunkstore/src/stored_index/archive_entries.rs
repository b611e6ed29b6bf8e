//! An archive's entries: references are sorted by data span, and so meet the span ends.
//!
//! A dictionary is marked by a record of its own in the same sorted set.

use super::part::{IndexPart, Section};
use super::{NumberedEntry, StoredIndexError};
use crate::address::ChunkAddress;
use crate::format::archive::{self, DataSpans, Layout};
use crate::format::{AddressOrder, DecodeError};
use crate::index::{ByteSpan, ChunkEntry, ChunkSpan};
use crate::sort::{SortOptions, Sorted, SortedIter, Sorter};

/// Length of a record that says what a span is for.
///
/// ```text
/// u32 span | u32 dictionary, 0 for none | 20 bytes address
/// u32 span | IS_DICTIONARY              | zeros
/// ```
const USE_LEN: usize = 28;

/// Stands in the place of a dictionary's number where the span is itself a dictionary. No data span can have it, for
/// a dictionary's number is less than that of its data.
const IS_DICTIONARY: u32 = u32::MAX;

/// How many recent dictionaries are not marked again.
const RECENT: usize = 1024;

/// The entries of an archive in the order of the spans.
#[derive(Debug)]
pub(super) struct ArchiveEntries {
    ends: Section<8>,
    /// Nothing behind the last span.
    spans: Option<DataSpans>,
    uses: Uses,
    dictionaries: Dictionaries,
    next: u32,
}

impl ArchiveEntries {
    pub(super) fn open(
        part: &IndexPart,
        layout: &Layout,
        sort: &SortOptions,
    ) -> Result<Self, StoredIndexError> {
        Ok(Self {
            ends: part.section(layout.span_ends()),
            spans: Some(DataSpans::new(layout)),
            uses: Uses::new(&sort_uses(part, layout, sort)?)?,
            dictionaries: Dictionaries {
                part: part.clone(),
                ends_start: layout.span_ends().start,
                last: None,
            },
            next: 1,
        })
    }

    /// The next entry; nothing behind the last, whose end is checked then.
    pub(super) fn next_entry(&mut self) -> Result<Option<NumberedEntry>, StoredIndexError> {
        while let Some(spans) = &mut self.spans {
            let Some(end) = self.ends.next_item()? else {
                if let Some(spans) = self.spans.take() {
                    spans.finish()?;
                }
                break;
            };
            let data = spans.advance(u64::from_be_bytes(end))?;
            let number = self.next;
            self.next = number.saturating_add(1);
            let Use::Data {
                dictionary,
                address,
            } = self.uses.of(number)?
            else {
                continue;
            };
            let dictionary = match dictionary {
                0 => None,
                dictionary => Some(self.dictionaries.get(dictionary)?),
            };
            let span = ChunkSpan { data, dictionary };
            return Ok(Some(NumberedEntry {
                number,
                entry: ChunkEntry { address, span },
            }));
        }
        Ok(None)
    }
}

/// Sorts the references by data span, and marks the dictionaries among the spans.
fn sort_uses(
    part: &IndexPart,
    layout: &Layout,
    sort: &SortOptions,
) -> Result<Sorted<USE_LEN>, StoredIndexError> {
    let mut uses = Sorter::new(sort.clone());
    let mut recent = vec![0; RECENT];
    let mut prefixes = part.section::<8>(layout.prefixes());
    let mut suffixes = part.section::<12>(layout.suffixes());
    let mut references = part.section::<8>(layout.references());
    let mut order = AddressOrder::default();
    let mut chunk = 0;
    while let Some(prefix) = prefixes.next_item()? {
        let suffix = suffixes.expect()?;
        let address = ChunkAddress::from_parts(u64::from_be_bytes(prefix), suffix);
        order.check(address)?;
        for reference in archive::references(&references.expect()?)? {
            reference.check(layout, chunk)?;
            let (data, dictionary) = (reference.data, reference.dictionary);
            uses.push(encode_use(data, dictionary, address))
                .map_err(StoredIndexError::Sort)?;
            let slot = usize::try_from(dictionary).map_or(0, |number| number % RECENT);
            if recent[slot] != dictionary {
                recent[slot] = dictionary;
                uses.push(encode_use(dictionary, IS_DICTIONARY, ChunkAddress::ZERO))
                    .map_err(StoredIndexError::Sort)?;
            }
        }
        chunk += 1;
    }
    uses.finish().map_err(StoredIndexError::Sort)
}

fn encode_use(span: u32, used_as: u32, address: ChunkAddress) -> [u8; USE_LEN] {
    let mut record = [0; USE_LEN];
    record[..4].copy_from_slice(&span.to_be_bytes());
    record[4..8].copy_from_slice(&used_as.to_be_bytes());
    record[8..].copy_from_slice(address.as_bytes());
    record
}

/// What a span is for.
#[derive(Debug, Clone, Copy)]
enum Use {
    Dictionary,
    Data {
        /// 0 for none.
        dictionary: u32,
        address: ChunkAddress,
    },
}

fn decode_use(record: &[u8; USE_LEN]) -> (u32, Use) {
    let (span, rest) = record.split_first_chunk().expect("28 bytes hold 4");
    let (used_as, address) = rest.split_first_chunk().expect("24 bytes hold 4");
    let address = address.first_chunk().expect("20 bytes are left");
    let used_as = match u32::from_be_bytes(*used_as) {
        IS_DICTIONARY => Use::Dictionary,
        dictionary => Use::Data {
            dictionary,
            address: ChunkAddress::new(*address),
        },
    };
    (u32::from_be_bytes(*span), used_as)
}

/// What spans are for, in the order of the spans.
#[derive(Debug)]
struct Uses {
    records: SortedIter<USE_LEN>,
    ahead: Option<(u32, Use)>,
}

impl Uses {
    fn new(uses: &Sorted<USE_LEN>) -> Result<Self, StoredIndexError> {
        let mut uses = Self {
            records: uses.iter().map_err(StoredIndexError::Sort)?,
            ahead: None,
        };
        uses.advance()?;
        Ok(uses)
    }

    fn advance(&mut self) -> Result<(), StoredIndexError> {
        let record = self.records.next().transpose();
        let record = record.map_err(StoredIndexError::Sort)?;
        self.ahead = record.as_ref().map(decode_use);
        Ok(())
    }

    /// The one use of a span.
    fn of(&mut self, span: u32) -> Result<Use, StoredIndexError> {
        let mut found = None;
        while let Some((_, used_as)) = self.ahead.filter(|(next, _)| *next == span) {
            match (found, used_as) {
                (None, _) => found = Some(used_as),
                // A dictionary may be marked several times.
                (Some(Use::Dictionary), Use::Dictionary) => {}
                (Some(_), _) => return Err(DecodeError::SpanShared { span }.into()),
            }
            self.advance()?;
        }
        found.ok_or_else(|| DecodeError::SpanUnused { span }.into())
    }
}

/// Finds where dictionaries lie. They lie before the data that is asked for, so their ends were checked.
#[derive(Debug)]
struct Dictionaries {
    part: IndexPart,
    /// Where the span ends begin.
    ends_start: u64,
    last: Option<(u32, ByteSpan)>,
}

impl Dictionaries {
    /// Where the dictionary of that number, which is not 0, lies.
    fn get(&mut self, number: u32) -> Result<ByteSpan, StoredIndexError> {
        if let Some((last, span)) = self.last
            && last == number
        {
            return Ok(span);
        }
        let end = self.end_of(number)?;
        let offset = self.end_of(number - 1)?;
        let len = end.checked_sub(offset);
        let len = len.and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(DecodeError::SpanBackwards { number })?;
        let span = ByteSpan { offset, len };
        self.last = Some((number, span));
        Ok(span)
    }

    fn end_of(&self, number: u32) -> Result<u64, StoredIndexError> {
        let Some(before) = number.checked_sub(1) else {
            return Ok(0);
        };
        let start = self.ends_start + 8 * u64::from(before);
        let mut ends = self.part.section::<8>(start..start + 8);
        Ok(u64::from_be_bytes(ends.expect()?))
    }
}
