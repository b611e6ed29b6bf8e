//! What a chunk is: the envelope around every message, and its kind.
//!
//! ```text
//! 0x1B | u24 length of the rest, big-endian | FlatBuffer, whose bytes 4..8 name its kind
//! ```
//!
//! A message may also stand inside another one, envelope and all: the root node of a small tree is kept in
//! the chunk that owns the tree.

use std::fmt;

use crate::error::DecodeError;
use crate::flat::Table;

/// The first byte of every message.
const SERIAL_MESSAGE: u8 = 0x1B;

/// The four bytes by which a message names its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; 4]);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

macro_rules! message_kinds {
    ($($(#[$meta:meta])* $name:ident = $id:literal, $fields:literal;)*) => {
        /// The kind of a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum MessageKind {
            $($(#[$meta])* $name,)*
            /// A kind that we do not know: a newer Dolt, or a Doltgres, wrote it.
            Unknown(FileId),
        }

        impl MessageKind {
            /// Every kind that we know.
            pub const KNOWN: &[Self] = &[$(Self::$name,)*];

            /// Returns the kind that a file id names.
            pub fn from_file_id(id: FileId) -> Self {
                match &id.0 {
                    $($id => Self::$name,)*
                    _ => Self::Unknown(id),
                }
            }

            /// Returns the four bytes that name this kind.
            pub fn file_id(self) -> FileId {
                match self {
                    $(Self::$name => FileId(*$id),)*
                    Self::Unknown(id) => id,
                }
            }

            /// Returns how many fields of its root table we know, or nothing for an unknown kind.
            pub(crate) fn known_fields(self) -> Option<usize> {
                match self {
                    $(Self::$name => Some($fields),)*
                    Self::Unknown(_) => None,
                }
            }
        }
    };
}

message_kinds! {
    /// The root of a store: its dataset map.
    StoreRoot = b"STRT", 1;
    /// A node of a map from names to addresses.
    AddressMap = b"ADRM", 6;
    /// A commit.
    Commit = b"DCMT", 12;
    /// A tag.
    Tag = b"DTAG", 6;
    /// A branch's working set.
    WorkingSet = b"WRST", 8;
    /// A list of stashes.
    StashList = b"SLST", 1;
    /// One stash.
    Stash = b"STSH", 5;
    /// Statistics of a database.
    Statistic = b"STAT", 1;
    /// A small opaque note.
    Tuple = b"TUPL", 1;
    /// All tables of a database at one moment.
    RootValue = b"RTVL", 5;
    /// One table.
    Table = b"DTBL", 7;
    /// A table's schema.
    TableSchema = b"DSCH", 8;
    /// The foreign keys of a database.
    ForeignKeys = b"DFKC", 1;
    /// A node of a tree of rows or of an ordinary index.
    ProllyNode = b"TUPM", 11;
    /// A node of the tree of a commit's ancestors.
    CommitClosure = b"CMCL", 5;
    /// A node of the tree of a merge's conflicts and violations.
    MergeArtifacts = b"ARTM", 9;
    /// A node of a long value.
    Blob = b"BLOB", 5;
    /// A node of a vector index.
    VectorIndex = b"IVFF", 10;
}

impl MessageKind {
    /// Whether messages of this kind hold no address, whatever fields a newer Dolt gives them.
    pub(crate) fn holds_no_address(self) -> bool {
        matches!(self, Self::TableSchema | Self::ForeignKeys | Self::Tuple)
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.file_id(), f)
    }
}

impl MessageKind {
    /// How many bytes of a chunk tell its kind.
    pub const HEAD_LEN: usize = 12;

    /// Returns the kind of a chunk of which the first bytes are at hand; nothing for what is no message.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let (envelope, id) = head.get(..Self::HEAD_LEN)?.split_at(8);
        let id = id.first_chunk::<4>()?;
        (envelope[0] == SERIAL_MESSAGE).then(|| Self::from_file_id(FileId(*id)))
    }
}

/// A message whose envelope is right.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    kind: MessageKind,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Opens the envelope. What is inside is looked at by whoever needs it.
    pub fn decode(chunk: &'a [u8]) -> Result<Self, DecodeError> {
        let (first, body) = match chunk {
            [first, high, middle, low, body @ ..] => {
                let stated = u32::from_be_bytes([0, *high, *middle, *low]);
                if *first == SERIAL_MESSAGE && usize::try_from(stated) != Ok(body.len()) {
                    return Err(DecodeError::Length {
                        stated,
                        len_bytes: body.len(),
                    });
                }
                (*first, body)
            }
            _ => {
                return Err(DecodeError::Short {
                    len_bytes: chunk.len(),
                });
            }
        };
        if first != SERIAL_MESSAGE {
            return Err(DecodeError::NotAMessage { first });
        }
        let id = body
            .get(4..)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or(DecodeError::Short {
                len_bytes: chunk.len(),
            })?;
        Ok(Self {
            kind: MessageKind::from_file_id(FileId(*id)),
            body,
        })
    }

    /// Opens the envelope of a message that must be of one kind.
    pub(crate) fn expect(chunk: &'a [u8], wanted: MessageKind) -> Result<Self, DecodeError> {
        let message = Self::decode(chunk)?;
        if message.kind == wanted {
            Ok(message)
        } else {
            Err(DecodeError::WrongKind {
                wanted,
                found: message.kind,
            })
        }
    }

    /// Returns the kind.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Opens the root table. Where no field can hold an address, fields that we do not know change nothing.
    pub(crate) fn table(&self) -> Result<Table<'a>, DecodeError> {
        let known = self.kind.known_fields().ok_or(DecodeError::UnknownKind {
            id: self.kind.file_id(),
        })?;
        let known = match self.kind.holds_no_address() {
            true => usize::MAX,
            false => known,
        };
        Table::root(self.body, known).map_err(DecodeError::in_message(self.kind))
    }
}
