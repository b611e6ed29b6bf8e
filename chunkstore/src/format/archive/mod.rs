//! The archive (`.darc`): versions 1, 2 and 3 are read, version 3 is written.
//!
//! ```text
//! +--------+-----+--------+-----------+----------+------------------+--------------+----------+--------+
//! | span 1 | ... | span S | span ends | prefixes | chunk references | suffixes     | metadata | footer |
//! |        |     |        | S × u64   | M × u64  | M × {u32, u32}   | M × 12 bytes | JSON     |        |
//! +--------+-----+--------+-----------+----------+------------------+--------------+----------+--------+
//! 0                       data_len                                                 file_len - footer
//! footer: u64 index length (versions 1 and 2: u32) | u32 S | u32 M | u32 metadata length
//!         | SHA-512 of data | of index | of metadata (zeros since Dolt 1.58.6) | u8 version | "DOLTARC"
//! ```
//!
//! A span is a dictionary (itself compressed with zstd) or one chunk; span ids begin at 1. A reference is
//! {dictionary span, data span}. With a dictionary the data is one zstd frame; dictionary 0 means that it is a
//! table file's record, snappy and checksum, which version 1 does not know.
//!
//! Every span has exactly one use, and a dictionary lies before the chunks that need it: Dolt panics otherwise,
//! so a file that breaks the rule is refused. The rule for file ids changed three times; only what we write
//! has an id that can be checked: the SHA-512 of the whole file, cut to 20 bytes.

mod footer;
mod index;
mod layout;
mod spans;
mod writer;

pub use footer::{Checksums, Footer, Version};
pub use index::{Index, decode_metadata, encode_tail};
pub use layout::Layout;
pub use spans::{
    DataSpans, Decoder, Dictionary, MAX_DICTIONARY_LEN, SpanReference, SpanRoles, prefixes,
    references, span_ends, suffixes,
};
pub use writer::{StoredDictionary, Writer};

/// The last seven bytes of every archive.
pub const MAGIC: &[u8; 7] = b"DOLTARC";
