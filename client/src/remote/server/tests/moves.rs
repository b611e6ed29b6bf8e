//! Metadata, uploads and the root.

use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::{ErrorKind, RootAddress, TableFileId};
use md5::Digest as _;
use tonic::Code;

use super::super::testing::Fake;
use crate::remote::credentials::{Credentials, Secret};
use crate::remote::{OutgoingFile, Remote as _, RemoteError, Swap, Uploaded, WorkingSets};

const ID: TableFileId = TableFileId::new([9; 20]);

fn root(byte: u8) -> RootAddress {
    RootAddress::new([byte; 20])
}

/// A file of two pieces and a bit.
fn file(directory: &tempfile::TempDir) -> OutgoingFile {
    use std::io::Write as _;
    let path = directory.path().join("file");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).open(&path).unwrap();
    file.write_all(&vec![5; 600_000]).unwrap();
    OutgoingFile {
        path,
        id: ID,
        kind: FileKind::Archive,
        len: 600_000,
        data_len: 500_000,
        chunks: 7,
    }
}

#[tokio::test]
async fn a_file_is_sent_as_it_is() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    assert_eq!(fake.client().upload(&file).await.unwrap(), Uploaded::Sent);
    let state = fake.state();
    let details = &state.seen.details[0];
    assert_eq!(details.id[..], ID.as_bytes()[..]);
    assert_eq!((details.content_length, details.num_chunks), (600_000, 7));
    assert_eq!(
        (details.suffix.as_str(), details.split_offset),
        (".darc", 500_000)
    );
    let (_, headers, body) = &state.seen.uploads[0];
    assert_eq!(headers["content-length"], "600000");
    let sent = data_encoding::BASE64.encode(&details.content_hash);
    assert_eq!(headers["content-md5"], sent);
    assert_eq!(md5::Md5::digest(body)[..], details.content_hash[..]);
    assert_eq!(body, &vec![5; 600_000]);
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent() {
    let fake = Fake::start().await;
    fake.state().knows_all_files = true;
    let directory = tempfile::tempdir().unwrap();
    let uploaded = fake.client().upload(&file(&directory)).await.unwrap();
    assert_eq!(uploaded, Uploaded::Known);
    assert!(fake.state().seen.uploads.is_empty());
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_sent_again_to_a_new_place() {
    let fake = Fake::start().await;
    fake.state().upload_refusals.extend([503, 400, 500]);
    let directory = tempfile::tempdir().unwrap();
    let uploaded = fake.client().upload(&file(&directory)).await.unwrap();
    assert_eq!(uploaded, Uploaded::Sent);
    assert_eq!(fake.state().seen.details.len(), 4);
    assert_eq!(fake.state().seen.uploads.len(), 4);
}

#[tokio::test]
async fn a_refusal_carries_the_beginning_of_the_servers_words() {
    let fake = Fake::start().await;
    fake.state().upload_refusals.push_back(507);
    let directory = tempfile::tempdir().unwrap();
    let error = fake.client().upload(&file(&directory)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let RemoteError::Status { text, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(text.len(), 1024);
    assert!(text.starts_with("no room "));
}

#[tokio::test]
async fn a_root_that_moved_is_lost() {
    let fake = Fake::start().await;
    let client = fake.client();
    let files = [ListedFile { id: ID, chunks: 7 }];
    let zero = RootAddress::ZERO;
    assert_eq!(
        client.commit(root(1), zero, &files).await.unwrap(),
        Swap::Won
    );
    assert_eq!(client.root().await.unwrap(), root(1));
    assert_eq!(
        client.commit(root(2), zero, &files).await.unwrap(),
        Swap::Lost
    );
    assert_eq!(client.root().await.unwrap(), root(1));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_won() {
    let fake = Fake::start().await;
    fake.state().loses_commits = true;
    let swap = fake.client().commit(root(1), RootAddress::ZERO, &[]).await;
    assert_eq!(swap.unwrap(), Swap::Won);
}

#[tokio::test]
async fn files_that_are_not_added_are_an_error() {
    let fake = Fake::start().await;
    let client = fake.client();
    let files = [ListedFile { id: ID, chunks: 7 }];
    client.add_files(&files).await.unwrap();
    fake.state().adds_nothing = true;
    let error = client.add_files(&files).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn the_metadata_says_what_a_push_may_do() {
    let password = Credentials::Password {
        user: "u".to_owned(),
        password: Secret::new("p"),
    };
    let (ignored, asserted) = (WorkingSets::Ignored, WorkingSets::Asserted);
    for (said, credentials, expected) in [
        (0, Credentials::Nobody, ignored),
        (0, password.clone(), asserted),
        (1, password, ignored),
        (2, Credentials::Nobody, asserted),
    ] {
        let fake = Fake::start().await;
        fake.state().working_sets = said;
        let metadata = fake.client_of(credentials).metadata().await.unwrap();
        assert_eq!(metadata.working_sets, expected, "{said}");
        assert!(metadata.takes_archives);
    }
}

#[tokio::test]
async fn a_token_is_sent_back_until_the_root_moves() {
    let fake = Fake::start().await;
    fake.state().token = "token".to_owned();
    let client = fake.client();
    for _ in 0..2 {
        client.metadata().await.unwrap();
    }
    client.root().await.unwrap();
    client.absent(&[]).await.unwrap();
    client.list_files().await.unwrap();
    client.add_files(&[]).await.unwrap();
    let zero = RootAddress::ZERO;
    client.commit(root(1), zero, &[]).await.unwrap();
    client.root().await.unwrap();
    let state = fake.state();
    let tokens: Vec<_> = (state.seen.tokens.iter())
        .map(|(call, token)| (*call, token.as_str()))
        .collect();
    assert_eq!(
        tokens,
        [
            ("metadata", ""),
            ("metadata", ""),
            ("root", "token"),
            ("list", "token"),
            ("add", "token"),
            ("commit", ""),
            ("root", ""),
        ]
    );
}

#[tokio::test]
async fn only_failures_that_may_pass_are_tried_again() {
    for (code, calls) in [
        (Code::Unavailable, 2),
        (Code::Unknown, 2),
        (Code::NotFound, 1),
    ] {
        let fake = Fake::start().await;
        fake.state().refusals.push_back(code);
        assert_eq!(fake.client().root().await.is_ok(), calls == 2, "{code:?}");
        assert_eq!(fake.state().seen.tokens.len(), calls, "{code:?}");
    }
}
