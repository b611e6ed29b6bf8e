//! An archive's index in memory: 28 bytes a chunk and 8 a span.

use std::collections::BTreeMap;

use super::spans::{DataSpans, SpanReference, SpanRoles};
use super::{Footer, Layout};
use crate::address::ChunkAddress;
use crate::format::reader::Reader;
use crate::format::{AddressOrder, DecodeError, to_usize};
use crate::index::{ByteSpan, ChunkEntry, ChunkSpan};

/// The decoded index of an archive.
#[derive(Debug, Clone)]
pub struct Index {
    /// By span id, which counts from 1; the end of "span 0" is 0.
    ends: Vec<u64>,
    /// Ascending; an address may repeat.
    addresses: Vec<ChunkAddress>,
    /// In the order of `addresses`.
    references: Vec<SpanReference>,
}

impl Index {
    /// Decodes the index section `bytes` of a file with this layout, and checks every rule about spans.
    pub fn decode(layout: &Layout, bytes: &[u8]) -> Result<Self, DecodeError> {
        let count = layout.count();
        let mut reader = Reader::new("archive index", bytes);
        let span_ends = reader.items::<8>(layout.span_count())?;
        let prefixes = reader.items::<8>(count)?;
        let references = reader.items::<8>(count)?;
        let suffixes = reader.items::<12>(count)?;
        reader.finish()?;

        let mut spans = DataSpans::new(layout);
        let mut ends = Vec::with_capacity(span_ends.len() + 1);
        ends.push(0);
        for end in span_ends.iter().map(|bytes| u64::from_be_bytes(*bytes)) {
            spans.advance(end)?;
            ends.push(end);
        }
        spans.finish()?;

        let mut roles = SpanRoles::new(layout);
        let references = references.iter().map(SpanReference::decode);
        let references: Vec<_> = references
            .map(|reference| roles.check(reference).map(|()| reference))
            .collect::<Result<_, _>>()?;
        roles.finish()?;

        let mut order = AddressOrder::default();
        let addresses = prefixes.iter().zip(suffixes);
        let addresses = addresses
            .map(|(prefix, suffix)| {
                let address = ChunkAddress::from_parts(u64::from_be_bytes(*prefix), *suffix);
                order.check(address).map(|()| address)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            ends,
            addresses,
            references,
        })
    }

    /// Decodes the index of a whole file.
    pub fn decode_file(file: &[u8]) -> Result<(Layout, Self), DecodeError> {
        let layout = Layout::decode(file, file.len() as u64)?;
        let index = layout.index();
        let at = |offset| usize::try_from(offset).expect("the index was found inside a slice");
        Ok((
            layout,
            Self::decode(&layout, &file[at(index.start)..at(index.end)])?,
        ))
    }

    /// How many chunks there are, repeated ones counted again.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is none, which cannot be in a file.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Returns where the chunk lies; one of the places, when it is there several times.
    pub fn get(&self, address: ChunkAddress) -> Option<ChunkSpan> {
        let found = self.addresses.binary_search(&address).ok()?;
        Some(self.entry(found).span)
    }

    /// The entries in the order of their data in the file. Takes 4 more bytes a span.
    pub fn in_file_order(&self) -> impl Iterator<Item = ChunkEntry> + '_ {
        let mut chunk_of_span = vec![None; self.ends.len()];
        for (at, reference) in (0_u32..).zip(&self.references) {
            chunk_of_span[to_usize(reference.data)] = Some(at);
        }
        let chunks = chunk_of_span.into_iter().flatten();
        chunks.map(|at| self.entry(to_usize(at)))
    }

    /// The entries ascending by address.
    pub fn in_address_order(&self) -> impl ExactSizeIterator<Item = ChunkEntry> + '_ {
        (0..self.addresses.len()).map(|at| self.entry(at))
    }

    /// The entries ascending by address, for those who cannot borrow.
    pub fn into_address_order(self) -> impl ExactSizeIterator<Item = ChunkEntry> + Send + 'static {
        (0..self.addresses.len()).map(move |at| self.entry(at))
    }

    /// The dictionaries, in the order of the file, each once.
    pub fn dictionaries(&self) -> Vec<ByteSpan> {
        let mut ids: Vec<_> = self
            .references
            .iter()
            .map(|reference| reference.dictionary)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.span(id)).collect()
    }

    /// Encodes the index section.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 * self.ends.len() + 28 * self.addresses.len());
        for end in &self.ends[1..] {
            bytes.extend_from_slice(&end.to_be_bytes());
        }
        for address in &self.addresses {
            bytes.extend_from_slice(&address.prefix().to_be_bytes());
        }
        for reference in &self.references {
            bytes.extend_from_slice(&reference.encode());
        }
        for address in &self.addresses {
            bytes.extend_from_slice(&address.suffix());
        }
        bytes
    }

    fn entry(&self, at: usize) -> ChunkEntry {
        let reference = self.references[at];
        let data = self
            .span(reference.data)
            .expect("data spans were checked not to be 0");
        ChunkEntry {
            address: self.addresses[at],
            span: ChunkSpan {
                data,
                dictionary: self.span(reference.dictionary),
            },
        }
    }

    /// The place of a span; nothing for 0.
    fn span(&self, id: u32) -> Option<ByteSpan> {
        let before = to_usize(id).checked_sub(1)?;
        let offset = self.ends[before];
        let len = self.ends[before + 1] - offset;
        let len = u32::try_from(len).expect("span lengths were checked against a limit");
        Some(ByteSpan { offset, len })
    }
}

/// Encodes everything behind the data section: the index, the metadata as it stood, the footer.
pub fn encode_tail(index: &Index, metadata: &[u8], footer: &Footer) -> Vec<u8> {
    [&index.encode(), metadata, &footer.encode()].concat()
}

/// Reads the metadata section. No bytes mean no metadata.
pub fn decode_metadata(bytes: &[u8]) -> Result<BTreeMap<String, String>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_slice(bytes).map_err(DecodeError::Metadata)
}
