//! The tests' own reader of table files: classic ones, and archives of version 3.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::address_of;

const CLASSIC_FOOTER: usize = 20;
const ARCHIVE_FOOTER: usize = 220;

/// Whether a file is a classic one; else it is an archive.
pub fn is_classic(file: &[u8]) -> bool {
    file.ends_with(&super::MAGIC)
}

/// The number of chunks in a file's footer.
pub fn count(file: &[u8]) -> u32 {
    if is_classic(file) {
        u32_at(file, file.len() - CLASSIC_FOOTER)
    } else {
        u32_at(file, file.len() - ARCHIVE_FOOTER + 12)
    }
}

/// Reads every chunk of a file; each must have the address that the index says.
pub fn read(file: &Bytes) -> BTreeMap<ChunkAddress, Bytes> {
    let chunks: Vec<(ChunkAddress, Bytes)> = if is_classic(file) {
        classic(file)
    } else {
        archive(file)
    };
    for (address, chunk) in &chunks {
        assert_eq!(
            address_of(chunk),
            *address,
            "a chunk is not what the index says"
        );
    }
    chunks.into_iter().collect()
}

fn classic(file: &Bytes) -> Vec<(ChunkAddress, Bytes)> {
    let count = usize::try_from(count(file)).unwrap();
    let suffixes = file.len() - CLASSIC_FOOTER - 12 * count;
    let lengths = suffixes - 4 * count;
    let tuples = lengths - 12 * count;
    let mut prefixes = vec![0; count];
    for index in 0..count {
        let ordinal = usize::try_from(u32_at(file, tuples + 12 * index + 8)).unwrap();
        prefixes[ordinal] = u64_at(file, tuples + 12 * index);
    }
    let mut start = 0;
    let mut chunks = Vec::new();
    for (ordinal, prefix) in prefixes.into_iter().enumerate() {
        let end = start + usize::try_from(u32_at(file, lengths + 4 * ordinal)).unwrap();
        let address = ChunkAddress::from_parts(prefix, suffix_at(file, suffixes + 12 * ordinal));
        chunks.push((address, super::read_record(&file[start..end])));
        start = end;
    }
    assert_eq!(start, tuples, "the records fill the data section");
    chunks
}

fn archive(file: &Bytes) -> Vec<(ChunkAddress, Bytes)> {
    let footer = file.len() - ARCHIVE_FOOTER;
    assert_eq!(
        &file[footer + 212..],
        b"\x03DOLTARC",
        "an archive of version 3"
    );
    let [index_len, spans, count, metadata_len] = [
        usize::try_from(u64_at(file, footer)).unwrap(),
        usize::try_from(u32_at(file, footer + 8)).unwrap(),
        usize::try_from(u32_at(file, footer + 12)).unwrap(),
        usize::try_from(u32_at(file, footer + 16)).unwrap(),
    ];
    let index = footer - metadata_len - index_len;
    let (prefixes, references) = (index + 8 * spans, index + 8 * spans + 8 * count);
    let suffixes = references + 8 * count;
    let span = |id: usize| {
        let end_of = |id: usize| match id {
            0 => 0,
            id => usize::try_from(u64_at(file, index + 8 * (id - 1))).unwrap(),
        };
        &file[end_of(id - 1)..end_of(id)]
    };
    let mut chunks = Vec::new();
    for at in 0..count {
        let address = ChunkAddress::from_parts(
            u64_at(file, prefixes + 8 * at),
            suffix_at(file, suffixes + 12 * at),
        );
        let [dictionary, data] = [0, 4]
            .map(|offset| usize::try_from(u32_at(file, references + 8 * at + offset)).unwrap());
        let chunk = match dictionary {
            0 => super::read_record(span(data)),
            id => super::read_frame(span(data), span(id)),
        };
        chunks.push((address, chunk));
    }
    chunks
}

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(file[at..at + 4].try_into().unwrap())
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(file[at..at + 8].try_into().unwrap())
}

fn suffix_at(file: &[u8], at: usize) -> [u8; 12] {
    file[at..at + 12].try_into().unwrap()
}
