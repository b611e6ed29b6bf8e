//! Reads of chunks that are long, and of which hardly anything is stored.

use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::{FileKind, ReadChunks as _, Repository};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parts, upload};
use tempfile::TempDir;

const LONG: usize = 4 << 20;

fn long(salt: u8) -> Vec<u8> {
    let mut chunk = vec![0; LONG];
    chunk[0] = salt;
    chunk
}

async fn add(repository: &Repository, made: &Made, kind: FileKind) {
    upload(repository, made, kind).await.unwrap();
    repository.add(&[named(made)], &actor()).await.unwrap();
}

#[tokio::test]
async fn no_more_is_read_at_once_than_may_be_in_memory() {
    let objects = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(objects, scratch.path(), 1)).await;
    let table = table_file_of((0..7).map(long).collect());
    let archive = archive_of((7..14).map(long).collect(), Compression::Zstd);
    add(&repository, &table, FileKind::Table).await;
    add(&repository, &archive, FileKind::Archive).await;
    let chunks = table.chunks.iter().chain(&archive.chunks);
    let mut addresses: Vec<ChunkAddress> = chunks.map(|(address, _)| *address).collect();
    addresses.insert(3, ChunkAddress::new([1; 20]));
    for _ in 0..2 {
        let mut rest = &addresses[..];
        while !rest.is_empty() {
            let read = repository.read_chunks(rest).await.unwrap();
            let bytes: usize = read.iter().flatten().map(bytes::Bytes::len).sum();
            assert!(!read.is_empty() && bytes <= 5 * LONG, "{bytes}");
            for (address, chunk) in rest.iter().zip(&read) {
                let is_absent = *address == ChunkAddress::new([1; 20]);
                assert_eq!(chunk.is_none(), is_absent, "{address}");
            }
            rest = &rest[read.len()..];
        }
        addresses.reverse();
    }
    let heads = repository.read_heads(&addresses, 3).await.unwrap();
    assert_eq!(heads.len(), addresses.len());
    assert!(heads.iter().flatten().all(|head| head.len() == 3));
}
