//! Table files made by the tests themselves, so that they do not lean on the code that they test.

mod big;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use holdfast_doltdb::testing::address_of;
use md5::Digest as _;

pub use big::BigFile;
pub use read::{count, is_classic, read};

const MAGIC: [u8; 8] = [0xff, 0xb5, 0xd8, 0xc2, 0x24, 0x63, 0xee, 0x50];

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Its name.
    pub id: Bytes,
    /// Its bytes.
    pub bytes: Bytes,
    /// How many chunks are in it.
    pub chunks: u32,
    /// `.darc` for an archive, else empty.
    pub suffix: &'static str,
    /// Where the chunks end and the index begins.
    pub split_offset: u64,
}

impl TableFile {
    /// A classic table file of these chunks.
    pub fn classic<'c>(chunks: impl IntoIterator<Item = &'c Bytes>) -> Self {
        let chunks = chunks.into_iter();
        Self::classic_under(chunks.map(|chunk| (address_of(chunk), chunk)))
    }

    /// A classic table file of chunks under addresses that may be others'.
    pub fn classic_under<'c>(chunks: impl IntoIterator<Item = (ChunkAddress, &'c Bytes)>) -> Self {
        let mut seen = BTreeSet::new();
        let (mut data, mut lengths, mut suffixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut prefixes: Vec<(u64, u32)> = Vec::new();
        let mut uncompressed = 0_u64;
        for (address, chunk) in chunks {
            if !seen.insert(address) {
                continue;
            }
            let record = snappy_record(chunk);
            data.extend(&record);
            lengths.push(u32::try_from(record.len()).unwrap());
            prefixes.push((address.prefix(), u32::try_from(prefixes.len()).unwrap()));
            suffixes.extend(address.suffix());
            uncompressed += u64::try_from(chunk.len()).unwrap();
        }
        let split_offset = u64::try_from(data.len()).unwrap();
        prefixes.sort_unstable();
        let count = u32::try_from(prefixes.len()).unwrap();
        for (prefix, ordinal) in prefixes {
            data.extend(prefix.to_be_bytes());
            data.extend(ordinal.to_be_bytes());
        }
        data.extend(lengths.into_iter().flat_map(u32::to_be_bytes));
        data.extend(&suffixes);
        data.extend(count.to_be_bytes());
        data.extend(uncompressed.to_be_bytes());
        data.extend(MAGIC);
        let id = sha2::Sha512::digest(&suffixes);
        Self {
            id: Bytes::copy_from_slice(&id[..20]),
            bytes: data.into(),
            chunks: count,
            suffix: "",
            split_offset,
        }
    }

    /// An archive, version 3: every second chunk as a zstd frame with a common dictionary, the others with snappy.
    pub fn archive<'c>(chunks: impl IntoIterator<Item = &'c Bytes>) -> Self {
        let chunks = chunks.into_iter();
        Self::archive_under(chunks.map(|chunk| (address_of(chunk), chunk)))
    }

    /// Such an archive of chunks under addresses that may be others'.
    pub fn archive_under<'c>(chunks: impl IntoIterator<Item = (ChunkAddress, &'c Bytes)>) -> Self {
        let chunks: BTreeMap<ChunkAddress, &Bytes> = chunks.into_iter().collect();
        let samples: Vec<&[u8]> = chunks.values().map(|chunk| &chunk[..]).collect();
        let dictionary = zstd::dict::from_samples(&samples, 4096)
            .expect("there are enough samples for a dictionary");
        let mut frames = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();

        let mut file = zstd::encode_all(&dictionary[..], 3).unwrap();
        let mut ends = vec![u64::try_from(file.len()).unwrap()];
        let (mut prefixes, mut references, mut suffixes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (address, chunk)) in chunks.iter().enumerate() {
            let dictionary_span = u32::try_from(index % 2).unwrap();
            match dictionary_span {
                0 => file.extend(snappy_record(chunk)),
                _ => file.extend(frames.compress(chunk).unwrap()),
            }
            ends.push(u64::try_from(file.len()).unwrap());
            prefixes.extend(address.prefix().to_be_bytes());
            references.extend(dictionary_span.to_be_bytes());
            references.extend(u32::try_from(ends.len()).unwrap().to_be_bytes());
            suffixes.extend(address.suffix());
        }
        let split_offset = u64::try_from(file.len()).unwrap();
        let count = u32::try_from(chunks.len()).unwrap();
        let index: Vec<u8> = ends
            .iter()
            .flat_map(|end| end.to_be_bytes())
            .chain(prefixes)
            .chain(references)
            .chain(suffixes)
            .collect();
        let metadata = br#"{"dolt_version":"2.3.1"}"#;
        file.extend(&index);
        file.extend(metadata);
        file.extend(u64::try_from(index.len()).unwrap().to_be_bytes());
        for number in [
            u32::try_from(ends.len()).unwrap(),
            count,
            u32::try_from(metadata.len()).unwrap(),
        ] {
            file.extend(number.to_be_bytes());
        }
        file.extend([0; 3 * 64]);
        file.push(3);
        file.extend(b"DOLTARC");
        let id = sha2::Sha512::digest(&file);
        Self {
            id: Bytes::copy_from_slice(&id[..20]),
            bytes: file.into(),
            chunks: count,
            suffix: ".darc",
            split_offset,
        }
    }

    /// A file that exists already, under its name in base 32.
    pub fn known(name: &str, bytes: Bytes) -> Self {
        let id: TableFileId = name.parse().unwrap();
        let classic = is_classic(&bytes);
        Self {
            id: Bytes::copy_from_slice(id.as_bytes()),
            chunks: count(&bytes),
            suffix: if classic { "" } else { ".darc" },
            split_offset: 0,
            bytes,
        }
    }

    /// The MD5 of its bytes.
    pub fn md5(&self) -> Bytes {
        Bytes::copy_from_slice(&md5::Md5::digest(&self.bytes))
    }

    /// Its name in base 32, without a suffix.
    pub fn name(&self) -> String {
        TableFileId::try_from(&self.id[..]).unwrap().to_string()
    }
}

/// A chunk as classic table files hold it.
fn snappy_record(chunk: &[u8]) -> Vec<u8> {
    let mut record = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
    let checksum = crc32c::crc32c(&record);
    record.extend(checksum.to_be_bytes());
    record
}

/// Unpacks a snappy block with its checksum.
pub fn read_record(record: &[u8]) -> Bytes {
    let (block, checksum) = record.split_at(record.len() - 4);
    assert_eq!(
        checksum,
        crc32c::crc32c(block).to_be_bytes(),
        "the checksum of a block"
    );
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .unwrap()
        .into()
}

/// Unpacks a zstd frame with the packed dictionary that it was made with.
pub fn read_frame(frame: &[u8], packed_dictionary: &[u8]) -> Bytes {
    let dictionary = zstd::decode_all(packed_dictionary).expect("a dictionary is plain zstd");
    let mut decoder = zstd::stream::read::Decoder::with_dictionary(frame, &dictionary).unwrap();
    let mut chunk = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut chunk).unwrap();
    chunk.into()
}
