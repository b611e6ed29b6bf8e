//! What can be wrong with a chunk, and with reading one.

use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use crate::flat::FlatError;
use crate::message::{FileId, MessageKind};
use crate::source::SourceError;

/// A chunk that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Too short to be a message.
    #[error("{len_bytes} bytes are too few for a message")]
    Short {
        /// How many bytes there are.
        len_bytes: usize,
    },
    /// The first byte is not that of a message.
    #[error("a message begins with 0x1b, not with {first:#04x}")]
    NotAMessage {
        /// The first byte.
        first: u8,
    },
    /// The envelope states another length than the chunk has.
    #[error("the envelope states {stated} bytes, but {len_bytes} follow it")]
    Length {
        /// What the envelope states.
        stated: u32,
        /// How many bytes follow the envelope.
        len_bytes: usize,
    },
    /// A kind that we do not know: what it refers to cannot be told.
    #[error("messages of the kind {id} are not known")]
    UnknownKind {
        /// The four bytes that name the kind.
        id: FileId,
    },
    /// A known kind with a field that we do not know: what it refers to cannot be told.
    #[error(
        "a message {kind} has a field {field} that a newer Dolt wrote: only the first {known} are known"
    )]
    UnknownField {
        /// The kind.
        kind: MessageKind,
        /// Its place among the fields of a table of the message, counted from 1.
        field: usize,
        /// How many we know.
        known: usize,
    },
    /// A message of another kind than its place demands.
    #[error("a message {wanted} was expected, not {found}")]
    WrongKind {
        /// The kind that belongs here.
        wanted: MessageKind,
        /// The kind that is here.
        found: MessageKind,
    },
    /// The message contradicts itself.
    #[error("decode a message {kind}")]
    Malformed {
        /// The kind.
        kind: MessageKind,
        /// What is wrong with it.
        #[source]
        fault: FlatError,
    },
}

impl DecodeError {
    /// Names the message in which a fault was found.
    pub(crate) fn in_message(kind: MessageKind) -> impl Fn(FlatError) -> Self + Copy {
        move |fault| match fault {
            FlatError::UnknownField { field, known } => Self::UnknownField { kind, field, known },
            fault => Self::Malformed { kind, fault },
        }
    }

    /// Returns what to do about it. What a newer Dolt may have written is refused, not wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownKind { .. } | Self::UnknownField { .. } => ErrorKind::Refused,
            Self::Short { .. }
            | Self::NotAMessage { .. }
            | Self::Length { .. }
            | Self::WrongKind { .. }
            | Self::Malformed { .. } => ErrorKind::Invalid,
        }
    }
}

/// A tree, or another thing of several chunks, that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source failed.
    #[error("could not read {count} chunks")]
    Source {
        /// How many were asked for.
        count: usize,
        /// Why it failed.
        #[source]
        source: SourceError,
    },
    /// The source answered another number of chunks than it was asked for.
    #[error("could not read {asked} chunks: {answered} came")]
    Answers {
        /// How many were asked for.
        asked: usize,
        /// How many answers came.
        answered: usize,
    },
    /// A chunk is not there.
    #[error("could not find the chunk {address}")]
    Missing {
        /// Its address.
        address: ChunkAddress,
    },
    /// A chunk cannot be understood.
    #[error("could not decode the chunk {address}")]
    Decode {
        /// Its address.
        address: ChunkAddress,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// A node of a tree does not belong where it hangs.
    #[error("could not read the tree node {address}: it {fault}")]
    Tree {
        /// The node's address.
        address: ChunkAddress,
        /// What is wrong with it.
        fault: TreeFault,
    },
    /// A commit that is not lower than one whose parent it is.
    #[error(
        "could not read the commit {address}: its height is {height}, that of its child {below}"
    )]
    Height {
        /// The parent's address.
        address: ChunkAddress,
        /// Its height.
        height: u64,
        /// The height of the lowest of its children.
        below: u64,
    },
    /// A dataset whose name is not text.
    #[error("could not read the dataset name {name:?}: it is not UTF-8")]
    Name {
        /// The name, with its bytes escaped, cut at 200 characters.
        name: String,
    },
}

/// Why a node does not belong where it hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeFault {
    /// Its level is not one below its parent's.
    #[error("has level {found} where {wanted} belongs")]
    Level {
        /// One below the parent's.
        wanted: u8,
        /// What the node says.
        found: u8,
    },
    /// Its last key is not the one that its parent names.
    #[error("does not end with the key that its parent names")]
    LastKey,
    /// Its first key is not above the last key of the node before it.
    #[error("begins below the end of the node before it")]
    FirstKey,
    /// It holds nothing, which only a root may.
    #[error("is empty")]
    Empty,
}

impl ReadError {
    /// Returns what to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { source, .. } => source.kind(),
            Self::Answers { .. } => ErrorKind::Internal,
            Self::Missing { .. } => ErrorKind::Dangling,
            Self::Decode { source, .. } => source.kind(),
            Self::Tree { .. } | Self::Height { .. } | Self::Name { .. } => ErrorKind::Invalid,
        }
    }
}
