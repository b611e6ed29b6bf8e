//! Dolt's file formats as pure functions over bytes: no I/O, no async, no clock.
//!
//! `FORMATS.md` draws every layout and names the real file that proves it.
//!
//! * [`table`]: the classic table file: snappy records, then an index by address prefix.
//! * [`archive`]: the archive (`.darc`): zstd frames with shared dictionaries, or snappy records.
//! * [`journal`]: the chunk journal: records of chunks and roots, only added to.
//! * [`manifest`]: the manifest: one line of text that names the root and the files of a store.
//!
//! Decoders return chunk bytes and never hash them: whoever must trust an address hashes many chunks at once
//! with [`crate::hash::hash_chunks`] and compares.
//!
//! Every integer in a file is big-endian. No decoder allocates by a number that it has not first compared with
//! the bytes that are there or with a limit of this module.

#![deny(clippy::little_endian_bytes)]

mod error;
mod kind;
mod order;
mod reader;
mod sink;

pub mod archive;
pub mod journal;
pub mod manifest;
pub mod table;

pub use error::{DecodeError, EncodeError};
pub use kind::FileKind;
pub use order::AddressOrder;
pub use sink::Written;

/// The longest chunk that Dolt can make: its messages carry their length in 24 bits behind 4 bytes.
pub const MAX_CHUNK_LEN: u32 = (1 << 24) + 3;

/// The longest stored form of a chunk: the worst case of snappy, and its checksum. The worst case of zstd is
/// smaller.
pub const MAX_STORED_LEN: u32 = 32 + MAX_CHUNK_LEN + MAX_CHUNK_LEN / 6 + 4;

/// How many bytes of a file's end tell what it is and where its sections lie. A shorter file is given whole.
pub const TAIL_LEN: usize = 220;

/// A count or a position as a size in memory.
pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).expect("a usize has at least 32 bits")
}
