//! The keys of the index. A layout is never changed: another one gets another schema version, and the index
//! is filled again.
//!
//! ```text
//! chunk    c | pool number u32 | address 20 B     → places (merge operands, see values)
//! entries  e | file number u32                    → how many entries u32; a number without it has an unknown count
//! marker   m | pool number u32 | upload id 16 B   → file number u32
//! number   n | file number u32                    → pool number u32 | upload id 16 B
//! pool     p | pool id 16 B                       → pool number u32
//! schema   s                                      → version u32
//! ```
//!
//! Numbers are big-endian, so that the order of the bytes is the order of the values. Pools and files draw
//! their numbers from one sequence. Chunks come first, all else behind them: a sorted file of chunks and one of
//! the records that go with it do not overlap.

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};

/// Version of keys and values together.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// What a key stands for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyKind {
    Chunk = b'c',
    Entries = b'e',
    Marker = b'm',
    Number = b'n',
    Pool = b'p',
    Schema = b's',
}

/// Stands for a pool inside one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PoolNumber(pub(crate) u32);

/// Stands for a file of a pool inside one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileNumber(pub(crate) u32);

/// Key of the places of one chunk.
pub(crate) type ChunkKey = [u8; 25];

/// Where an address lies in a pool.
pub(crate) fn chunk(pool: PoolNumber, address: &ChunkAddress) -> ChunkKey {
    let mut key = [0; 25];
    key[0] = KeyKind::Chunk as u8;
    key[1..5].copy_from_slice(&pool.0.to_be_bytes());
    key[5..].copy_from_slice(address.as_bytes());
    key
}

/// How many entries a file has.
pub(crate) fn entries(file: FileNumber) -> [u8; 5] {
    let mut key = [0; 5];
    key[0] = KeyKind::Entries as u8;
    key[1..].copy_from_slice(&file.0.to_be_bytes());
    key
}

/// Reads the file off the key of [`marker`], if it is one of this pool.
pub(crate) fn decode_marker(pool: PoolNumber, key: &[u8]) -> Option<UploadId> {
    let (head, file) = key.split_first_chunk::<5>()?;
    let file = UploadId::new(file.try_into().ok()?);
    (marker(pool, &file)[..5] == *head).then_some(file)
}

/// Reads the address off the key of [`chunk`], if it is one of this pool.
pub(crate) fn decode_chunk(pool: PoolNumber, key: &[u8]) -> Option<ChunkAddress> {
    let (head, address) = key.split_first_chunk::<5>()?;
    let address = ChunkAddress::new(address.try_into().ok()?);
    (chunk(pool, &address)[..5] == *head).then_some(address)
}

/// That all entries of a file are there.
pub(crate) fn marker(pool: PoolNumber, file: &UploadId) -> [u8; 21] {
    let mut key = [0; 21];
    key[0] = KeyKind::Marker as u8;
    key[1..5].copy_from_slice(&pool.0.to_be_bytes());
    key[5..].copy_from_slice(file.as_bytes());
    key
}

/// What a file number stands for.
pub(crate) fn number(file: FileNumber) -> [u8; 5] {
    let mut key = [0; 5];
    key[0] = KeyKind::Number as u8;
    key[1..].copy_from_slice(&file.0.to_be_bytes());
    key
}

/// Reads the key of [`number`] back.
pub(crate) fn decode_number(key: &[u8]) -> Option<FileNumber> {
    let (&kind, rest) = key.split_first()?;
    let number = u32::from_be_bytes(rest.try_into().ok()?);
    (kind == KeyKind::Number as u8).then_some(FileNumber(number))
}

/// What number a pool has.
pub(crate) fn pool(pool: &PoolId) -> [u8; 17] {
    let mut key = [0; 17];
    key[0] = KeyKind::Pool as u8;
    key[1..].copy_from_slice(pool.as_bytes());
    key
}

/// Which layout the index has.
pub(crate) const fn schema() -> [u8; 1] {
    [KeyKind::Schema as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_the_order_of_values() {
        let low = ChunkAddress::new([0; 20]);
        let high = ChunkAddress::new([0xff; 20]);
        assert!(chunk(PoolNumber(1), &high) < chunk(PoolNumber(2), &low));
        assert!(chunk(PoolNumber(255), &high) < chunk(PoolNumber(256), &low));
        assert!(number(FileNumber(255)) < number(FileNumber(256)));
        assert!(
            chunk(PoolNumber(u32::MAX), &high)[..]
                < marker(PoolNumber(0), &UploadId::new([0; 16]))[..]
        );
        assert!(
            marker(PoolNumber(u32::MAX), &UploadId::new([0xff; 16]))[..]
                < number(FileNumber(0))[..]
        );
        assert!(
            chunk(PoolNumber(u32::MAX), &high)[..] < entries(FileNumber(0))[..]
                && entries(FileNumber(u32::MAX))[..]
                    < marker(PoolNumber(0), &UploadId::new([0; 16]))[..]
        );
        assert!(number(FileNumber(u32::MAX))[..] < pool(&PoolId::new([0; 16]))[..]);
    }

    #[test]
    fn markers_and_chunks_are_read_back_in_their_pool_alone() {
        let (file, address) = (UploadId::new([7; 16]), ChunkAddress::new([8; 20]));
        let (ours, other) = (PoolNumber(3), PoolNumber(4));
        assert_eq!(decode_marker(ours, &marker(ours, &file)), Some(file));
        assert_eq!(decode_chunk(ours, &chunk(ours, &address)), Some(address));
        let foreign = [
            marker(other, &file).to_vec(),
            chunk(ours, &address).to_vec(),
            vec![],
        ];
        assert!(foreign.iter().all(|key| decode_marker(ours, key).is_none()));
        let foreign = [
            chunk(other, &address).to_vec(),
            marker(ours, &file).to_vec(),
            vec![],
        ];
        assert!(foreign.iter().all(|key| decode_chunk(ours, key).is_none()));
    }

    #[test]
    fn only_a_number_key_is_a_number() {
        assert_eq!(decode_number(&number(FileNumber(7))), Some(FileNumber(7)));
        for key in [&b""[..], b"n", b"n123", b"n12345", b"p1234"] {
            assert_eq!(decode_number(key), None);
        }
    }
}
