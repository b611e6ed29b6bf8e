//! A table index in memory: 40 bytes a chunk.

use super::layout::encode_footer;
use super::sections::{Ordinals, PrefixTuple, RecordSpans, SuffixHasher};
use super::{ENTRY_LEN, FOOTER_LEN, Layout};
use crate::address::{ChunkAddress, TableFileId};
use crate::format::reader::Reader;
use crate::format::{DecodeError, to_usize};
use crate::index::{ByteSpan, ChunkEntry, ChunkSpan};

/// The decoded index of a table file.
#[derive(Debug, Clone)]
pub struct Index {
    /// By ordinal.
    addresses: Vec<ChunkAddress>,
    /// By ordinal.
    spans: Vec<ByteSpan>,
    /// Ordinals, ascending by address.
    order: Vec<u32>,
}

impl Index {
    /// The index of records that follow each other from the beginning of a file: their addresses and lengths.
    pub fn of_records(records: impl IntoIterator<Item = (ChunkAddress, u32)>) -> Self {
        let (mut addresses, mut spans, mut offset) = (Vec::new(), Vec::new(), 0);
        for (address, len) in records {
            addresses.push(address);
            spans.push(ByteSpan { offset, len });
            offset += u64::from(len);
        }
        let count = u32::try_from(addresses.len()).expect("ordinals have 32 bits");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|ordinal| addresses[to_usize(*ordinal)]);
        Self {
            addresses,
            spans,
            order,
        }
    }

    /// Decodes the index section `bytes` of a file with this layout.
    pub fn decode(layout: &Layout, bytes: &[u8]) -> Result<Self, DecodeError> {
        let count = layout.count();
        let mut reader = Reader::new("table index", bytes);
        let tuples = reader.items::<12>(count)?;
        let lengths = reader.items::<4>(count)?;
        let suffixes = reader.items::<12>(count)?;
        reader.finish()?;

        let mut checked = RecordSpans::new(layout);
        let spans = lengths
            .iter()
            .map(|length| checked.advance(u32::from_be_bytes(*length)))
            .collect::<Result<Vec<_>, _>>()?;
        checked.finish()?;

        let mut ordinals = Ordinals::new(layout);
        let mut addresses = vec![ChunkAddress::ZERO; suffixes.len()];
        let mut order = Vec::with_capacity(tuples.len());
        for tuple in tuples.iter().map(PrefixTuple::decode) {
            ordinals.check(tuple)?;
            let at = to_usize(tuple.ordinal);
            addresses[at] = ChunkAddress::from_parts(tuple.prefix, suffixes[at]);
            order.push(tuple.ordinal);
        }
        // Equal prefixes may stand in any order in the file.
        let address = |ordinal: &u32| addresses[to_usize(*ordinal)];
        if !order.is_sorted_by_key(address) {
            order.sort_by_key(address);
        }
        Ok(Self {
            addresses,
            spans,
            order,
        })
    }

    /// Decodes the index of a whole file.
    pub fn decode_file(file: &[u8]) -> Result<(Layout, Self), DecodeError> {
        let layout = Layout::decode(file, file.len() as u64)?;
        let index = &file[file.len() - FOOTER_LEN - len_in_memory(layout.count())..];
        let index = &index[..index.len() - FOOTER_LEN];
        Ok((layout, Self::decode(&layout, index)?))
    }

    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is none, which cannot be in a file.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Returns where the chunk lies.
    pub fn get(&self, address: ChunkAddress) -> Option<ChunkSpan> {
        let found = self
            .order
            .binary_search_by_key(&address, |ordinal| self.addresses[to_usize(*ordinal)])
            .ok()?;
        Some(self.entry(self.order[found]).span)
    }

    /// The entries in the order of the file.
    pub fn in_file_order(&self) -> impl ExactSizeIterator<Item = ChunkEntry> + '_ {
        let pairs = self.addresses.iter().zip(&self.spans);
        pairs.map(|(address, span)| entry(*address, *span))
    }

    /// The entries ascending by address.
    pub fn in_address_order(&self) -> impl ExactSizeIterator<Item = ChunkEntry> + '_ {
        self.order.iter().map(|ordinal| self.entry(*ordinal))
    }

    /// The entries ascending by address, for those who cannot borrow.
    pub fn into_address_order(self) -> impl ExactSizeIterator<Item = ChunkEntry> + Send + 'static {
        let Self {
            addresses,
            spans,
            order,
        } = self;
        order.into_iter().map(move |ordinal| {
            let at = to_usize(ordinal);
            entry(addresses[at], spans[at])
        })
    }

    /// Computes the id that a file with this index should have.
    pub fn file_id(&self) -> TableFileId {
        let mut hasher = SuffixHasher::new();
        for address in &self.addresses {
            hasher.update(&address.suffix());
        }
        hasher.finish()
    }

    /// Encodes the index and the footer: everything behind the data section.
    pub fn encode(&self, uncompressed_len: u64) -> Vec<u8> {
        let count = u32::try_from(self.order.len()).expect("ordinals have 32 bits");
        let mut bytes = Vec::with_capacity(len_in_memory(count) + FOOTER_LEN);
        for ordinal in &self.order {
            let prefix = self.addresses[to_usize(*ordinal)].prefix();
            bytes.extend_from_slice(&prefix.to_be_bytes());
            bytes.extend_from_slice(&ordinal.to_be_bytes());
        }
        for span in &self.spans {
            bytes.extend_from_slice(&span.len.to_be_bytes());
        }
        for address in &self.addresses {
            bytes.extend_from_slice(&address.suffix());
        }
        bytes.extend_from_slice(&encode_footer(count, uncompressed_len));
        bytes
    }

    fn entry(&self, ordinal: u32) -> ChunkEntry {
        let at = to_usize(ordinal);
        entry(self.addresses[at], self.spans[at])
    }
}

fn entry(address: ChunkAddress, data: ByteSpan) -> ChunkEntry {
    ChunkEntry {
        address,
        span: ChunkSpan {
            data,
            dictionary: None,
        },
    }
}

fn len_in_memory(count: u32) -> usize {
    usize::try_from(ENTRY_LEN * u64::from(count)).expect("the index was found inside a slice")
}
