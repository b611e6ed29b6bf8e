//! The classic table file.
//!
//! ```text
//! +----------+-----+------------+-----------------+----------+--------------+-----------+
//! | record 0 | ... | record N-1 | prefix tuples   | lengths  | suffixes     | footer    |
//! |          |     |            | N × {u64, u32}  | N × u32  | N × 12 bytes | 20 bytes  |
//! +----------+-----+------------+-----------------+----------+--------------+-----------+
//! 0                             data_len = file_len - 28 N - 20
//! record: snappy block | u32 CRC-32C of the block
//! tuple:  u64 prefix | u32 ordinal of the record, ascending by prefix
//! footer: u32 N | u64 sum of the uncompressed lengths | magic
//! ```
//!
//! Lengths and suffixes are in the order of the records. A record begins where the one before ends.
//! The file's id is the SHA-512 of the suffix section, cut to 20 bytes: it says nothing about the data.

mod index;
mod layout;
pub mod record;
mod sections;
mod writer;

pub use index::Index;
pub use layout::Layout;
pub use sections::{Ordinals, PrefixTuple, RecordSpans, SuffixHasher};
pub use sections::{lengths, prefix_tuples, suffixes};
pub use writer::Writer;

/// The last eight bytes of every table file.
pub const MAGIC: [u8; 8] = [0xff, 0xb5, 0xd8, 0xc2, 0x24, 0x63, 0xee, 0x50];

/// Length of the footer.
pub const FOOTER_LEN: usize = 20;

/// Bytes of the index for each chunk.
pub const ENTRY_LEN: u64 = 28;

/// A record longer than this makes Dolt panic when it walks the file (fsck, and the reference check of its own
/// server). Longer chunks belong into archives.
pub const DOLT_WALK_LIMIT: u32 = 4 * 1024 * 1024;
