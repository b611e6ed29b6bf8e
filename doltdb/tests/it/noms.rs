//! A reader of Dolt's database directories, for these tests alone: small, trusting, and independent of
//! `holdfast-chunkstore`, so that neither hides the other's mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::{ChunkSource, SourceError};

const JOURNAL: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

/// All chunks of one database.
#[derive(Debug)]
pub(crate) struct Noms {
    pub(crate) root: RootAddress,
    pub(crate) chunks: BTreeMap<ChunkAddress, Bytes>,
    /// Commits that a shallow clone leaves out on purpose.
    pub(crate) ghosts: BTreeSet<ChunkAddress>,
}

impl Noms {
    /// Reads a directory that holds a manifest, and its old generation.
    pub(crate) fn open(directory: &Path) -> Self {
        let mut noms = Self {
            root: RootAddress::ZERO,
            chunks: BTreeMap::new(),
            ghosts: BTreeSet::new(),
        };
        noms.read_directory(directory);
        let root = noms.root;
        if directory.join("oldgen/manifest").exists() {
            noms.read_directory(&directory.join("oldgen"));
        }
        noms.root = root;
        if let Ok(text) = fs::read_to_string(directory.join("ghostObjects.txt")) {
            noms.ghosts = text.lines().map(|line| line.parse().unwrap()).collect();
        }
        noms
    }

    fn read_directory(&mut self, directory: &Path) {
        let manifest = fs::read_to_string(directory.join("manifest")).unwrap();
        let fields: Vec<&str> = manifest.split(':').collect();
        self.root = fields[3].parse().unwrap();
        for id in fields[5..].iter().step_by(2) {
            let table = directory.join(id);
            if *id == JOURNAL {
                self.read_journal(&fs::read(table).unwrap());
            } else if table.exists() {
                self.read_table(&fs::read(table).unwrap());
            } else {
                self.read_archive(&fs::read(table.with_extension("darc")).unwrap());
            }
        }
    }

    fn insert(&mut self, address: ChunkAddress, record: &[u8]) {
        let (compressed, crc) = record.split_last_chunk::<4>().unwrap();
        assert_eq!(crc32c::crc32c(compressed), u32::from_be_bytes(*crc));
        let chunk = snap::raw::Decoder::new()
            .decompress_vec(compressed)
            .unwrap();
        self.chunks.insert(address, chunk.into());
    }

    fn read_journal(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while rest.len() >= 4 {
            let len = be32(rest, 0);
            if len < 8 || len > rest.len() || be32(rest, len - 4) != crc(&rest[..len - 4]) {
                break;
            }
            let (record, tail) = rest.split_at(len);
            rest = tail;
            let (mut kind, mut address, mut at) = (0, ChunkAddress::ZERO, 4);
            while at < len - 4 {
                match record[at] {
                    1 => {
                        kind = record[at + 1];
                        at += 2;
                    }
                    2 => {
                        address = ChunkAddress::try_from(&record[at + 1..at + 21]).unwrap();
                        at += 21;
                    }
                    3 => {
                        self.insert(address, &record[at + 1..len - 4]);
                        at = len - 4;
                    }
                    4 => at += 9,
                    tag => panic!("journal tag {tag}"),
                }
            }
            if kind == 1 {
                self.root = address.into();
            }
        }
    }

    fn read_table(&mut self, bytes: &[u8]) {
        let count = be32(bytes, bytes.len() - 20);
        let index = bytes.len() - 20 - 28 * count;
        let mut addresses = vec![ChunkAddress::ZERO; count];
        for tuple in bytes[index..index + 12 * count].chunks(12) {
            let ordinal = be32(tuple, 8);
            let suffix = index + 16 * count + 12 * ordinal;
            addresses[ordinal] = address(&tuple[..8], &bytes[suffix..suffix + 12]);
        }
        let mut start = 0;
        for (ordinal, address) in addresses.into_iter().enumerate() {
            let len = be32(bytes, index + 12 * count + 4 * ordinal);
            self.insert(address, &bytes[start..start + len]);
            start += len;
        }
    }

    fn read_archive(&mut self, bytes: &[u8]) {
        let footer = &bytes[bytes.len() - 220..];
        let index_len = match footer[212] {
            3 => be64(footer, 0),
            _ => be32(footer, 4),
        };
        let (spans, count) = (be32(footer, 8), be32(footer, 12));
        let footer_len = if footer[212] == 3 { 220 } else { 216 };
        let index = bytes.len() - footer_len - be32(footer, 16) - index_len;
        let span = |id: usize| {
            let end = |id: usize| match id {
                0 => 0,
                id => be64(bytes, index + 8 * (id - 1)),
            };
            &bytes[end(id - 1)..end(id)]
        };
        let prefixes = index + 8 * spans;
        let mut dictionaries = BTreeMap::new();
        for chunk in 0..count {
            let refs = prefixes + 8 * count + 8 * chunk;
            let (dictionary, data) = (be32(bytes, refs), span(be32(bytes, refs + 4)));
            let suffix = prefixes + 16 * count + 12 * chunk;
            let prefix = prefixes + 8 * chunk;
            let address = address(&bytes[prefix..prefix + 8], &bytes[suffix..suffix + 12]);
            if dictionary == 0 {
                self.insert(address, data);
                continue;
            }
            let decoder = dictionaries.entry(dictionary).or_insert_with(|| {
                let dictionary = zstd::decode_all(span(dictionary)).unwrap();
                zstd::bulk::Decompressor::with_dictionary(&dictionary).unwrap()
            });
            let chunk = decoder.decompress(data, 1 << 24).unwrap();
            self.chunks.insert(address, chunk.into());
        }
    }
}

fn address(prefix: &[u8], suffix: &[u8]) -> ChunkAddress {
    ChunkAddress::try_from([prefix, suffix].concat().as_slice()).unwrap()
}

fn be32(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes[at..at + 4].try_into().unwrap();
    usize::try_from(u32::from_be_bytes(bytes)).unwrap()
}

fn be64(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes[at..at + 8].try_into().unwrap();
    usize::try_from(u64::from_be_bytes(bytes)).unwrap()
}

fn crc(bytes: &[u8]) -> usize {
    usize::try_from(crc32c::crc32c(bytes)).unwrap()
}

#[async_trait]
impl ChunkSource for Noms {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunks = addresses.iter();
        Ok(chunks
            .map(|address| self.chunks.get(address).cloned())
            .collect())
    }
}
