//! The index of a classic table file: streamed records, then prefix tuples against what was found.

use super::compare::Comparison;
use super::work::{Piece, Pieces};
use super::{Context, Section, UploadError};
use crate::address::ChunkAddress;
use crate::format::DecodeError;
use crate::format::table::{self, Layout, RecordSpans, SuffixHasher};
use crate::repo::entries::RECORD_LEN;
use crate::repo::file::DeclaredFile;
use crate::sort::Sorted;

/// A table file whose footer and name are right.
pub(super) struct Plan {
    layout: Layout,
}

impl Plan {
    /// Reads the footer and checks count and name.
    pub(super) fn open(
        declared: &DeclaredFile,
        context: &Context,
    ) -> Result<(Self, Records), UploadError> {
        let layout = Layout::decode(&context.tail()?, context.len)?;
        if layout.count() != declared.chunks {
            return Err(UploadError::Count {
                declared: declared.chunks,
                found: layout.count(),
            });
        }
        let mut hasher = SuffixHasher::new();
        let mut suffixes = context.section::<12>(layout.suffixes());
        while let Some(suffix) = suffixes.next()? {
            hasher.update(&suffix);
        }
        let computed = hasher.finish();
        if computed != declared.id {
            return Err(UploadError::Name {
                declared: declared.id,
                computed,
            });
        }
        let records = Records {
            lengths: context.section(layout.lengths()),
            suffixes: context.section(layout.suffixes()),
            spans: Some(RecordSpans::new(&layout)),
            next: 0,
        };
        Ok((Self { layout }, records))
    }

    /// Compares the prefix tuples with the entries that were found, and the footer's sum with theirs. Returns
    /// how many chunks there are and where the index begins.
    pub(super) fn compare(
        &self,
        context: &Context,
        entries: &Sorted<RECORD_LEN>,
        uncompressed_len: u64,
    ) -> Result<(u32, u64), UploadError> {
        let mut comparison = Comparison::new(entries, |address| address.prefix())?;
        let mut tuples = context.section::<12>(self.layout.prefixes());
        let (mut position, mut last) = (0, 0);
        while let Some(bytes) = tuples.next()? {
            for tuple in table::prefix_tuples(&bytes)? {
                if tuple.prefix < last {
                    return Err(DecodeError::Order { position }.into());
                }
                last = tuple.prefix;
                // The suffixes were compared record by record.
                let listed = ChunkAddress::from_parts(tuple.prefix, [0; 12]);
                comparison.push(listed, tuple.ordinal)?;
                position += 1;
            }
        }
        comparison.finish()?;
        let stated = self.layout.uncompressed_len();
        if stated != uncompressed_len {
            return Err(UploadError::Uncompressed {
                stated,
                found: uncompressed_len,
            });
        }
        Ok((self.layout.count(), self.layout.data_len()))
    }
}

/// The records in the order of the file.
pub(super) struct Records {
    lengths: Section<4>,
    suffixes: Section<12>,
    /// Nothing behind the last record.
    spans: Option<RecordSpans>,
    next: u32,
}

impl Pieces for Records {
    fn next(&mut self) -> Result<Option<Piece>, UploadError> {
        let Some(spans) = &mut self.spans else {
            return Ok(None);
        };
        let Some(length) = self.lengths.next()? else {
            if let Some(spans) = self.spans.take() {
                spans.finish()?;
            }
            return Ok(None);
        };
        let span = spans.advance(u32::from_be_bytes(length))?;
        let number = self.next;
        self.next = number.saturating_add(1);
        Ok(Some(Piece {
            number,
            span,
            dictionary: None,
            suffix: Some(self.suffixes.expect()?),
        }))
    }
}
