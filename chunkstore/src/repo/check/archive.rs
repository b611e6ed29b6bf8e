//! The index of an archive: what each span is for, the spans in the order of the file, then addresses and
//! references against what was found.
//!
//! The references stand in the order of addresses, the data in the order of spans: they are sorted by data
//! span and read beside the span ends. A dictionary is marked by a record of its own in the same sorted set.

use std::sync::Arc;

use super::compare::Comparison;
use super::work::{Piece, PieceDictionary, Pieces};
use super::{Context, Section, UploadError};
use crate::address::ChunkAddress;
use crate::format::archive::{self, DataSpans, Layout, SpanReference};
use crate::format::{AddressOrder, DecodeError};
use crate::index::ByteSpan;
use crate::repo::entries::RECORD_LEN;
use crate::repo::file::DeclaredFile;
use crate::sort::{Sorted, SortedIter, Sorter};

/// Metadata longer than this is refused. Dolt's has some hundred bytes.
const MAX_METADATA_LEN: u64 = 4 << 20;

/// Stands in the place of a dictionary's number where the span is itself a dictionary. No data span can have
/// it, for a dictionary's number is less than that of its data.
const IS_DICTIONARY: u32 = u32::MAX;

/// How many recent dictionaries are not marked again.
const RECENT: usize = 1024;

/// An archive whose footer, metadata and references are right.
pub(super) struct Plan {
    layout: Layout,
}

impl Plan {
    /// Reads the footer, and sorts what each span is for.
    pub(super) fn open(
        declared: &DeclaredFile,
        context: &Context,
    ) -> Result<(Self, Spans), UploadError> {
        let layout = Layout::decode(&context.tail()?, context.len)?;
        if layout.count() != declared.chunks {
            return Err(UploadError::Count {
                declared: declared.chunks,
                found: layout.count(),
            });
        }
        check_metadata(context, &layout)?;
        let uses = sort_uses(context, &layout)?;
        let spans = Spans {
            ends: context.section(layout.span_ends()),
            spans: Some(DataSpans::new(&layout)),
            uses: Uses::new(&uses)?,
            dictionaries: Dictionaries {
                context: context.clone(),
                layout,
                last: None,
            },
            next: 1,
        };
        Ok((Self { layout }, spans))
    }

    /// Compares addresses and references with the entries that were found. Returns how many chunks there are
    /// and where the index begins.
    pub(super) fn compare(
        &self,
        context: &Context,
        entries: &Sorted<RECORD_LEN>,
    ) -> Result<(u32, u64), UploadError> {
        let mut comparison = Comparison::new(entries, |address| address)?;
        let mut prefixes = context.section::<8>(self.layout.prefixes());
        let mut suffixes = context.section::<12>(self.layout.suffixes());
        let mut references = context.section::<8>(self.layout.references());
        let mut order = AddressOrder::default();
        while let Some(bytes) = prefixes.next()? {
            let address = ChunkAddress::from_parts(u64::from_be_bytes(bytes), suffixes.expect()?);
            order.check(address)?;
            for reference in archive::references(&references.expect()?)? {
                comparison.push(address, reference.data)?;
            }
        }
        comparison.finish()?;
        Ok((self.layout.count(), self.layout.data_len()))
    }
}

fn check_metadata(context: &Context, layout: &Layout) -> Result<(), UploadError> {
    let range = layout.metadata();
    let len = range.end - range.start;
    if len > MAX_METADATA_LEN {
        let error = DecodeError::TooLong {
            what: "metadata",
            len,
            limit: MAX_METADATA_LEN,
        };
        return Err(error.into());
    }
    archive::decode_metadata(&context.read(range.start, len)?)?;
    Ok(())
}

/// Sorts the references by data span, and marks the dictionaries among the spans.
fn sort_uses(context: &Context, layout: &Layout) -> Result<Sorted<8>, UploadError> {
    let mut sorter = context.sorter();
    let mut recent = vec![0; RECENT];
    let mut references = context.section::<8>(layout.references());
    let mut chunk = 0;
    while let Some(bytes) = references.next()? {
        for reference in archive::references(&bytes)? {
            reference.check(layout, chunk)?;
            let SpanReference { dictionary, data } = reference;
            push_use(&mut sorter, data, dictionary)?;
            let slot = usize::try_from(dictionary).map_or(0, |number| number % RECENT);
            if recent[slot] != dictionary {
                recent[slot] = dictionary;
                push_use(&mut sorter, dictionary, IS_DICTIONARY)?;
            }
            chunk += 1;
        }
    }
    sorter.finish().map_err(UploadError::Scratch)
}

fn push_use(sorter: &mut Sorter<8>, span: u32, used_as: u32) -> Result<(), UploadError> {
    let record = (u64::from(span) << 32) | u64::from(used_as);
    let pushed = sorter.push(record.to_be_bytes());
    pushed.map_err(UploadError::Scratch)
}

/// What spans are for, in the order of the spans.
struct Uses {
    records: SortedIter<8>,
    ahead: Option<(u32, u32)>,
}

impl Uses {
    fn new(uses: &Sorted<8>) -> Result<Self, UploadError> {
        let mut uses = Self {
            records: uses.iter().map_err(UploadError::Scratch)?,
            ahead: None,
        };
        uses.advance()?;
        Ok(uses)
    }

    fn advance(&mut self) -> Result<(), UploadError> {
        let record = self.records.next().transpose();
        let record = record.map_err(UploadError::Scratch)?;
        self.ahead = record.map(|record| {
            let [a, b, c, d, e, f, g, h] = record;
            (
                u32::from_be_bytes([a, b, c, d]),
                u32::from_be_bytes([e, f, g, h]),
            )
        });
        Ok(())
    }

    /// The one use of a span: the dictionary of its data (0 for none), or that it is a dictionary.
    fn of(&mut self, span: u32) -> Result<u32, UploadError> {
        let mut found = None;
        while let Some((_, used_as)) = self.ahead.filter(|(next, _)| *next == span) {
            match found {
                None => found = Some(used_as),
                // A dictionary may be marked several times.
                Some(IS_DICTIONARY) if used_as == IS_DICTIONARY => {}
                Some(_) => return Err(DecodeError::SpanShared { span }.into()),
            }
            self.advance()?;
        }
        found.ok_or_else(|| DecodeError::SpanUnused { span }.into())
    }
}

/// The data spans in the order of the file.
pub(super) struct Spans {
    ends: Section<8>,
    /// Nothing behind the last span.
    spans: Option<DataSpans>,
    uses: Uses,
    dictionaries: Dictionaries,
    next: u32,
}

impl Pieces for Spans {
    fn next(&mut self) -> Result<Option<Piece>, UploadError> {
        while let Some(spans) = &mut self.spans {
            let Some(end) = self.ends.next()? else {
                if let Some(spans) = self.spans.take() {
                    spans.finish()?;
                }
                break;
            };
            let span = spans.advance(u64::from_be_bytes(end))?;
            let number = self.next;
            self.next = number.saturating_add(1);
            let dictionary = match self.uses.of(number)? {
                IS_DICTIONARY => continue,
                0 => None,
                dictionary => Some(self.dictionaries.get(dictionary)?),
            };
            return Ok(Some(Piece {
                number,
                span,
                dictionary,
                suffix: None,
            }));
        }
        Ok(None)
    }
}

/// Finds where dictionaries lie. They lie before the data that is asked for, so their ends were checked.
struct Dictionaries {
    context: Context,
    layout: Layout,
    last: Option<Arc<PieceDictionary>>,
}

impl Dictionaries {
    fn get(&mut self, span: u32) -> Result<Arc<PieceDictionary>, UploadError> {
        if let Some(last) = &self.last
            && last.number == span
        {
            return Ok(Arc::clone(last));
        }
        let end = self.end_of(span)?;
        let offset = self.end_of(span.saturating_sub(1))?;
        let len = u32::try_from(end.saturating_sub(offset)).unwrap_or(u32::MAX);
        let found = Arc::new(PieceDictionary {
            number: span,
            span: ByteSpan { offset, len },
        });
        self.last = Some(Arc::clone(&found));
        Ok(found)
    }

    fn end_of(&self, span: u32) -> Result<u64, UploadError> {
        let Some(before) = span.checked_sub(1) else {
            return Ok(0);
        };
        let at = self.layout.span_ends().start + 8 * u64::from(before);
        let bytes = self.context.read(at, 8)?;
        let bytes = bytes.first_chunk::<8>().expect("eight bytes were read");
        Ok(u64::from_be_bytes(*bytes))
    }
}
