//! One id means one file: a clone asks for files by their ids alone.

use std::sync::Arc;

use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::id::IdSource;
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::log::{Appended, Deletions, Draft, Log};
use holdfast_chunkstore::repo::verify::{Damage, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{
    Act, Committed, FileKind, Proposal, Repository, RepositoryError, UploadFailure, View,
};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

struct Quiet;

impl VerifyProgress for Quiet {
    fn done(&self, _stage: Stage, _done: u64, _of: u64) {}
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

/// Two archives of one id: one of leaves, and one of a root over some leaves of its own.
fn two_of_one_id() -> (Made, Made, RootAddress) {
    let leaves = |salt: u64| -> Vec<Vec<u8>> {
        let leaf = |leaf| format!("leaf {leaf} of {salt}").into_bytes();
        (0..5).map(leaf).collect()
    };
    let one = archive_of(leaves(1), Compression::Snappy);
    let mut chunks = leaves(2);
    let children: Vec<ChunkAddress> = chunks.iter().map(|leaf| hash_chunk(leaf)).collect();
    let root = parent(2, &children);
    let address = root_of(&root);
    chunks.extend([root, b"one more".to_vec()]);
    let mut other = archive_of(chunks, Compression::Snappy);
    other.written.id = one.written.id;
    (one, other, address)
}

async fn send(repository: &Repository, files: [&Made; 2]) {
    for made in files {
        upload(repository, made, FileKind::Archive).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_names_two_files_by_one_id_is_refused() {
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(store(), scratch.path(), 1)).await;
    let (one, other, root) = two_of_one_id();
    send(&repository, [&one, &other]).await;
    let both = [named(&one), named(&other)];
    let refused = repository.add(&both, &actor()).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::NamedTwice { id, chunks: 5, other: 7 } if id == one.written.id),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorKind::Invalid, "asking again is no use");
    let proposal = Proposal {
        last: RootAddress::ZERO,
        current: root,
        files: both.to_vec(),
        actor: actor(),
    };
    let refused = repository.commit(&proposal).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NamedTwice { .. }));
    assert_eq!(repository.state().await.unwrap().sequence, 0);

    // One of them alone is welcome, also when it is named twice; then the other is not.
    let twice = [named(&one), named(&one)];
    repository.add(&twice, &actor()).await.unwrap();
    assert_eq!(repository.state().await.unwrap().files.len(), 1);
    let refused = repository
        .add(&[named(&other)], &actor())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, RepositoryError::ChunkCount { .. }),
        "{refused:?}"
    );
    assert!(repository.add(&both, &actor()).await.is_err());
    assert_eq!(repository.state().await.unwrap().files.len(), 1);
}

fn leaves(salt: u64) -> Vec<Vec<u8>> {
    let leaf = |leaf| format!("leaf {leaf} of {salt}").into_bytes();
    (0..5).map(leaf).collect()
}

#[tokio::test]
async fn what_comes_under_the_id_of_a_named_file_holds_its_chunks_or_is_refused() {
    let table = table_file_of(leaves(1));
    let with_id = |mut made: Made| {
        made.written.id = table.written.id;
        made
    };
    let archive = |salt, compression| with_id(archive_of(leaves(salt), compression));
    let fewer = with_id(archive_of(leaves(1)[1..].to_vec(), Compression::Snappy));
    let squatting = archive(2, Compression::Snappy);
    for (first, kind) in [(&table, FileKind::Table), (&squatting, FileKind::Archive)] {
        let scratch = TempDir::new().unwrap();
        let repository = acme(parts(store(), scratch.path(), 1)).await;
        upload(&repository, first, kind).await.unwrap();
        repository.add(&[named(first)], &actor()).await.unwrap();
        for (second, kind, salt) in [
            (&table, FileKind::Table, 1),
            (&archive(1, Compression::Zstd), FileKind::Archive, 1),
            (&archive(2, Compression::Zstd), FileKind::Archive, 2),
            (&fewer, FileKind::Archive, 0),
        ] {
            let is_same = salt == if first.file == table.file { 1 } else { 2 };
            let sent = upload(&repository, second, kind).await;
            assert_eq!(sent.is_ok(), is_same, "{kind:?} {salt}: {sent:?}");
            if let Err(refused) = sent {
                assert_eq!(refused.kind(), ErrorKind::Refused);
                let taken = table.written.id.to_string();
                let UploadFailure::Upload(refused) = refused else {
                    panic!("{refused:?}");
                };
                assert!(refused.one_line().contains(&taken), "{refused}");
            }
        }
        // What was refused left nothing that a request might mean.
        repository.add(&[named(first)], &actor()).await.unwrap();
        assert_eq!(repository.state().await.unwrap().files.len(), 1);
    }
}

#[tokio::test]
async fn an_archive_does_not_take_the_id_of_a_table_file_that_waits_to_be_named() {
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(store(), scratch.path(), 1)).await;
    let table = table_file_of(leaves(1));
    let mut squatting = archive_of(leaves(2), Compression::Snappy);
    squatting.written.id = table.written.id;
    // Before it: of the two the table file is meant.
    upload(&repository, &squatting, FileKind::Archive)
        .await
        .unwrap();
    upload(&repository, &table, FileKind::Table).await.unwrap();
    let refused = upload(&repository, &squatting, FileKind::Archive).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
    repository.add(&[named(&table)], &actor()).await.unwrap();
    let state = repository.state().await.unwrap();
    let kinds: Vec<_> = state.files.values().map(|file| file.kind).collect();
    assert_eq!(kinds, [FileKind::Table]);
}

#[tokio::test]
async fn two_files_of_one_id_in_an_old_log_are_found_and_merged() {
    let (objects, scratch) = (store(), TempDir::new().unwrap());
    let repository = acme(parts(Arc::clone(&objects), scratch.path(), 1)).await;
    let (one, other, root) = two_of_one_id();
    let one = upload(&repository, &one, FileKind::Archive).await.unwrap();
    let other_file = upload(&repository, &other, FileKind::Archive).await;
    let draft = Draft {
        act: Act::Push,
        actor: actor(),
        new_root: root,
        refs: Vec::new(),
        added: vec![one.clone(), other_file.unwrap()],
        released: Vec::new(),
        deletions: Deletions::default(),
        retired: Vec::new(),
    };
    let clock = Arc::new(SystemClock::new());
    let log = Log::new(Arc::clone(&objects), clock, repository.id());
    let empty = repository.state().await.unwrap();
    let stamp = IdSource::from_seed(7).stamp();
    let appended = log.append(&empty, &draft, stamp).await.unwrap();
    assert!(matches!(appended, Appended::Won(_)));

    let repository = acme(parts(Arc::clone(&objects), &scratch.path().join("2"), 2)).await;
    let listed = repository.listing(View::Current).await.unwrap();
    assert_eq!(listed.files.len(), 1, "a clone would get only one");
    let report = repository.verify(&Quiet).await;
    let [found] = &report.findings[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(found.damage, Damage::FileShared);
    assert!(found.at.contains(&one.upload.to_string()), "{found:?}");

    let merged = repository.merge().await.unwrap().unwrap();
    assert_eq!(merged.parts, 2);
    let listed = repository.listing(View::Current).await.unwrap();
    assert_eq!((listed.files.len(), listed.files[0].file.chunks), (1, 12));
    let report = repository.verify(&Quiet).await;
    assert_eq!((report.chunks, report.findings), (12, Vec::new()));
    assert_eq!(repository.merge().await.unwrap(), None);
    let again = Proposal {
        last: RootAddress::ZERO,
        current: root,
        files: vec![named(&other)],
        actor: actor(),
    };
    let committed = repository.commit(&again).await.unwrap();
    assert_eq!(committed, Committed::Already);
}
