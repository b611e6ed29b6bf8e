//! The chunk journal: records of chunks and roots, one behind the other, only ever added to.
//!
//! ```text
//! chunk   u32 length | 01 02 | 02 address[20] | 03 snappy block, its u32 CRC-32C | u32 CRC-32C
//! root    00000028   | 01 01 | 04 u64 seconds | 02 address[20]                   | u32 CRC-32C
//! ```
//!
//! The length counts itself and the checksum; the checksum covers everything before it. A record is a list of
//! fields, each a tag and a value: 1 kind, 2 address, 4 time, 3 payload, which is the last one. The root of a store
//! with a journal is its last root record.
//!
//! * [`Record`]: one record, read and written.
//! * [`replay`]: what the bytes of a journal say, and where its valid part ends.

mod record;
pub mod replay;

pub use record::{
    CHUNK_HEAD_LEN, ChunkPayload, MAX_RECORD_LEN, Record, RecordError, encode_chunk, encode_root,
    encode_timeless_root,
};
