//! Why bytes are not what they claim to be, and why something cannot be written.

use crate::address::ChunkAddress;
use crate::error::ErrorKind;

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are fewer bytes than the sections claim.
    #[error("{what}: {need} bytes needed, {have} there")]
    Truncated {
        /// The part of the file.
        what: &'static str,
        /// How many bytes it claims.
        need: u64,
        /// How many there are.
        have: u64,
    },
    /// There are more bytes than the sections claim.
    #[error("{what}: {extra} bytes too many")]
    Trailing {
        /// The part of the file.
        what: &'static str,
        /// How many bytes are left over.
        extra: u64,
    },
    /// The last bytes are those of no known format.
    #[error("not a {wanted}: the last bytes are {found:02x?}")]
    Magic {
        /// What was expected.
        wanted: &'static str,
        /// The last bytes of the file.
        found: Vec<u8>,
    },
    /// An archive of a version that we do not know.
    #[error("archive version {version}")]
    Version {
        /// The version byte.
        version: u8,
    },
    /// A file without any chunk.
    #[error("no chunks")]
    NoChunks,
    /// The index length is not what its counts say.
    #[error("index of {have} bytes, where the counts need {need}")]
    IndexLen {
        /// What span and chunk counts need.
        need: u64,
        /// What the footer says.
        have: u64,
    },
    /// The index is not in ascending order.
    #[error("index out of order at {position}")]
    Order {
        /// The first entry that is smaller than the one before.
        position: u32,
    },
    /// An ordinal beyond the last record, or one that comes twice.
    #[error("ordinal {ordinal} of {count} at {position} is out of range or repeated")]
    Ordinal {
        /// The place in the prefix section.
        position: u32,
        /// The ordinal there.
        ordinal: u32,
        /// How many records there are.
        count: u32,
    },
    /// A record or a span of a length that cannot be.
    #[error("stored length {len} of number {number}")]
    StoredLen {
        /// The ordinal of the record, or the id of the span.
        number: u32,
        /// Its length; more than fits stands as the largest number.
        len: u64,
    },
    /// A span that ends before it begins.
    #[error("span {number} ends before it begins")]
    SpanBackwards {
        /// The id of the span.
        number: u32,
    },
    /// Records or spans do not fill the data section exactly.
    #[error("data of {have} bytes, where the lengths add up to {sum}")]
    DataLen {
        /// The sum of the lengths, as far as it was added.
        sum: u64,
        /// The length of the section.
        have: u64,
    },
    /// A reference to a span that is not there.
    #[error("chunk {chunk} refers to span {span} of {count}")]
    SpanRange {
        /// The place of the chunk in the index.
        chunk: u32,
        /// The id of the span.
        span: u32,
        /// How many spans there are.
        count: u32,
    },
    /// A version 1 archive with a chunk that has no dictionary.
    #[error("chunk {chunk} has no dictionary in an archive of version 1")]
    DictionaryMissing {
        /// The place of the chunk in the index.
        chunk: u32,
    },
    /// A dictionary that lies behind a chunk that needs it.
    #[error("chunk {chunk} uses dictionary {dictionary} before it comes")]
    DictionaryLate {
        /// The place of the chunk in the index.
        chunk: u32,
        /// The id of the dictionary's span.
        dictionary: u32,
    },
    /// A span that is data twice, or data and dictionary.
    #[error("span {span} is used in two roles or by two chunks")]
    SpanShared {
        /// The id of the span.
        span: u32,
    },
    /// A span that nothing refers to.
    #[error("span {span} is used by nothing")]
    SpanUnused {
        /// The id of the first such span.
        span: u32,
    },
    /// A checksum that does not match.
    #[error("checksum {stored:08x} stored, {computed:08x} computed")]
    Checksum {
        /// What the record says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A chunk of no bytes, which cannot be.
    #[error("empty chunk")]
    EmptyChunk,
    /// A chunk, or a dictionary, over the limit.
    #[error("{what} of {len} bytes, where {limit} are allowed")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it says it is.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// A length that the compressed bytes cannot reach.
    #[error("{compressed} compressed bytes cannot hold {claimed}")]
    Implausible {
        /// How many compressed bytes there are.
        compressed: u64,
        /// How many bytes they claim.
        claimed: u64,
    },
    /// A broken snappy block.
    #[error("decompress a snappy block")]
    Snappy(#[source] snap::Error),
    /// A broken zstd frame.
    #[error("decompress the zstd frame of a {what}: {reason}")]
    Zstd {
        /// What the frame holds.
        what: &'static str,
        /// What zstd says.
        reason: &'static str,
    },
    /// Metadata that is not a JSON object of strings.
    #[error("read the metadata of an archive")]
    Metadata(#[source] serde_json::Error),
}

impl DecodeError {
    /// The class of the error: the bytes are wrong by themselves. Whoever stored them after a check says
    /// [`ErrorKind::Corrupt`] instead.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The sink failed.
    #[error("write {what}")]
    Write {
        /// The part of the file.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file without any chunk is never written.
    #[error("no chunks to write")]
    NoChunks,
    /// One address twice.
    #[error("chunk {address} was added twice")]
    Duplicate {
        /// The address.
        address: ChunkAddress,
    },
    /// A chunk or stored chunk of no bytes, or over the limit.
    #[error("{what} of {len} bytes cannot be stored")]
    Len {
        /// What it is.
        what: &'static str,
        /// Its length.
        len: u64,
    },
    /// More chunks or spans than the format can count.
    #[error("more than {limit} chunks in one file")]
    TooMany {
        /// The most that fit.
        limit: u32,
    },
    /// A record handed in to be copied is none.
    #[error("copy the record of {address}")]
    Record {
        /// Whose it is.
        address: ChunkAddress,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// zstd or snappy refused, which it does only for want of memory.
    #[error("compress {what}")]
    Compress {
        /// What was compressed.
        what: &'static str,
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EncodeError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorKind::Exhausted
            }
            Self::Write { .. } => ErrorKind::Unavailable,
            Self::NoChunks | Self::Duplicate { .. } | Self::Len { .. } | Self::TooMany { .. } => {
                ErrorKind::Invalid
            }
            Self::Record { source, .. } => source.kind(),
            Self::Compress { .. } => ErrorKind::Internal,
        }
    }
}
