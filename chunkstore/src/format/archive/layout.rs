//! Where the sections of an archive lie, known from its last bytes and its length alone.

use std::ops::Range;

use super::{Footer, Version};
use crate::format::DecodeError;

/// The sections of an archive. All of them were found to fit the file exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    footer: Footer,
    data_len: u64,
}

impl Layout {
    /// Reads the footer off the end of `tail`, the last bytes of a file of `file_len` bytes, and checks every
    /// sum. [`crate::format::TAIL_LEN`] bytes are enough.
    pub fn decode(tail: &[u8], file_len: u64) -> Result<Self, DecodeError> {
        let footer = Footer::decode(tail)?;
        let spans = u64::from(footer.span_count);
        let chunks = u64::from(footer.chunk_count);
        if chunks == 0 {
            return Err(DecodeError::NoChunks);
        }
        let need = 8 * spans + 28 * chunks;
        if footer.index_len != need {
            return Err(DecodeError::IndexLen {
                need,
                have: footer.index_len,
            });
        }
        // At most 2^32 times 36, and 2^32, and 220: no overflow.
        let behind_data =
            need + u64::from(footer.metadata_len) + footer.version.footer_len() as u64;
        let data_len = file_len
            .checked_sub(behind_data)
            .ok_or(DecodeError::Truncated {
                what: "archive",
                need: behind_data,
                have: file_len,
            })?;
        // No span is empty, so there are at most as many as bytes.
        if data_len < spans {
            return Err(DecodeError::DataLen {
                sum: spans,
                have: data_len,
            });
        }
        Ok(Self { footer, data_len })
    }

    /// The footer.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The format's version.
    pub fn version(&self) -> Version {
        self.footer.version
    }

    /// How many chunks the file holds, repeated ones counted again.
    pub fn count(&self) -> u32 {
        self.footer.chunk_count
    }

    /// How many spans the file has.
    pub fn span_count(&self) -> u32 {
        self.footer.span_count
    }

    /// The length of all spans together, which is where the index begins: the "split offset" of an upload.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The bytes of the whole index.
    pub fn index(&self) -> Range<u64> {
        self.data_len..self.suffixes().end
    }

    /// The bytes of the span ends.
    pub fn span_ends(&self) -> Range<u64> {
        self.data_len..self.data_len + 8 * u64::from(self.footer.span_count)
    }

    /// The bytes of the prefixes.
    pub fn prefixes(&self) -> Range<u64> {
        self.section(0, 8)
    }

    /// The bytes of the chunk references.
    pub fn references(&self) -> Range<u64> {
        self.section(8, 8)
    }

    /// The bytes of the suffixes.
    pub fn suffixes(&self) -> Range<u64> {
        self.section(16, 12)
    }

    /// The bytes of the metadata.
    pub fn metadata(&self) -> Range<u64> {
        let start = self.suffixes().end;
        start..start + u64::from(self.footer.metadata_len)
    }

    /// The section behind the span ends that begins behind `before` bytes for each chunk and has `each`. No sum
    /// overflows: the end of the index was found inside the file.
    fn section(&self, before: u64, each: u64) -> Range<u64> {
        let count = u64::from(self.footer.chunk_count);
        let start = self.span_ends().end + before * count;
        start..start + each * count
    }
}
