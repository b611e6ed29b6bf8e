//! No thread of the runtime waits for a file, also where what is sorted does not fit into memory.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::local::{LocalOptions, LocalStore};
use holdfast_chunkstore::pool::forbid_blocking;
use holdfast_chunkstore::repo::verify::{Stage, VerifyProgress};
use holdfast_chunkstore::repo::{Committed, FileKind, Proposal, Repository, View};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

/// So little that all sets lie on disk.
const SORT_MEMORY_BYTES: usize = 2_000;

struct Quiet;

impl VerifyProgress for Quiet {
    fn done(&self, _stage: Stage, _done: u64, _of: u64) {}
}

/// A new server with an empty index.
async fn serve(folder: &Path, number: u64) -> Repository {
    let store = LocalStore::open(&folder.join("store"), LocalOptions::default()).await;
    let spool = folder.join(format!("spool-{number}"));
    let mut parts = parts(Arc::new(store.unwrap()), &spool, number);
    let spool = (*parts.spool).clone();
    parts.spool = Arc::new(spool.with_sort_memory(SORT_MEMORY_BYTES));
    acme(parts).await
}

/// A file of leaves, and one of a root over them, which leave it in great number.
fn two_files(salt: u64, kind: FileKind) -> ([Made; 2], RootAddress) {
    let leaves: Vec<Vec<u8>> = (0..300)
        .map(|leaf| format!("leaf {leaf} of {salt}").into_bytes())
        .collect();
    let children: Vec<ChunkAddress> = leaves.iter().map(|leaf| hash_chunk(leaf)).collect();
    let root = parent(salt, &children);
    let address = root_of(&root);
    let made = match kind {
        FileKind::Table => [table_file_of(leaves), table_file_of(vec![root])],
        FileKind::Archive => [
            archive_of(leaves, Compression::Mixed),
            archive_of(vec![root], Compression::Snappy),
        ],
    };
    (made, address)
}

async fn push(repository: &Repository, salt: u64, kind: FileKind) {
    let (made, root) = two_files(salt, kind);
    let [lower, upper] = &made;
    // The root first: that its children leave it is written down.
    for made in [upper, lower] {
        upload(repository, made, kind).await.unwrap();
    }
    let proposal = Proposal {
        last: repository.state().await.unwrap().root,
        current: root,
        files: made.iter().map(named).collect(),
        actor: actor(),
    };
    let committed = repository.commit(&proposal).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

#[tokio::test]
async fn no_thread_of_the_runtime_waits_for_a_file() {
    let folder = TempDir::new().unwrap();
    let repository = serve(folder.path(), 1).await;
    let another = serve(folder.path(), 2).await;
    forbid_blocking();
    push(&repository, 100, FileKind::Archive).await;
    for salt in 0..16 {
        push(&repository, salt, FileKind::Table).await;
    }
    // It reads the files into its index.
    let leaf = [hash_chunk(b"leaf 7 of 7"), hash_chunk(b"nothing")];
    assert_eq!(another.absent(&leaf).await.unwrap(), [false, true]);
    repository.listing(View::Classic).await.unwrap();
    repository.merge().await.unwrap().unwrap();
    let report = repository.verify(&Quiet).await;
    assert_eq!(report.findings, []);
}
