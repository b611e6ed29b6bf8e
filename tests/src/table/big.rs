//! A table file of any size that is never whole in memory: made twice from a seed, once to be named, once to be sent.

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::{address_of, messages};
use sha2::Digest as _;

/// A classic table file of leaves of long values, filled with noise.
#[derive(Debug)]
pub struct BigFile {
    seed: u64,
    leaf_len: usize,
    /// The tail of the file: index and footer.
    tail: Bytes,
    /// Its name.
    pub id: Bytes,
    /// Its length.
    pub len: u64,
    /// How many chunks are in it.
    pub chunks: u32,
}

impl BigFile {
    /// Works out a file of `chunks` leaves of `leaf_len` bytes each.
    pub fn plan(seed: u64, chunks: u32, leaf_len: usize) -> Self {
        let (mut lengths, mut suffixes, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut data_len, mut uncompressed) = (0_u64, 0_u64);
        for index in 0..chunks {
            let chunk = leaf(seed, index, leaf_len);
            let address = address_of(&chunk);
            let record = super::snappy_record(&chunk);
            lengths.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
            suffixes.extend(address.suffix());
            prefixes.push((address.prefix(), index));
            data_len += u64::try_from(record.len()).unwrap();
            uncompressed += u64::try_from(chunk.len()).unwrap();
        }
        prefixes.sort_unstable();
        let id = sha2::Sha512::digest(&suffixes);
        let mut tail = Vec::new();
        for (prefix, ordinal) in prefixes {
            tail.extend(prefix.to_be_bytes());
            tail.extend(ordinal.to_be_bytes());
        }
        tail.extend(lengths);
        tail.extend(&suffixes);
        tail.extend(chunks.to_be_bytes());
        tail.extend(uncompressed.to_be_bytes());
        tail.extend(super::MAGIC);
        Self {
            seed,
            leaf_len,
            len: data_len + u64::try_from(tail.len()).unwrap(),
            tail: tail.into(),
            id: Bytes::copy_from_slice(&id[..20]),
            chunks,
        }
    }

    /// The bytes of the file, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + 'static {
        let (seed, leaf_len) = (self.seed, self.leaf_len);
        let records = (0..self.chunks)
            .map(move |index| super::snappy_record(&leaf(seed, index, leaf_len)).into());
        records.chain([self.tail.clone()])
    }

    /// Its chunks with their addresses.
    pub fn chunks(&self) -> impl Iterator<Item = (ChunkAddress, Bytes)> + Send + 'static {
        let (seed, leaf_len) = (self.seed, self.leaf_len);
        (0..self.chunks).map(move |index| {
            let chunk = leaf(seed, index, leaf_len);
            (address_of(&chunk), chunk.into())
        })
    }

    /// The address of one of its chunks.
    pub fn address(&self, index: u32) -> ChunkAddress {
        address_of(&leaf(self.seed, index, self.leaf_len))
    }
}

fn leaf(seed: u64, index: u32, len: usize) -> Vec<u8> {
    let mut state = seed ^ (u64::from(index) << 32) | 1;
    let mut content = Vec::with_capacity(len + 8);
    while content.len() < len {
        // xorshift64: noise that snappy cannot shorten.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend(state.to_be_bytes());
    }
    content.truncate(len);
    messages::blob_leaf(&content)
}
