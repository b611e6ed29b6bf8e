//! Servers that never answer, that ask to be left alone, and that talk about what is secret.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::{ErrorKind, RootAddress, TableFileId};

use super::super::testing::{Fake, Silence, Wrong, chunks};
use crate::remote::{OutgoingFile, Reach, Remote as _, RemoteError, Swap, Uploaded};

/// No test waits for so long: it would wait for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn ends<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(FOR_EVER, future).await;
    ended.expect("nobody waits for ever")
}

fn root(byte: u8) -> RootAddress {
    RootAddress::new([byte; 20])
}

/// A file of some bytes.
fn file(directory: &tempfile::TempDir, len: usize) -> OutgoingFile {
    use std::io::Write as _;
    let path = directory.path().join("file");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).open(&path).unwrap();
    file.write_all(&vec![5; len]).unwrap();
    OutgoingFile {
        path,
        id: TableFileId::new([9; 20]),
        kind: FileKind::Table,
        len: len as u64,
        data_len: len as u64,
        chunks: 1,
    }
}

fn calls_of(fake: &Fake) -> Vec<&'static str> {
    let state = fake.state();
    state.seen.tokens.iter().map(|(call, _)| *call).collect()
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_made_again() {
    let fake = Fake::start().await;
    fake.state().silences.extend([Silence::Before; 5]);
    assert_eq!(ends(fake.client().root()).await.unwrap(), RootAddress::ZERO);
    assert_eq!(calls_of(&fake), ["root"; 6]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let fake = Fake::start().await;
    fake.state().silences.extend([Silence::Before; 99]);
    let error = ends(fake.client().root()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "could not read the root of the remote: no answer came (DEADLINE_EXCEEDED)"
    );
    assert_eq!(calls_of(&fake), ["root"; 6]);
}

#[tokio::test]
async fn a_commit_that_is_not_answered_is_won_whether_it_took_effect_or_not() {
    for silence in [Silence::Before, Silence::After] {
        let fake = Fake::start().await;
        fake.state().silences.push_back(silence);
        let client = fake.client();
        let swap = ends(client.commit(root(1), RootAddress::ZERO, &[])).await;
        assert_eq!(swap.unwrap(), Swap::Won, "{silence:?}");
        assert_eq!(client.root().await.unwrap(), root(1));
        let commits = calls_of(&fake);
        let commits = commits.iter().filter(|call| **call == "commit").count();
        assert_eq!(commits, 2, "{silence:?}");
    }
}

#[tokio::test]
async fn files_whose_adding_is_not_answered_are_added_again() {
    let files = [(1, 7), (2, 9)].map(|(byte, chunks)| ListedFile {
        id: TableFileId::new([byte; 20]),
        chunks,
    });
    let told = files.map(|file| (Bytes::copy_from_slice(file.id.as_bytes()), file.chunks));
    for (silence, times) in [(Silence::Before, 1), (Silence::After, 2)] {
        let fake = Fake::start().await;
        fake.state().silences.push_back(silence);
        ends(fake.client().add_files(&files)).await.unwrap();
        assert_eq!(calls_of(&fake), ["add"; 2]);
        let added = fake.state().seen.added.clone();
        assert_eq!(added, vec![told.to_vec(); times], "{silence:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_taken_and_not_answered_is_sent_again() {
    let fake = Fake::start().await;
    fake.state().silent_uploads = 2;
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory, 600_000);
    let uploaded = ends(fake.client().upload(&file)).await.unwrap();
    assert_eq!(uploaded, Uploaded::Sent);
    assert_eq!(fake.state().seen.uploads.len(), 3);

    fake.state().silent_uploads = 99;
    let error = ends(fake.client().upload(&file)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "could not send a table file to the remote: nothing moved for 120 seconds"
    );
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    for (asked, status, least) in [
        ("7", 429, 7),
        ("7", 503, 7),
        ("86400", 503, 60),
        // The clock of the test stands at 00:16:40.
        ("Thu, 01 Jan 1970 00:17:00 GMT", 429, 20),
        ("soon", 503, 0),
        ("7", 500, 0),
    ] {
        let fake = Fake::start().await;
        let addresses = fake.hold("file", &chunks(1), 0);
        fake.state().retry_after = Some(asked);
        fake.state().wrongs.push_back(Wrong::Status(status));
        fake.state().upload_refusals.push_back(status);
        let client = fake.client();
        client.read(&addresses, Reach::Near).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = file(&directory, 10);
        assert_eq!(client.upload(&file).await.unwrap(), Uploaded::Sent);
        let waits = fake.state().seen.waits.clone();
        assert_eq!(waits.len(), 2, "{asked:?} with {status}");
        let least = Duration::from_secs(least);
        for wait in waits {
            let is_as_asked = wait >= least && wait < least + Duration::from_secs(1);
            assert!(is_as_asked, "{asked:?} with {status}: {wait:?}");
        }
    }
}

#[tokio::test]
async fn a_database_that_a_sql_server_does_not_have_is_not_there() {
    let status = tonic::Status::unknown("database not found: nothing");
    let action = "read the root";
    let status = Box::new(status);
    let error = RemoteError::Call { action, status };
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!error.may_pass());
}

/// All that an error may be shown as.
fn everything(error: &RemoteError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(" {cause} {cause:?}"));
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn no_error_says_a_signed_address() {
    let reads = [
        Wrong::Status(403),
        Wrong::Status(500),
        Wrong::Cut(0),
        Wrong::Short(1),
        Wrong::Whole,
        Wrong::Elsewhere,
        Wrong::Flipped,
    ];
    for wrong in reads {
        let fake = Fake::start().await;
        let addresses = fake.hold("file", &chunks(1), 0);
        fake.state().is_talkative = true;
        fake.state().wrongs.extend([wrong; 99]);
        let error = fake.client().read(&addresses, Reach::Near).await;
        let text = everything(&error.unwrap_err());
        assert!(!text.contains("signature-"), "{wrong:?}: {text}");
    }
    for statuses in [[403; 9], [500; 9]] {
        let fake = Fake::start().await;
        fake.state().is_talkative = true;
        fake.state().upload_refusals.extend(statuses);
        let directory = tempfile::tempdir().unwrap();
        let error = fake.client().upload(&file(&directory, 10)).await;
        let text = everything(&error.unwrap_err());
        assert!(text.contains("is refused: no room"), "{text}");
        assert!(!text.contains("signature-"), "{text}");
    }
    let fake = Fake::start().await;
    let addresses = fake.hold("file", &chunks(1), 0);
    let left = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nobody listens there any more.
    fake.state().host = format!("http://{}", left.local_addr().unwrap());
    drop(left);
    let directory = tempfile::tempdir().unwrap();
    let client = fake.client();
    for error in [
        client.read(&addresses, Reach::Near).await.unwrap_err(),
        client.upload(&file(&directory, 10)).await.unwrap_err(),
    ] {
        let text = everything(&error);
        assert!(matches!(error, RemoteError::Unreachable { .. }), "{text}");
        assert!(!text.contains("signature-"), "{text}");
    }
}
