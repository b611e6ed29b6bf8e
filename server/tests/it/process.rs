//! The program itself, as a process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_proto::remotesapi as wire;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::daemon::{Bucket, Daemon, Process, holdfastd};
use crate::pushing::{pack, upload_request};
use crate::rig::{REPO, http_builder};

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -n 200 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_holdfastd"))
        .args(["serve", "--data"])
        .arg(directory.path());
    let server = Daemon::start_by(&mut command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process.id())).unwrap();
    let limits = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = limits.unwrap().split_whitespace().collect();
    let [.., soft, hard, _unit] = words[..] else {
        panic!("{words:?}");
    };
    assert_eq!(soft, hard);
    assert_ne!(soft, "200");
}

#[test]
fn a_start_that_hangs_is_ended_by_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let (data, bucket) = (TempDir::new().unwrap(), Bucket::open());
        let mut command = holdfastd(data.path());
        let command = command.args(["serve", "--open", "--listen", "127.0.0.1:0"]);
        let mut server = Process::start(bucket.keeps(command));
        let _waited_for = bucket.connected();
        server.signal(signal);
        let (status, said) = server.ended();
        assert!(status.success(), "{said}");
        assert!(said.contains("stopped before it could serve"), "{said}");
    }
}

/// Everything below a directory that others than its owner may look at.
fn seen_by_others(directory: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push((path.clone(), mode));
        }
        if path.is_dir() {
            seen_by_others(&path, found);
        }
    }
}

#[tokio::test]
async fn what_a_server_keeps_is_its_owners_alone() {
    let data = TempDir::new().unwrap();
    let server = Daemon::start(data.path());
    let packed = pack(&["some chunk".into()]);
    let mut client = server.client().await;
    let details = vec![packed.details()];
    client
        .get_upload_locations(upload_request(details))
        .await
        .unwrap();
    let mut found = Vec::new();
    seen_by_others(data.path(), &mut found);
    assert!(found.is_empty(), "{found:?}");
    drop(client);
    server.stop();
}

#[test]
fn a_bucket_that_does_not_answer_is_said_to_be_waited_for() {
    let (data, bucket) = (TempDir::new().unwrap(), Bucket::open());
    let mut command = holdfastd(data.path());
    let command = command.args(["serve", "--open", "--listen", "127.0.0.1:0"]);
    let server = Process::start(bucket.keeps(command));
    let _waited_for = bucket.connected();
    let said = server.said("waiting for s3://bucket/prefix");
    assert!(said.contains("not answered"), "{said}");
}

#[tokio::test]
async fn who_is_told_a_second_time_stops_at_once() {
    let data = TempDir::new().unwrap();
    let mut server = Daemon::start(data.path());
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let asked = wire::StreamChunkLocationsRequest {
        repo_path: REPO.to_owned(),
        chunk_hashes: vec![1; 20].into(),
        ..Default::default()
    };
    sender.send(asked).await.unwrap();
    let stream = ReceiverStream::new(requests);
    let answers = server.client().await.stream_chunk_locations(stream).await;
    let mut answers = answers.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    server.process.signal(Signal::TERM);
    // Two signals of a kind may arrive as one.
    let http = http_builder().build().unwrap();
    let ready = format!("{}/ready", server.url);
    let stopping = async { while http.get(&ready).send().await.unwrap().status() != 503 {} };
    let stopping = tokio::time::timeout(Duration::from_secs(60), stopping);
    stopping.await.expect("it says that it stops");
    server.process.signal(Signal::TERM);
    let (status, said) = tokio::task::spawn_blocking(move || server.process.ended())
        .await
        .unwrap();
    assert!(status.success(), "{said}");
    assert!(answers.message().await.is_err(), "it was cut");
    drop(sender);
}

#[tokio::test]
async fn clients_are_told_what_failed_and_no_path_of_the_server() {
    let data = TempDir::new().unwrap();
    let server = Daemon::start(data.path());
    fs::remove_dir_all(data.path().join("spool")).unwrap();
    let details = vec![pack(&["some chunk".into()]).details()];
    let mut client = server.client().await;
    let refused = client.get_upload_locations(upload_request(details)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let told =
        "take in a table file: receive the file: the spool failed: entity not found (request ";
    assert!(refused.message().starts_with(told), "{refused}");
    let path = data.path().to_str().unwrap();
    assert!(
        server.process.said(path).contains("spool"),
        "the log has it"
    );
}
