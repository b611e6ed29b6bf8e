//! Why an upload was refused.

use std::io;

use crate::address::{ChunkAddress, TableFileId};
use crate::error::ErrorKind;
use crate::format::DecodeError;
use crate::objects::ObjectError;
use crate::repo::file::Md5;
use crate::repo::spool::{SpoolError, is_full};

/// Why the bytes of an upload did not become a stored file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// More bytes came than were declared.
    #[error("more than the {declared} bytes declared")]
    TooLong {
        /// The declared length.
        declared: u64,
    },
    /// Fewer bytes came than were declared.
    #[error("{received} bytes received, {declared} declared")]
    Length {
        /// The declared length.
        declared: u64,
        /// How many bytes came.
        received: u64,
    },
    /// The bytes have another MD5 than declared.
    #[error("the MD5 of the bytes is {computed:?}, not {declared:?} as declared")]
    Md5 {
        /// The declared digest.
        declared: Md5,
        /// The digest of the bytes.
        computed: Md5,
    },
    /// The index lists another number of chunks than declared.
    #[error("the file holds {found} chunks, {declared} declared")]
    Count {
        /// The declared number.
        declared: u32,
        /// The number in the footer.
        found: u32,
    },
    /// A classic table file whose name is not the hash of its index.
    #[error("the index hashes to {computed}, not to the file's name {declared}")]
    Name {
        /// The declared name.
        declared: TableFileId,
        /// The name that the index gives.
        computed: TableFileId,
    },
    /// The footer states another sum of uncompressed lengths than the chunks have.
    #[error("the chunks have {found} bytes uncompressed, the footer states {stated}")]
    Uncompressed {
        /// What the footer states.
        stated: u64,
        /// What the chunks have.
        found: u64,
    },
    /// Footer, index or metadata break the format's rules.
    #[error("the file breaks its format")]
    Format {
        /// The rule that is broken.
        #[source]
        source: DecodeError,
    },
    /// The stored form of a chunk cannot be decoded.
    #[error("chunk number {number} at byte {offset} cannot be decoded")]
    Chunk {
        /// The number of the record, counted from 0, or of the span, counted from 1.
        number: u32,
        /// Where it begins in the file.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A dictionary cannot be decoded.
    #[error("the dictionary in span {span} cannot be decoded")]
    Dictionary {
        /// The number of the span.
        span: u32,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The bytes of a chunk hash to an address that the index does not give them.
    #[error("chunk number {number} hashes to {actual}, which is not its address in the index")]
    Address {
        /// The number of the record, counted from 0, or of the span, counted from 1.
        number: u32,
        /// What its bytes hash to.
        actual: ChunkAddress,
    },
    /// The index gives an address to a chunk whose bytes hash to another.
    #[error("chunk number {number} does not hash to {listed}, its address in the index")]
    NotThere {
        /// The number of the record, counted from 0, or of the span, counted from 1.
        number: u32,
        /// The address in the index.
        listed: ChunkAddress,
    },
    /// The index gives an address, or a prefix of addresses, more places than can be compared.
    #[error("more than {limit} chunks of the index begin with the bytes of {address}")]
    TooManyAlike {
        /// One of the addresses.
        address: ChunkAddress,
        /// How many are compared at most.
        limit: usize,
    },
    /// The chunks have more bytes than an upload may decode to.
    #[error(
        "with chunk number {number} at byte {offset} the file decodes to more than {limit} bytes, the most that this \
         server takes in one file"
    )]
    Expansion {
        /// The number of the record, counted from 0, or of the span, counted from 1.
        number: u32,
        /// Where it begins in the file.
        offset: u64,
        /// How many bytes a file may decode to.
        limit: u64,
    },
    /// Another file has the id already.
    #[error(
        "a file with other chunks has the id {id} in this repository: run `holdfast push` again, which gives archives \
         another id"
    )]
    IdTaken {
        /// The id.
        id: TableFileId,
    },
    /// A chunk whose references cannot be read.
    #[error("chunk {address}: {message}")]
    Children {
        /// The chunk.
        address: ChunkAddress,
        /// The class of the refusal: invalid, or of an unknown kind.
        kind: ErrorKind,
        /// What is wrong with it.
        message: String,
    },
    /// The spool has no room, or failed.
    #[error("receive the file")]
    Spool(#[from] SpoolError),
    /// Reading the spool, or sorting beside it, failed.
    #[error("check the file")]
    Scratch(#[source] io::Error),
    /// The object store failed.
    #[error("store the file")]
    Store(#[from] ObjectError),
    /// The check was given up, because nobody waits for it.
    #[error("the check was given up")]
    GivenUp,
}

impl UploadError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. }
            | Self::Length { .. }
            | Self::Md5 { .. }
            | Self::Count { .. }
            | Self::Name { .. }
            | Self::Uncompressed { .. }
            | Self::Address { .. }
            | Self::NotThere { .. }
            | Self::TooManyAlike { .. } => ErrorKind::Invalid,
            Self::Format { source }
            | Self::Chunk { source, .. }
            | Self::Dictionary { source, .. } => source.kind(),
            Self::Expansion { .. } | Self::IdTaken { .. } => ErrorKind::Refused,
            Self::Children { kind, .. } => *kind,
            Self::Spool(error) => error.kind(),
            Self::Scratch(error) if is_full(error) => ErrorKind::Exhausted,
            Self::Scratch(_) | Self::GivenUp => ErrorKind::Unavailable,
            Self::Store(error) => error.kind(),
        }
    }

    /// Whether the bytes that were declared came, and are refused for what they are: they will be again.
    pub fn is_of_content(&self) -> bool {
        match self {
            Self::Count { .. }
            | Self::Name { .. }
            | Self::Uncompressed { .. }
            | Self::Format { .. }
            | Self::Chunk { .. }
            | Self::Dictionary { .. }
            | Self::Address { .. }
            | Self::NotThere { .. }
            | Self::TooManyAlike { .. }
            | Self::Expansion { .. }
            | Self::IdTaken { .. }
            | Self::Children { .. } => true,
            Self::TooLong { .. }
            | Self::Length { .. }
            | Self::Md5 { .. }
            | Self::Spool(_)
            | Self::Scratch(_)
            | Self::Store(_)
            | Self::GivenUp => false,
        }
    }

    /// The error and its causes on one line, for whoever uploads.
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line.replace(['\n', '\r'], " ")
    }
}

impl From<DecodeError> for UploadError {
    fn from(source: DecodeError) -> Self {
        Self::Format { source }
    }
}
