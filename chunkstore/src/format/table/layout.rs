//! Where the sections of a table file lie, known from its last bytes and its length alone.

use std::ops::Range;

use super::{ENTRY_LEN, FOOTER_LEN, MAGIC, record};
use crate::format::DecodeError;
use crate::format::reader::Reader;

/// The sections of a table file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    count: u32,
    uncompressed_len: u64,
    data_len: u64,
}

impl Layout {
    /// Reads the footer off the end of `tail`, the last bytes of a file of `file_len` bytes.
    pub fn decode(tail: &[u8], file_len: u64) -> Result<Self, DecodeError> {
        let footer = tail
            .last_chunk::<FOOTER_LEN>()
            .ok_or(DecodeError::Truncated {
                what: "table file",
                need: FOOTER_LEN as u64,
                have: tail.len() as u64,
            })?;
        let mut reader = Reader::new("table footer", footer);
        let count = reader.u32()?;
        let uncompressed_len = reader.u64()?;
        let magic = reader.array()?;
        if *magic != MAGIC {
            return Err(DecodeError::Magic {
                wanted: "table file",
                found: magic.to_vec(),
            });
        }
        if count == 0 {
            return Err(DecodeError::NoChunks);
        }
        let need = ENTRY_LEN * u64::from(count) + FOOTER_LEN as u64;
        let least = need + u64::from(record::MIN_LEN) * u64::from(count);
        if file_len < least {
            return Err(DecodeError::Truncated {
                what: "table file",
                need: least,
                have: file_len,
            });
        }
        Ok(Self {
            count,
            uncompressed_len,
            data_len: file_len - need,
        })
    }

    /// How many chunks the file holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The sum of all chunks' lengths, as the footer says; nothing depends on it.
    pub fn uncompressed_len(&self) -> u64 {
        self.uncompressed_len
    }

    /// The length of the data section, which is where the index begins.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The bytes of the whole index.
    pub fn index(&self) -> Range<u64> {
        self.data_len..self.suffixes().end
    }

    /// The bytes of the prefix tuples.
    pub fn prefixes(&self) -> Range<u64> {
        self.section(0, 12)
    }

    /// The bytes of the lengths.
    pub fn lengths(&self) -> Range<u64> {
        self.section(12, 4)
    }

    /// The bytes of the suffixes.
    pub fn suffixes(&self) -> Range<u64> {
        self.section(16, 12)
    }

    /// The section that begins behind `before` bytes for each chunk and has `each`. No sum overflows: the end
    /// of the index was found inside the file.
    fn section(&self, before: u64, each: u64) -> Range<u64> {
        let count = u64::from(self.count);
        let start = self.data_len + before * count;
        start..start + each * count
    }
}

/// Writes a footer.
pub(super) fn encode_footer(count: u32, uncompressed_len: u64) -> [u8; FOOTER_LEN] {
    let mut footer = [0; FOOTER_LEN];
    footer[..4].copy_from_slice(&count.to_be_bytes());
    footer[4..12].copy_from_slice(&uncompressed_len.to_be_bytes());
    footer[12..].copy_from_slice(&MAGIC);
    footer
}
