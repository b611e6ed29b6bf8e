//! The footer: versions and section sizes.

use super::MAGIC;
use crate::format::DecodeError;
use crate::format::reader::Reader;

/// Versions of the archive format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Every chunk has a dictionary.
    One,
    /// Chunks without a dictionary are snappy records.
    Two,
    /// The index length has 64 bits.
    Three,
}

impl Version {
    /// The length of this version's footer.
    pub const fn footer_len(self) -> usize {
        match self {
            Self::One | Self::Two => 216,
            Self::Three => 220,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// The three sums in a footer: all zero in what Dolt writes since 1.58.6. Readers ignore them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// SHA-512 of the spans.
    pub data: [u8; 64],
    /// SHA-512 of the index.
    pub index: [u8; 64],
    /// SHA-512 of the metadata.
    pub metadata: [u8; 64],
}

impl Checksums {
    /// No sums.
    pub const NONE: Self = Self {
        data: [0; 64],
        index: [0; 64],
        metadata: [0; 64],
    };
}

impl std::fmt::Debug for Checksums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::NONE { "none" } else { "some" })
    }
}

/// What the footer says, not yet compared with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The format's version.
    pub version: Version,
    /// Length of the index section.
    pub index_len: u64,
    /// How many spans there are.
    pub span_count: u32,
    /// How many chunks there are.
    pub chunk_count: u32,
    /// Length of the metadata.
    pub metadata_len: u32,
    /// The sums.
    pub checksums: Checksums,
}

impl Footer {
    /// Reads the footer off the end of `tail`.
    pub fn decode(tail: &[u8]) -> Result<Self, DecodeError> {
        let Some((rest, end)) = tail.split_last_chunk::<8>() else {
            return Err(truncated(8, tail));
        };
        let [version, magic @ ..] = end;
        if magic != MAGIC {
            return Err(DecodeError::Magic {
                wanted: "archive",
                found: magic.to_vec(),
            });
        }
        let version = match version {
            1 => Version::One,
            2 => Version::Two,
            3 => Version::Three,
            &version => return Err(DecodeError::Version { version }),
        };
        let len = version.footer_len() - end.len();
        let start = rest
            .len()
            .checked_sub(len)
            .ok_or_else(|| truncated(version.footer_len(), tail))?;
        let mut reader = Reader::new("archive footer", &rest[start..]);
        let index_len = match version {
            Version::One | Version::Two => u64::from(reader.u32()?),
            Version::Three => reader.u64()?,
        };
        let footer = Self {
            version,
            index_len,
            span_count: reader.u32()?,
            chunk_count: reader.u32()?,
            metadata_len: reader.u32()?,
            checksums: Checksums {
                data: *reader.array()?,
                index: *reader.array()?,
                metadata: *reader.array()?,
            },
        };
        reader.finish()?;
        Ok(footer)
    }

    /// Writes the footer. The index of versions 1 and 2 must be shorter than 4 GiB, as that of every file is
    /// that was read.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.index_len.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.span_count.to_be_bytes());
        bytes.extend_from_slice(&self.chunk_count.to_be_bytes());
        bytes.extend_from_slice(&self.metadata_len.to_be_bytes());
        bytes.extend_from_slice(&self.checksums.data);
        bytes.extend_from_slice(&self.checksums.index);
        bytes.extend_from_slice(&self.checksums.metadata);
        bytes.push(self.version.byte());
        bytes.extend_from_slice(MAGIC);
        // Shorter footers differ only in the four leading bytes.
        bytes.split_off(bytes.len() - self.version.footer_len())
    }
}

fn truncated(need: usize, tail: &[u8]) -> DecodeError {
    DecodeError::Truncated {
        what: "archive",
        need: need as u64,
        have: tail.len() as u64,
    }
}
