//! The sections of a table index block by block, for files whose index is larger than memory should be.
//!
//! Each block is whole items of one section, in the order of the file. The checks carry what they know from
//! one block to the next; [`super::Index`] is made of the same ones.

use ring::digest;

use super::{Layout, record};
use crate::address::TableFileId;
use crate::format::reader::whole_items;
use crate::format::{DecodeError, MAX_STORED_LEN, to_usize};
use crate::index::ByteSpan;

/// One entry of the first section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixTuple {
    /// The leading 8 bytes of the address.
    pub prefix: u64,
    /// Which record it is, counted from the start of the file.
    pub ordinal: u32,
}

impl PrefixTuple {
    pub(super) fn decode(bytes: &[u8; 12]) -> Self {
        let (prefix, rest) = bytes.split_first_chunk().expect("12 bytes hold 8");
        let ordinal = rest.first_chunk().expect("4 bytes are left");
        Self {
            prefix: u64::from_be_bytes(*prefix),
            ordinal: u32::from_be_bytes(*ordinal),
        }
    }
}

/// Reads a block of the prefix section.
pub fn prefix_tuples(
    block: &[u8],
) -> Result<impl ExactSizeIterator<Item = PrefixTuple> + '_, DecodeError> {
    Ok(whole_items("prefix tuples", block)?
        .iter()
        .map(PrefixTuple::decode))
}

/// Reads a block of the length section: the stored lengths, checksums included.
pub fn lengths(block: &[u8]) -> Result<impl ExactSizeIterator<Item = u32> + '_, DecodeError> {
    let items = whole_items("lengths", block)?;
    Ok(items.iter().map(|bytes| u32::from_be_bytes(*bytes)))
}

/// Reads a block of the suffix section.
pub fn suffixes(block: &[u8]) -> Result<&[[u8; 12]], DecodeError> {
    whole_items("suffixes", block)
}

/// Turns lengths into places: adds them up and checks that they fill the data section exactly.
#[derive(Debug)]
pub struct RecordSpans {
    data_len: u64,
    offset: u64,
    ordinal: u32,
}

impl RecordSpans {
    /// Begins with the first record.
    pub fn new(layout: &Layout) -> Self {
        Self {
            data_len: layout.data_len(),
            offset: 0,
            ordinal: 0,
        }
    }

    /// Takes the next record's length and returns where it lies.
    pub fn advance(&mut self, len: u32) -> Result<ByteSpan, DecodeError> {
        if !(record::MIN_LEN..=MAX_STORED_LEN).contains(&len) {
            return Err(DecodeError::StoredLen {
                number: self.ordinal,
                len: u64::from(len),
            });
        }
        let offset = self.offset;
        // 2^32 lengths of 32 bits each cannot overflow.
        self.offset += u64::from(len);
        self.ordinal = self.ordinal.saturating_add(1);
        if self.offset > self.data_len {
            return Err(self.mismatch());
        }
        Ok(ByteSpan { offset, len })
    }

    /// Checks that the last record ended where the index begins.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.offset == self.data_len {
            Ok(())
        } else {
            Err(self.mismatch())
        }
    }

    fn mismatch(&self) -> DecodeError {
        DecodeError::DataLen {
            sum: self.offset,
            have: self.data_len,
        }
    }
}

/// Checks the prefix tuples: prefixes ascend, and each ordinal comes exactly once. Keeps one bit a record.
#[derive(Debug)]
pub struct Ordinals {
    seen: Vec<u64>,
    count: u32,
    position: u32,
    last: u64,
}

impl Ordinals {
    /// Begins with the first tuple.
    pub fn new(layout: &Layout) -> Self {
        Self {
            seen: vec![0; to_usize(layout.count().div_ceil(64))],
            count: layout.count(),
            position: 0,
            last: 0,
        }
    }

    /// Takes the next tuple.
    pub fn check(&mut self, tuple: PrefixTuple) -> Result<(), DecodeError> {
        let position = self.position;
        if tuple.prefix < self.last {
            return Err(DecodeError::Order { position });
        }
        let bit = 1 << (tuple.ordinal % 64);
        let word = self.seen.get_mut(to_usize(tuple.ordinal / 64));
        match word {
            Some(word) if tuple.ordinal < self.count && *word & bit == 0 => *word |= bit,
            _ => {
                return Err(DecodeError::Ordinal {
                    position,
                    ordinal: tuple.ordinal,
                    count: self.count,
                });
            }
        }
        self.last = tuple.prefix;
        self.position += 1;
        Ok(())
    }
}

/// Computes a table file's id from its suffixes, in the order of the records.
#[derive(Clone)]
pub struct SuffixHasher {
    context: digest::Context,
}

impl SuffixHasher {
    /// Begins with the first suffix.
    pub fn new() -> Self {
        Self {
            context: digest::Context::new(&digest::SHA512),
        }
    }

    /// Takes the next bytes of the suffix section, cut anywhere.
    pub fn update(&mut self, suffixes: &[u8]) {
        self.context.update(suffixes);
    }

    /// Returns the id.
    pub fn finish(self) -> TableFileId {
        TableFileId::new(crate::hash::first_twenty(&self.context.finish()))
    }
}

impl Default for SuffixHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SuffixHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SuffixHasher").finish_non_exhaustive()
    }
}
