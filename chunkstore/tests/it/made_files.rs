//! Table files and archives in parts, so that a test can damage one part and leave the rest right.

use std::ops::Range;

use holdfast_chunkstore::hash::hash_chunks;
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use ring::digest;

/// A table file in parts.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) addresses: Vec<ChunkAddress>,
    /// Prefixes and ordinals.
    pub(crate) tuples: Vec<(u64, u32)>,
    pub(crate) uncompressed_len: u64,
}

impl Table {
    pub(crate) fn of(chunks: &[Vec<u8>]) -> Self {
        let addresses = hash_chunks(chunks);
        let mut tuples: Vec<_> = (0..)
            .zip(&addresses)
            .map(|(ordinal, address)| (address.prefix(), ordinal))
            .collect();
        tuples.sort_unstable();
        Self {
            records: chunks.iter().map(|chunk| record(chunk)).collect(),
            addresses,
            tuples,
            uncompressed_len: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        }
    }

    fn suffixes(&self) -> Vec<u8> {
        self.addresses
            .iter()
            .flat_map(ChunkAddress::suffix)
            .collect()
    }

    pub(crate) fn name(&self) -> TableFileId {
        first_twenty(&self.suffixes())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut file = self.records.concat();
        for (prefix, ordinal) in &self.tuples {
            file.extend_from_slice(&prefix.to_be_bytes());
            file.extend_from_slice(&ordinal.to_be_bytes());
        }
        for record in &self.records {
            file.extend_from_slice(&number(record.len()).to_be_bytes());
        }
        file.extend_from_slice(&self.suffixes());
        file.extend_from_slice(&number(self.records.len()).to_be_bytes());
        file.extend_from_slice(&self.uncompressed_len.to_be_bytes());
        file.extend_from_slice(&holdfast_chunkstore::format::table::MAGIC);
        file
    }
}

/// An archive of version 3 in parts.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) spans: Vec<Vec<u8>>,
    /// In the order of the index.
    pub(crate) chunks: Vec<Stored>,
    pub(crate) metadata: Vec<u8>,
}

/// One line of an archive's index.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) address: ChunkAddress,
    pub(crate) dictionary: u32,
    pub(crate) data: u32,
}

impl Archive {
    /// Every other chunk is a zstd frame with the dictionary in span 1, the others are snappy records.
    pub(crate) fn of(chunks: &[Vec<u8>]) -> Self {
        let dictionary = b"chunk number 1 chunk number 2 chunk number 3 refs".repeat(20);
        let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
        let mut spans = vec![zstd::bulk::compress(&dictionary, 3).unwrap()];
        let mut stored = Vec::new();
        for (i, (chunk, address)) in chunks.iter().zip(hash_chunks(chunks)).enumerate() {
            let dictionary = number(i % 2);
            spans.push(match dictionary {
                0 => record(chunk),
                _ => compressor.compress(chunk).unwrap(),
            });
            stored.push(Stored {
                address,
                dictionary,
                data: number(spans.len()),
            });
        }
        stored.sort_by_key(|chunk| chunk.address);
        Self {
            spans,
            chunks: stored,
            metadata: br#"{"dolt_version":"2.3.1"}"#.to_vec(),
        }
    }

    pub(crate) fn name(&self) -> TableFileId {
        first_twenty(&self.encode())
    }

    /// Two lines of the index whose chunks are snappy records.
    pub(crate) fn two_snappy_chunks(&self) -> [usize; 2] {
        let mut snappy = (0..self.chunks.len()).filter(|at| self.chunks[*at].dictionary == 0);
        [snappy.next().unwrap(), snappy.next().unwrap()]
    }

    /// Moves the dictionary behind the last chunk.
    pub(crate) fn dictionary_last(&mut self) {
        let dictionary = self.spans.remove(0);
        self.spans.push(dictionary);
        let last = number(self.spans.len());
        for chunk in &mut self.chunks {
            chunk.data -= 1;
            chunk.dictionary *= last;
        }
    }

    /// The bytes that nothing depends on: metadata, and the sums in the footer.
    pub(crate) fn unprotected(&self) -> [Range<usize>; 2] {
        let len = self.encode().len();
        [
            len - 220 - self.metadata.len()..len - 220,
            len - 200..len - 8,
        ]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut file = self.spans.concat();
        let mut end = 0;
        for span in &self.spans {
            end += span.len() as u64;
            file.extend_from_slice(&end.to_be_bytes());
        }
        for chunk in &self.chunks {
            file.extend_from_slice(&chunk.address.prefix().to_be_bytes());
        }
        for chunk in &self.chunks {
            file.extend_from_slice(&chunk.dictionary.to_be_bytes());
            file.extend_from_slice(&chunk.data.to_be_bytes());
        }
        for chunk in &self.chunks {
            file.extend_from_slice(&chunk.address.suffix());
        }
        let index_len = 8 * self.spans.len() + 28 * self.chunks.len();
        file.extend_from_slice(&self.metadata);
        file.extend_from_slice(&(index_len as u64).to_be_bytes());
        for count in [self.spans.len(), self.chunks.len(), self.metadata.len()] {
            file.extend_from_slice(&number(count).to_be_bytes());
        }
        file.extend_from_slice(&[0; 3 * 64]);
        file.push(3);
        file.extend_from_slice(b"DOLTARC");
        file
    }
}

fn record(chunk: &[u8]) -> Vec<u8> {
    let mut record = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
    let checksum = crc32c::crc32c(&record);
    record.extend_from_slice(&checksum.to_be_bytes());
    record
}

fn number(number: usize) -> u32 {
    number.try_into().unwrap()
}

fn first_twenty(bytes: &[u8]) -> TableFileId {
    let hash = digest::digest(&digest::SHA512, bytes);
    TableFileId::try_from(&hash.as_ref()[..20]).unwrap()
}
