use std::collections::BTreeMap;
use std::io::Write as _;

use holdfast_chunkstore::format::archive::{self, StoredDictionary};
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::sort::SortOptions;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use super::CheckError;
use super::file::{check_file, check_whole_file, check_with};

/// A file of two chunks, the second of which stands under `address`.
fn pair(kind: FileKind, address: ChunkAddress) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let honest = hash_chunk(b"honest");
    match kind {
        FileKind::Table => {
            let mut writer = table::Writer::new(file.reopen().unwrap());
            writer.append_chunk(honest, b"honest").unwrap();
            writer.append_chunk(address, b"other").unwrap();
            writer.finish().unwrap();
        }
        FileKind::Archive => {
            let mut writer = archive::Writer::new(file.reopen().unwrap());
            writer.append_chunk(honest, b"honest").unwrap();
            writer.append_chunk(address, b"other").unwrap();
            writer.finish(&BTreeMap::default()).unwrap();
        }
    }
    file
}

#[tokio::test]
async fn a_chunk_that_is_not_what_it_stands_under_is_named() {
    let pool = BlockingPool::new(2);
    let spill = std::env::temp_dir();
    for kind in [FileKind::Table, FileKind::Archive] {
        let honest = pair(kind, hash_chunk(b"other"));
        let count = check_file(honest.path(), kind, &spill, &pool).await;
        assert_eq!(count.unwrap(), 2);
        let claimed = ChunkAddress::new([7; 20]);
        let damaged = pair(kind, claimed);
        let checked = check_file(damaged.path(), kind, &spill, &pool).await;
        let error = checked.unwrap_err();
        let CheckError::Address { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(source.claimed, claimed);
        assert_eq!(source.actual, hash_chunk(b"other"));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// How many chunks are in a large file: more than fit into one piece.
const MANY: u32 = 40_000;

/// Which chunk of a large file is damaged.
const DAMAGED: u32 = 33_333;

fn chunk(number: u32) -> Vec<u8> {
    format!("chunk {number}").into_bytes()
}

/// A file of many chunks: a table file, or an archive in which every other chunk has a dictionary.
fn many(kind: FileKind, mut address: impl FnMut(u32) -> ChunkAddress) -> Vec<u8> {
    let contents: Vec<u8> = (0..2000).flat_map(chunk).collect();
    let dictionaries = [&contents[..9000], &contents[9000..]]
        .map(|bytes| StoredDictionary::new(zstd::bulk::compress(bytes, 1).unwrap()).unwrap());
    let mut frames = [&contents[..9000], &contents[9000..]]
        .map(|bytes| zstd::bulk::Compressor::with_dictionary(1, bytes).unwrap());
    match kind {
        FileKind::Table => {
            let mut writer = table::Writer::new(Vec::new());
            for number in 0..MANY {
                let appended = writer.append_chunk(address(number), &chunk(number));
                appended.unwrap();
            }
            writer.finish().unwrap().0
        }
        FileKind::Archive => {
            let mut writer = archive::Writer::new(Vec::new());
            for number in 0..MANY {
                let (address, chunk) = (address(number), chunk(number));
                if number % 2 == 0 {
                    writer.append_chunk(address, &chunk).unwrap();
                    continue;
                }
                let which = usize::from(number % 4 == 1);
                let frame = frames[which].compress(&chunk).unwrap();
                let dictionary = &dictionaries[which];
                writer.append_frame(address, &frame, dictionary).unwrap();
            }
            writer.finish(&BTreeMap::default()).unwrap().0
        }
    }
}

async fn check_bytes(kind: FileKind, bytes: &[u8]) -> Result<u32, CheckError> {
    let directory = tempfile::tempdir().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let sort = SortOptions {
        directory: directory.path().to_owned(),
        memory_bytes: 1 << 10,
        room: None,
    };
    check_with(file.path(), kind, sort, &BlockingPool::new(4)).await
}

#[tokio::test]
async fn an_index_that_does_not_fit_into_memory_is_checked_whole() {
    for kind in [FileKind::Table, FileKind::Archive] {
        let honest = many(kind, |number| hash_chunk(&chunk(number)));
        assert_eq!(check_bytes(kind, &honest).await.unwrap(), MANY);
        let claimed = ChunkAddress::new([7; 20]);
        let damaged = many(kind, |number| match number {
            DAMAGED => claimed,
            number => hash_chunk(&chunk(number)),
        });
        let error = check_bytes(kind, &damaged).await.unwrap_err();
        let CheckError::Address { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(source.claimed, claimed);
        assert_eq!(source.actual, hash_chunk(&chunk(DAMAGED)));
    }
}

#[tokio::test]
async fn a_chunk_that_cannot_be_decoded_is_named() {
    let mut bytes = many(FileKind::Table, |number| hash_chunk(&chunk(number)));
    let (_, index) = table::Index::decode_file(&bytes).unwrap();
    let address = hash_chunk(&chunk(DAMAGED));
    let at = usize::try_from(index.get(address).unwrap().data.offset).unwrap();
    bytes[at + 3] ^= 1;
    let error = check_bytes(FileKind::Table, &bytes).await.unwrap_err();
    assert!(
        matches!(&error, CheckError::Chunk { address: named, .. } if *named == address),
        "{error:?}",
    );
}

#[tokio::test]
async fn an_index_that_does_not_fill_the_data_is_refused() {
    for kind in [FileKind::Table, FileKind::Archive] {
        let mut bytes = many(kind, |number| hash_chunk(&chunk(number)));
        // One byte of data more than the index tells of.
        bytes.insert(0, 0);
        let error = check_bytes(kind, &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

#[tokio::test]
async fn no_room_for_the_index_is_not_a_damage() {
    let bytes = many(FileKind::Table, |number| hash_chunk(&chunk(number)));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let sort = SortOptions {
        directory: file.path().join("nowhere"),
        memory_bytes: 1 << 10,
        room: None,
    };
    let pool = BlockingPool::new(1);
    let checked = check_with(file.path(), FileKind::Table, sort, &pool).await;
    let error = checked.unwrap_err();
    assert!(matches!(error, CheckError::Sort { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

/// Which chunks of a large file are damaged where several are: two of one piece, one of another, and the last.
const SEVERAL: [u32; 4] = [7, 8, DAMAGED, MANY - 1];

#[tokio::test]
async fn every_damaged_chunk_is_named_and_the_others_count() {
    for kind in [FileKind::Table, FileKind::Archive] {
        let claimed = |number: u32| ChunkAddress::new([u8::try_from(number % 251).unwrap(); 20]);
        let bytes = many(kind, |number| match SEVERAL.contains(&number) {
            true => claimed(number),
            false => hash_chunk(&chunk(number)),
        });
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let pool = BlockingPool::new(4);
        let checked = check_whole_file(file.path(), kind, &std::env::temp_dir(), &pool).await;
        let checked = checked.unwrap();
        assert_eq!(checked.sound(), u64::from(MANY) - 4);
        let mut named: Vec<_> = (checked.problems.iter())
            .map(|problem| match problem {
                CheckError::Address { source, .. } => source.claimed,
                other => panic!("{other:?}"),
            })
            .collect();
        let mut wanted = SEVERAL.map(claimed).to_vec();
        named.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(named, wanted);
    }
}

#[tokio::test]
async fn a_chunk_that_cannot_be_decoded_hides_none_behind_it() {
    let mut bytes = many(FileKind::Table, |number| hash_chunk(&chunk(number)));
    let (_, index) = table::Index::decode_file(&bytes).unwrap();
    for number in SEVERAL {
        let span = index.get(hash_chunk(&chunk(number))).unwrap().data;
        bytes[usize::try_from(span.offset).unwrap() + 3] ^= 1;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let (spill, pool) = (std::env::temp_dir(), BlockingPool::new(4));
    let checked = check_whole_file(file.path(), FileKind::Table, &spill, &pool).await;
    let named: Vec<_> = (checked.unwrap().problems.iter())
        .map(|problem| match problem {
            CheckError::Chunk { address, .. } => *address,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(named, SEVERAL.map(|number| hash_chunk(&chunk(number))));
}

#[tokio::test]
async fn a_damaged_index_is_a_damage_of_the_file() {
    let honest = many(FileKind::Table, |number| hash_chunk(&chunk(number)));
    let (spill, pool) = (std::env::temp_dir(), BlockingPool::new(2));
    // The magic number of the footer, and a length in the index.
    for behind in [1, honest.len() / 3] {
        let mut bytes = honest.clone();
        let at = bytes.len() - behind;
        bytes[at] ^= 0x40;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let checked = check_whole_file(file.path(), FileKind::Table, &spill, &pool).await;
        match checked {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}"),
            Ok(checked) => assert!(!checked.problems.is_empty(), "{behind}"),
        }
    }
}
