//! A repository as its callers see it.

use std::sync::Arc;

use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::{
    Act, Committed, FileKind, Proposal, ReadChunks as _, Repository, RepositoryError, View,
};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

use crate::racing::Racing;

struct World {
    repository: Repository,
    objects: Arc<dyn ObjectStore>,
    scratch: TempDir,
}

async fn world() -> World {
    let objects: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(Arc::clone(&objects), scratch.path(), 1)).await;
    World {
        repository,
        objects,
        scratch,
    }
}

/// A push of one file: `leaves` chunks and a root over them.
fn tree(salt: u64, leaves: u64) -> (Made, RootAddress) {
    let mut chunks: Vec<Vec<u8>> = (0..leaves)
        .map(|leaf| format!("leaf {salt} {leaf}").into_bytes())
        .collect();
    let children: Vec<ChunkAddress> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let root = parent(salt, &children);
    let address = root_of(&root);
    chunks.push(root);
    (table_file_of(chunks), address)
}

fn proposal(last: RootAddress, current: RootAddress, files: &[&Made]) -> Proposal {
    Proposal {
        last,
        current,
        files: files.iter().map(|made| named(made)).collect(),
        actor: actor(),
    }
}

async fn push(repository: &Repository, salt: u64, last: RootAddress) -> RootAddress {
    let (made, root) = tree(salt, 3);
    upload(repository, &made, FileKind::Table).await.unwrap();
    let committed = repository
        .commit(&proposal(last, root, &[&made]))
        .await
        .unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
    root
}

#[tokio::test]
async fn what_is_pushed_is_there_and_what_is_only_uploaded_is_absent() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let (made, root) = tree(1, 10);
    let addresses: Vec<ChunkAddress> = made.chunks.iter().map(|(address, _)| *address).collect();
    upload(&repository, &made, FileKind::Table).await.unwrap();
    assert!(
        repository
            .absent(&addresses)
            .await
            .unwrap()
            .iter()
            .all(|absent| *absent)
    );
    repository.add(&[named(&made)], &actor()).await.unwrap();
    assert!(!repository.absent(&addresses).await.unwrap().contains(&true));
    assert_eq!(repository.state().await.unwrap().root, RootAddress::ZERO);
    repository
        .commit(&proposal(RootAddress::ZERO, root, &[]))
        .await
        .unwrap();
    assert_eq!(repository.state().await.unwrap().root, root);
    let read = repository.read_chunks(&addresses).await.unwrap();
    let stored: Vec<_> = made
        .chunks
        .iter()
        .map(|(_, chunk)| Some(chunk.clone().into()))
        .collect();
    assert_eq!(read, stored);
}

#[tokio::test]
async fn a_reference_to_nothing_is_refused_also_on_the_first_push() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let nowhere = ChunkAddress::new([7; 20]);
    let root = parent(1, &[nowhere]);
    let made = table_file_of(vec![root.clone()]);
    upload(&repository, &made, FileKind::Table).await.unwrap();
    let error = repository.add(&[named(&made)], &actor()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Dangling { count: 1, first, .. } if first == nowhere));
    assert_eq!(error.kind(), ErrorKind::Dangling);
    let error = repository
        .commit(&proposal(RootAddress::ZERO, root_of(&root), &[&made]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dangling);
    assert_eq!(repository.state().await.unwrap().sequence, 0);
}

#[tokio::test]
async fn files_of_one_batch_may_refer_to_each_other_however_many_references_leave() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let leaves: Vec<Vec<u8>> = (0..3000)
        .map(|leaf| format!("leaf {leaf}").into_bytes())
        .collect();
    let children: Vec<ChunkAddress> = leaves.iter().map(|chunk| hash_chunk(chunk)).collect();
    let root = parent(1, &children);
    let (upper, lower) = (table_file_of(vec![root.clone()]), table_file_of(leaves));
    upload(&repository, &upper, FileKind::Table).await.unwrap();
    assert!(repository.add(&[named(&upper)], &actor()).await.is_err());
    upload(&repository, &lower, FileKind::Table).await.unwrap();
    repository
        .add(&[named(&upper), named(&lower)], &actor())
        .await
        .unwrap();
    repository
        .commit(&proposal(RootAddress::ZERO, root_of(&root), &[]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stale_commit_adds_its_files_and_leaves_the_root() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let first = push(&repository, 1, RootAddress::ZERO).await;
    let (made, root) = tree(2, 3);
    upload(&repository, &made, FileKind::Table).await.unwrap();
    let stale = repository
        .commit(&proposal(RootAddress::ZERO, root, &[&made]))
        .await
        .unwrap();
    assert_eq!(stale, Committed::Stale);
    let state = repository.state().await.unwrap();
    assert_eq!((state.root, state.files.len()), (first, 2));
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_succeeds_again_even_when_others_moved_on() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let first = push(&repository, 1, RootAddress::ZERO).await;
    let repeated = proposal(RootAddress::ZERO, first, &[]);
    assert_eq!(
        repository.commit(&repeated).await.unwrap(),
        Committed::Already
    );
    let second = push(&repository, 2, first).await;
    assert_eq!(
        repository.commit(&repeated).await.unwrap(),
        Committed::Already
    );
    assert_eq!(repository.state().await.unwrap().root, second);
    let mut invented = repeated.clone();
    invented.last = RootAddress::new([5; 20]);
    let stale = repository.commit(&invented).await.unwrap();
    assert_eq!(
        stale,
        Committed::Stale,
        "nothing ever moved from a root that never was"
    );
    let mut foreign = repeated;
    foreign.actor.name = "somebody else".to_owned();
    assert_eq!(repository.commit(&foreign).await.unwrap(), Committed::Stale);
}

#[tokio::test]
async fn a_root_must_be_there_and_be_a_root() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let first = push(&repository, 1, RootAddress::ZERO).await;
    let absent = RootAddress::new([3; 20]);
    let error = repository
        .commit(&proposal(first, absent, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::RootAbsent { .. }));
    let leaf = RootAddress::from(hash_chunk(b"leaf 1 0"));
    let error = repository
        .commit(&proposal(first, leaf, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::RootRefused { .. }));
    let error = repository
        .commit(&proposal(first, RootAddress::ZERO, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::RootRefused { .. }));
    assert_eq!(repository.state().await.unwrap().root, first);
}

#[tokio::test]
async fn a_file_that_was_never_sent_cannot_be_added() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let (made, _) = tree(1, 1);
    let error = repository.add(&[named(&made)], &actor()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotUploaded { .. }));
    upload(&repository, &made, FileKind::Table).await.unwrap();
    let mut wrong = named(&made);
    wrong.chunks += 1;
    let error = repository.add(&[wrong], &actor()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::ChunkCount { .. }));
}

#[tokio::test]
async fn small_files_are_merged_and_everything_is_still_found() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let mut root = RootAddress::ZERO;
    for salt in 1..=33 {
        root = push(&repository, salt, root).await;
    }
    let merged = repository.merge().await.unwrap().unwrap();
    assert_eq!(merged.parts, 33);
    assert_eq!(repository.merge().await.unwrap(), None);
    let state = repository.state().await.unwrap();
    assert_eq!(
        (state.root, state.files.len(), state.retired.len()),
        (root, 1, 33)
    );
    for salt in 1..=33 {
        let (made, _) = tree(salt, 3);
        let addresses: Vec<ChunkAddress> =
            made.chunks.iter().map(|(address, _)| *address).collect();
        assert!(
            !repository.absent(&addresses).await.unwrap().contains(&true),
            "{salt}"
        );
        repository.add(&[named(&made)], &actor()).await.unwrap();
    }
}

#[tokio::test]
async fn old_clients_see_archives_as_table_files() {
    let World {
        repository,
        objects: _objects,
        scratch: _scratch,
    } = world().await;
    let (made, root) = tree(1, 50);
    let chunks: Vec<Vec<u8>> = made.chunks.into_iter().map(|(_, chunk)| chunk).collect();
    let archive = archive_of(chunks, Compression::Snappy);
    upload(&repository, &archive, FileKind::Archive)
        .await
        .unwrap();
    repository
        .commit(&proposal(RootAddress::ZERO, root, &[&archive]))
        .await
        .unwrap();
    let [current, classic] = [View::Current, View::Classic];
    let listed = repository.listing(current).await.unwrap();
    assert_eq!(listed.files[0].file.kind, FileKind::Archive);
    let listed = repository.listing(classic).await.unwrap();
    assert_eq!(
        (
            listed.root,
            listed.files[0].file.kind,
            listed.files[0].file.chunks
        ),
        (root, FileKind::Table, 51)
    );
    let addresses: Vec<ChunkAddress> = archive.chunks.iter().map(|(address, _)| *address).collect();
    let located = repository.locate(&addresses, classic).await.unwrap();
    assert!(
        located
            .places
            .iter()
            .all(|place| place.is_some_and(|place| place.span.dictionary.is_none()))
    );
    assert_eq!(located.files, listed.files);
    let name = listed.files[0].key.name();
    assert_eq!(
        repository.served(name).await.unwrap().as_ref(),
        Some(&listed.files[0])
    );
}

#[tokio::test]
async fn another_server_on_the_same_store_goes_on_where_the_first_stopped() {
    let World {
        repository,
        objects,
        scratch,
    } = world().await;
    let mut root = RootAddress::ZERO;
    for salt in 1..=300 {
        root = push(&repository, salt, root).await;
    }
    let elsewhere = TempDir::new_in(scratch.path()).unwrap();
    let other = acme(parts(objects, elsewhere.path(), 2)).await;
    let state = other.state().await.unwrap();
    assert_eq!((state.sequence, state.root), (300, root));
    let next = push(&other, 301, root).await;
    assert_eq!(repository.state().await.unwrap().root, next);
    let after = push(&repository, 302, next).await;
    assert_eq!(other.state().await.unwrap().root, after);
    let record = other.history(302).await.unwrap().unwrap();
    assert_eq!(
        (record.act, record.old_root, record.new_root),
        (Act::Push, next, after)
    );
}

#[tokio::test]
async fn a_file_that_another_server_has_just_added_is_found_by_its_name() {
    let World {
        repository,
        objects,
        scratch,
    } = world().await;
    let root = push(&repository, 1, RootAddress::ZERO).await;
    let elsewhere = TempDir::new_in(scratch.path()).unwrap();
    let other = acme(parts(objects, elsewhere.path(), 2)).await;
    assert_eq!(other.state().await.unwrap().root, root);
    push(&repository, 2, root).await;
    for served in repository.listing(View::Current).await.unwrap().files {
        let found = other.served(served.key.name()).await.unwrap();
        assert_eq!(found, Some(served));
    }
}

#[tokio::test]
async fn two_servers_that_write_at_once_lose_no_push() {
    let World {
        repository,
        objects,
        scratch,
    } = world().await;
    let elsewhere = [1, 2].map(|_| TempDir::new_in(scratch.path()).unwrap());
    let racers = Racing::pair(&objects);
    let [one, two] = [0, 1].map(|number| {
        let objects = Arc::clone(&racers[number]);
        acme(parts(objects, elsewhere[number].path(), number as u64 + 2))
    });
    let (one, two) = (one.await, two.await);
    let write = |repository: Repository, base: u64| async move {
        for salt in base..base + 20 {
            let (made, root) = tree(salt, 2);
            upload(&repository, &made, FileKind::Table).await.unwrap();
            loop {
                let last = repository.state().await.unwrap().root;
                match repository
                    .commit(&proposal(last, root, &[&made]))
                    .await
                    .unwrap()
                {
                    Committed::Moved(_) | Committed::Already => break,
                    Committed::Stale => {}
                }
            }
        }
    };
    let first = tokio::spawn(write(one, 1000));
    let second = tokio::spawn(write(two, 2000));
    first.await.unwrap();
    second.await.unwrap();
    let lost: usize = racers.iter().map(|racer| racer.lost()).sum();
    assert!(lost > 0, "no record met one of the other server");
    let mut roots = std::collections::HashSet::new();
    let state = repository.state().await.unwrap();
    for sequence in 1..=state.sequence {
        let record = repository.history(sequence).await.unwrap().unwrap();
        if record.act == Act::Push {
            roots.insert(record.new_root);
        }
    }
    for salt in (1000..1020).chain(2000..2020) {
        assert!(roots.contains(&tree(salt, 2).1), "{salt}");
    }
}
