//! Classic twins: lost ones are made again, of two the one that is noted counts, and nobody else waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::record::digest;
use holdfast_chunkstore::repo::{
    Committed, FileKind, Proposal, Repository, ServedFile, View, layout,
};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

use crate::forward::Forward;
use crate::gated::Gated;

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

fn tree(salt: u64) -> (Vec<Vec<u8>>, RootAddress) {
    let leaf = format!("leaf {salt}").into_bytes();
    let root = parent(salt, &[hash_chunk(&leaf)]);
    let address = root_of(&root);
    (vec![leaf, root], address)
}

fn proposal(last: RootAddress, current: RootAddress, made: &Made) -> Proposal {
    Proposal {
        last,
        current,
        files: vec![named(made)],
        actor: actor(),
    }
}

/// Pushes one archive and returns the root.
async fn push_archive(repository: &Repository) -> RootAddress {
    let (chunks, root) = tree(1);
    let archive = archive_of(chunks, Compression::Snappy);
    upload(repository, &archive, FileKind::Archive)
        .await
        .unwrap();
    let proposal = proposal(RootAddress::ZERO, root, &archive);
    let committed = repository.commit(&proposal).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
    root
}

/// The one twin there is, which is stored as its note says.
async fn twin(repository: &Repository, objects: &Arc<dyn ObjectStore>) -> ServedFile {
    let listing = repository.listing(View::Classic).await.unwrap();
    let [twin] = listing.files.as_slice() else {
        panic!("one archive, one twin: {listing:?}");
    };
    assert_eq!(twin.file.kind, FileKind::Table);
    let bytes = objects.read(&twin.key, None, 1 << 20).await.unwrap();
    assert_eq!(digest(&bytes), twin.file.sha256);
    let (chunks, _) = tree(1);
    let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let located = repository.locate(&addresses, View::Classic).await.unwrap();
    assert!(located.places.iter().all(Option::is_some));
    assert_eq!(located.files, std::slice::from_ref(twin));
    assert_eq!(
        repository.served(twin.key.name()).await.unwrap().as_ref(),
        Some(twin)
    );
    twin.clone()
}

#[tokio::test]
async fn a_lost_twin_is_made_again() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let clock = Arc::new(Forward::default());
    let mut own = parts(Arc::clone(&objects), scratch.path(), 1);
    own.clock = Arc::<Forward>::clone(&clock);
    let repository = acme(own).await;
    push_archive(&repository).await;
    let first = twin(&repository, &objects).await;

    objects.delete(&first.key).await.unwrap();
    clock.jump(Duration::from_mins(2));
    let second = twin(&repository, &objects).await;
    assert_ne!(second.key, first.key);
    assert_eq!(repository.served(first.key.name()).await.unwrap(), None);

    // Cut off, as no store should leave it.
    objects.delete(&second.key).await.unwrap();
    objects
        .create(&second.key, Bytes::from("short"))
        .await
        .unwrap();
    let elsewhere = TempDir::new().unwrap();
    let other = acme(parts(Arc::clone(&objects), elsewhere.path(), 2)).await;
    let third = twin(&other, &objects).await;
    assert_ne!(third.key, second.key);

    let archive = *other.state().await.unwrap().files.keys().next().unwrap();
    let note = layout::twin_note(other.pool(), archive, 3);
    objects.overwrite(&note, Bytes::from("{")).await.unwrap();
    clock.jump(Duration::from_mins(2));
    let fourth = twin(&repository, &objects).await;
    assert_ne!(fourth.key, third.key);
    let elsewhere = TempDir::new().unwrap();
    let other = acme(parts(Arc::clone(&objects), elsewhere.path(), 3)).await;
    assert_eq!(twin(&other, &objects).await, fourth);
}

#[tokio::test]
async fn of_two_servers_that_make_a_twin_at_once_one_is_right() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let gated = Gated::new(&objects, "/derived/");
    let mut servers = Vec::new();
    for seed in 1..=2 {
        let spool = scratch.path().join(seed.to_string());
        servers.push(acme(parts(Arc::<Gated>::clone(&gated), &spool, seed)).await);
    }
    push_archive(&servers[0]).await;
    let opened = async {
        gated.until_waiting(2).await;
        gated.open(2);
    };
    let (first, second, ()) = tokio::join!(
        twin(&servers[0], &objects),
        twin(&servers[1], &objects),
        opened
    );
    assert_eq!(first, second);
    let derived = layout::derived(servers[0].pool());
    let kept = objects.list_all(&derived).await.unwrap();
    assert_eq!(kept.len(), 2, "a twin and its note: {kept:?}");
}

#[tokio::test]
async fn who_pushes_does_not_wait_until_a_twin_is_made() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let first = acme(parts(Arc::clone(&objects), &scratch.path().join("1"), 1)).await;
    let root = push_archive(&first).await;
    let gated = Gated::new(&objects, "/derived/");
    let second = parts(Arc::<Gated>::clone(&gated), &scratch.path().join("2"), 2);
    let second = acme(second).await;

    // The index of the second server lacks what was sent to the first.
    let (chunks, next) = tree(2);
    let made = table_file_of(chunks);
    upload(&first, &made, FileKind::Table).await.unwrap();
    let push = async {
        gated.until_waiting(1).await;
        let committed = second.commit(&proposal(root, next, &made)).await.unwrap();
        assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
        gated.open(1);
    };
    let both = async { tokio::join!(second.listing(View::Classic), push) };
    let within = tokio::time::timeout(Duration::from_secs(60), Box::pin(both)).await;
    let (listed, ()) = within.expect("the push waits for the twin");
    assert_eq!(listed.unwrap().root, root);
}
