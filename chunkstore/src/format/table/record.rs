//! One chunk record: a snappy block and the CRC-32C of its compressed bytes. Archives hold the same records.

use crate::format::{DecodeError, EncodeError, MAX_CHUNK_LEN, to_usize};

/// Length of the checksum behind the block.
pub const CHECKSUM_LEN: usize = 4;

/// The shortest record: a length, a tag and one byte of chunk, then the checksum.
pub const MIN_LEN: u32 = 7;

/// The most that one compressed byte can stand for: a copy of three bytes gives 64, and 64 / 3 < 22.
const MAX_EXPANSION: u64 = 22;

/// Checks a record's checksum and returns its snappy block.
pub fn checked_block(record: &[u8]) -> Result<&[u8], DecodeError> {
    let (block, stored) =
        record
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(DecodeError::Truncated {
                what: "chunk record",
                need: u64::from(MIN_LEN),
                have: record.len() as u64,
            })?;
    let stored = u32::from_be_bytes(*stored);
    let computed = crc32c::crc32c(block);
    if stored == computed {
        Ok(block)
    } else {
        Err(DecodeError::Checksum { stored, computed })
    }
}

/// Returns the length that a snappy block claims for its chunk, once it is plausible and within `limit`.
pub fn chunk_len(block: &[u8], limit: u32) -> Result<u32, DecodeError> {
    let claimed = snap::raw::decompress_len(block).map_err(DecodeError::Snappy)? as u64;
    if claimed == 0 {
        return Err(DecodeError::EmptyChunk);
    }
    let compressed = block.len() as u64;
    if claimed > compressed.saturating_mul(MAX_EXPANSION) {
        return Err(DecodeError::Implausible {
            compressed,
            claimed,
        });
    }
    match u32::try_from(claimed) {
        Ok(len) if len <= limit => Ok(len),
        _ => Err(DecodeError::TooLong {
            what: "chunk",
            len: claimed,
            limit: u64::from(limit),
        }),
    }
}

/// Decodes a record: appends its chunk to `out` and returns the chunk's length. The checksum is checked, the
/// address is not. After an error `out` is as it was.
pub fn decode(record: &[u8], limit: u32, out: &mut Vec<u8>) -> Result<usize, DecodeError> {
    let block = checked_block(record)?;
    let len = to_usize(chunk_len(block, limit)?);
    let start = out.len();
    out.resize(start + len, 0);
    match snap::raw::Decoder::new().decompress(block, &mut out[start..]) {
        Ok(_) => Ok(len),
        Err(error) => {
            out.truncate(start);
            Err(DecodeError::Snappy(error))
        }
    }
}

/// Makes records; keeps its working memory from one to the next.
pub struct Encoder {
    snappy: snap::raw::Encoder,
}

impl Encoder {
    /// Makes an encoder.
    pub fn new() -> Self {
        Self {
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// Appends the record of `chunk` to `out` and returns the record's length.
    pub fn encode(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        if chunk.is_empty() || chunk.len() > to_usize(MAX_CHUNK_LEN) {
            return Err(EncodeError::Len {
                what: "chunk",
                len: chunk.len() as u64,
            });
        }
        let start = out.len();
        out.resize(start + snap::raw::max_compress_len(chunk.len()), 0);
        let compressed = self.snappy.compress(chunk, &mut out[start..]);
        let len = match compressed {
            Ok(len) => len,
            Err(error) => {
                out.truncate(start);
                return Err(EncodeError::Compress {
                    what: "a chunk with snappy",
                    source: Box::new(error),
                });
            }
        };
        out.truncate(start + len);
        let checksum = crc32c::crc32c(&out[start..]);
        out.extend_from_slice(&checksum.to_be_bytes());
        Ok(len + CHECKSUM_LEN)
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_and_appends() {
        let mut record = Vec::new();
        let len = Encoder::new().encode(&[7; 5000], &mut record).unwrap();
        assert_eq!(len, record.len());
        let mut out = b"before".to_vec();
        assert_eq!(decode(&record, MAX_CHUNK_LEN, &mut out).unwrap(), 5000);
        assert_eq!(&out[..6], b"before");
        assert_eq!(&out[6..], &[7; 5000]);
    }

    #[test]
    fn wrong_records_are_told_apart_and_leave_the_buffer() {
        let mut record = Vec::new();
        Encoder::new().encode(b"some bytes", &mut record).unwrap();
        let mut out = Vec::new();
        assert!(matches!(
            decode(&record, 9, &mut out),
            Err(DecodeError::TooLong {
                len: 10,
                limit: 9,
                ..
            })
        ));
        record[3] ^= 1;
        assert!(matches!(
            decode(&record, 10, &mut out),
            Err(DecodeError::Checksum { .. })
        ));
        let sealed = |block: &[u8]| [block, &crc32c::crc32c(block).to_be_bytes()].concat();
        let mut error = |block: &[u8]| decode(&sealed(block), 1 << 20, &mut out).unwrap_err();
        assert!(matches!(error(&[0]), DecodeError::EmptyChunk));
        assert!(matches!(
            error(&[0x80, 0x80, 0x04, 0, 0]),
            DecodeError::Implausible { .. }
        ));
        assert!(matches!(error(&[9, 0, 1]), DecodeError::Snappy(_)));
        assert!(matches!(
            error(&[]),
            DecodeError::Snappy(_) | DecodeError::EmptyChunk
        ));
        assert!(out.is_empty());
        assert!(matches!(
            decode(&[1, 2], 10, &mut out),
            Err(DecodeError::Truncated { .. })
        ));
    }

    #[test]
    fn an_empty_chunk_is_not_written() {
        let mut out = Vec::new();
        let error = Encoder::new().encode(b"", &mut out).unwrap_err();
        assert!(matches!(error, EncodeError::Len { len: 0, .. }));
        assert!(out.is_empty());
    }
}
