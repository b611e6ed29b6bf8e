//! Chunks, table files and archives from a seed: the same seed gives the same bytes.

use std::collections::{BTreeMap, HashSet};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::address::ChunkAddress;
use crate::format::{Written, archive, table};
use crate::hash::hash_chunk;

/// A file that was made up.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its bytes.
    pub file: Vec<u8>,
    /// What its writer said of it.
    pub written: Written,
    /// What it holds, in the order of the file.
    pub chunks: Vec<(ChunkAddress, Vec<u8>)>,
}

/// How the chunks of an archive are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As snappy records.
    Snappy,
    /// As zstd frames with one dictionary.
    Zstd,
    /// Some of each.
    Mixed,
}

/// Makes `count` different chunks of 1 to some 8,000 bytes, half words and half noise.
pub fn chunks(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen = HashSet::new();
    let mut chunks = Vec::with_capacity(count);
    while chunks.len() < count {
        let chunk = chunk(&mut random);
        if seen.insert(hash_chunk(&chunk)) {
            chunks.push(chunk);
        }
    }
    chunks
}

/// Makes a table file of `count` chunks.
pub fn table_file(seed: u64, count: usize) -> Made {
    table_file_of(chunks(seed, count))
}

/// Makes a table file of these chunks, which must differ.
///
/// # Panics
/// When there is no chunk, or one of them twice.
pub fn table_file_of(chunks: Vec<Vec<u8>>) -> Made {
    let mut writer = table::Writer::new(Vec::new());
    let chunks = with_addresses(chunks);
    for (address, chunk) in &chunks {
        let appended = writer.append_chunk(*address, chunk);
        appended.expect("generated chunks fit");
    }
    let (file, written) = writer.finish().expect("generated chunks differ");
    Made {
        file,
        written,
        chunks,
    }
}

/// Makes an archive of `count` chunks.
pub fn archive(seed: u64, count: usize, compression: Compression) -> Made {
    archive_of(chunks(seed, count), compression)
}

/// Makes an archive of these chunks, which must differ.
///
/// # Panics
/// When there is no chunk, or one of them twice.
pub fn archive_of(chunks: Vec<Vec<u8>>, compression: Compression) -> Made {
    let mut writer = archive::Writer::new(Vec::new());
    let dictionary = dictionary(&chunks);
    let frame = zstd::bulk::compress(&dictionary, 3).expect("memory suffices");
    let stored = archive::StoredDictionary::new(frame).expect("a frame was just made");
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary)
        .expect("any bytes can be a dictionary");
    let chunks = with_addresses(chunks);
    for (at, (address, chunk)) in chunks.iter().enumerate() {
        let with_dictionary = match compression {
            Compression::Snappy => false,
            Compression::Zstd => true,
            Compression::Mixed => at % 3 != 1,
        };
        let appended = if with_dictionary {
            let frame = compressor.compress(chunk).expect("memory suffices");
            writer.append_frame(*address, &frame, &stored)
        } else {
            writer.append_chunk(*address, chunk)
        };
        appended.expect("generated chunks fit");
    }
    let metadata = BTreeMap::from([("dolt_version".to_owned(), "generated".to_owned())]);
    let (file, written) = writer.finish(&metadata).expect("generated chunks differ");
    Made {
        file,
        written,
        chunks,
    }
}

/// A dictionary for these chunks: trained, or where they are too few, cut from them.
fn dictionary(chunks: &[Vec<u8>]) -> Vec<u8> {
    zstd::dict::from_samples(chunks, 4096).unwrap_or_else(|_| {
        let mut start = chunks.concat();
        start.truncate(4096);
        start
    })
}

fn with_addresses(chunks: Vec<Vec<u8>>) -> Vec<(ChunkAddress, Vec<u8>)> {
    let pair = |chunk: Vec<u8>| (hash_chunk(&chunk), chunk);
    chunks.into_iter().map(pair).collect()
}

fn chunk(random: &mut StdRng) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "customer",
        "account",
        "event",
        "created_at",
        "balance",
        "NULL",
        "branch",
        "commit",
    ];
    let longest = if random.random_range(0..8) == 0 {
        8000
    } else {
        1200
    };
    let len = random.random_range(1..=longest);
    let mut chunk = Vec::with_capacity(len);
    while chunk.len() < len {
        if random.random_range(0..2) == 0 {
            chunk.extend_from_slice(WORDS[random.random_range(0..WORDS.len())].as_bytes());
        } else {
            chunk.extend_from_slice(&random.next_u64().to_be_bytes());
        }
    }
    chunk.truncate(len);
    chunk
}
