//! The binary: `repos`, `history` and `verify`, beside a running server and over a damaged store.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use holdfast_doltdb::testing::TinyDb;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Bucket, Daemon, Process, holdfastd};
use crate::pushing::{add, commit_request, database, pack, root, upload_url};
use crate::rig::{REPO, http_builder};

/// Uploads all chunks as one file and moves the root.
async fn push(daemon: &Daemon, chunks: &[Bytes], database: &TinyDb) {
    let mut client = daemon.client().await;
    let packed = pack(chunks);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let http = http_builder().build().unwrap();
    let answer = http.put(url).body(packed.bytes.clone()).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    add(&mut client, &[&packed]).await.unwrap();
    let last = root(&mut client).await;
    let request = commit_request(database.root().as_bytes(), &last);
    assert!(client.commit(request).await.unwrap().into_inner().success);
}

fn run(data: &Path, arguments: &[&str]) -> Output {
    holdfastd(data).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A store of two pushes, and the database that was pushed.
pub(crate) async fn two_pushes() -> (TempDir, TinyDb) {
    let data = TempDir::new().unwrap();
    let daemon = Daemon::start(data.path());
    let mut pushed = database();
    let all: Vec<Bytes> = pushed.chunks().values().cloned().collect();
    push(&daemon, &all, &pushed).await;
    let more = pushed.commit("feature", "third");
    push(&daemon, &more, &pushed).await;
    daemon.stop();
    (data, pushed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_told_of_beside_its_running_server() {
    let (data, pushed) = two_pushes().await;
    let daemon = Daemon::start(data.path());
    let root = pushed.root().to_string();

    let repos = run(data.path(), &["repos"]);
    assert!(repos.status.success(), "{repos:?}");
    let line = stdout(&repos);
    assert!(
        line.starts_with(&format!("{REPO}  {root}  4 changes, last ")),
        "{line}"
    );
    assert!(line.trim_end().ends_with(" bytes"), "{line}");
    let listed = json(&run(data.path(), &["repos", "--json"]));
    assert_eq!(listed[0]["name"], REPO);
    assert_eq!(listed[0]["root"], root.as_str());
    assert_eq!(listed[0]["files"], 2);

    let history = stdout(&run(data.path(), &["history", REPO]));
    let heads: Vec<&str> = history
        .lines()
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(heads.len(), 2, "{history}");
    assert!(heads[1].contains(&root), "{history}");
    assert!(
        history.contains("    refs/heads/main  (none) -> "),
        "{history}"
    );
    let changes = json(&run(data.path(), &["history", REPO, "--json"]));
    assert_eq!(changes[1]["refs"][0]["name"], "refs/heads/feature");
    assert_eq!(changes[1]["actor"], "anyone");
    assert_eq!(changes[1]["new_root"], root.as_str());

    for arguments in [&["verify"][..], &["verify", REPO]] {
        let verified = run(data.path(), arguments);
        assert!(verified.status.success(), "{verified:?}");
        let line = stdout(&verified);
        let start = format!("{REPO}: whole  4 records, 2 files, ");
        assert!(line.starts_with(&start), "{line}");
    }
    let report = json(&run(data.path(), &["verify", "--json"]));
    assert_eq!(report[0]["damages"], 0);
    assert_eq!(report[0]["records"], 4);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said() {
    let (data, _) = two_pushes().await;
    for command in ["history", "verify"] {
        let output = run(data.path(), &[command, "acme/other"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "holdfastd: could not find the repository acme/other\n"
        );
    }
    let nowhere = TempDir::new().unwrap();
    let output = run(nowhere.path(), &["repos"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("holdfastd: could not find a forge in "),
        "{said}"
    );
    let output = run(data.path(), &["verify", "not-a-name"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// What is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_reader_that_is_interrupted_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for command in [&["repos"][..], &["history", REPO], &["verify"]] {
            let (data, bucket) = (TempDir::new().unwrap(), Bucket::open());
            let mut reader = holdfastd(data.path());
            let mut reader = Process::start(bucket.keeps(reader.args(command)));
            let _waited_for = bucket.connected();
            let works_in = names(data.path());
            assert!(works_in[0].starts_with("reading-"), "{works_in:?}");
            reader.signal(signal);
            assert_eq!(reader.ended().0.code(), Some(code), "{command:?}");
            assert_eq!(names(data.path()), [""; 0], "{command:?}");
        }
    }
}

#[test]
fn a_reader_without_a_data_directory_works_among_the_temporary_files() {
    let [here, temporary] = [(), ()].map(|()| TempDir::new().unwrap());
    let bucket = Bucket::open();
    let mut reader = holdfastd(Path::new(""));
    let reader = reader.current_dir(here.path());
    let reader = reader.env("TMPDIR", temporary.path()).arg("verify");
    let mut reader = Process::start(bucket.keeps(reader));
    let _waited_for = bucket.connected();
    assert_eq!(names(here.path()), [""; 0]);
    let works_in = names(temporary.path());
    assert!(works_in[0].starts_with("holdfast-reading-"), "{works_in:?}");
    reader.signal(Signal::INT);
    reader.ended();
    assert_eq!(names(temporary.path()), [""; 0]);
}

#[test]
fn what_a_killed_reader_left_is_removed_by_the_next_reader_and_by_a_server() {
    let data = TempDir::new().unwrap();
    Daemon::start(data.path()).stop();
    let used = data.path().join("reading-used");
    fs::create_dir(&used).unwrap();
    let lock = fs::File::open(&used).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let left = data.path().join("reading-left");
    let leave = || fs::create_dir_all(left.join("spool")).unwrap();
    leave();
    assert!(run(data.path(), &["repos"]).status.success());
    assert!(!left.exists());
    leave();
    Daemon::start(data.path()).stop();
    assert!(!left.exists());
    assert!(used.exists(), "somebody works in it");
}

#[test]
fn the_region_is_that_of_the_environment_and_one_that_is_wrong_is_named() {
    let (data, bucket) = (TempDir::new().unwrap(), Bucket::open());
    let mut reader = holdfastd(data.path());
    let reader = reader.args(["repos", "--store", "s3://bucket"]).envs([
        ("AWS_ENDPOINT_URL", bucket.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-test-1"),
    ]);
    let mut reader = Process::start(reader);
    let mut connection = bucket.connected();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("/eu-test-1/s3/aws4_request"), "{head}");
    let answer = "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-other-7\r\n\
                  Content-Length: 0\r\n\r\n";
    connection.write_all(answer.as_bytes()).unwrap();
    let (status, said) = reader.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    let hint = "the bucket is in eu-other-7: set s3.region";
    assert!(said.contains(hint), "{said}");
}

/// What is done to a store, and what `verify` must call it.
struct Case {
    what: &'static str,
    plant: fn(&Path),
    named: &'static str,
}

const CASES: &[Case] = &[
    Case {
        what: "a record is gone",
        plant: |data| remove(&record(data, 2)),
        named: "log-gap",
    },
    Case {
        what: "the first record is gone",
        plant: |data| remove(&record(data, 1)),
        named: "log-gap",
    },
    Case {
        what: "a record is no JSON",
        plant: |data| write(&record(data, 3), b"{"),
        named: "log-record",
    },
    Case {
        what: "a record says another root",
        plant: other_root,
        named: "log-chain",
    },
    Case {
        what: "the log is shorter than it was",
        plant: hint_beyond,
        named: "log-gap",
    },
    Case {
        what: "a file is gone",
        plant: |data| remove(&files(data, "files/")[0]),
        named: "file-missing",
    },
    Case {
        what: "a file is shorter",
        plant: shorten,
        named: "file-length",
    },
    Case {
        what: "a bit of a file flipped",
        plant: |data| flip(&files(data, "files/")[0]),
        named: "file-bytes",
    },
    Case {
        what: "a note is gone",
        plant: |data| remove(&files(data, "uploads/")[0]),
        named: "upload-note",
    },
    Case {
        what: "the pool has no member",
        plant: |data| remove(&files(data, "members/")[0]),
        named: "pool-member",
    },
    Case {
        what: "the name means nothing",
        plant: |data| write(&files(data, "names/")[0], b"?"),
        named: "name-entry",
    },
    Case {
        what: "the index flipped",
        plant: flip_index,
        named: "index",
    },
    Case {
        what: "the index is cut short",
        plant: cut_index,
        named: "index",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_damage_is_named() {
    let (data, _) = two_pushes().await;
    for Case { what, plant, named } in CASES {
        let damaged = TempDir::new().unwrap();
        copy(data.path(), damaged.path());
        plant(damaged.path());
        for arguments in [&["verify", "--json"][..], &["verify", REPO, "--json"]] {
            let output = run(damaged.path(), arguments);
            assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
            let report = json(&output);
            let findings = report[0]["findings"].as_array().unwrap();
            let is_named = findings.iter().any(|finding| finding["damage"] == *named);
            assert!(is_named, "{what}: {report:#}");
        }
        let text = stdout(&run(damaged.path(), &["verify"]));
        assert!(text.contains(&format!("    {named}  ")), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_repository_does_not_hide_the_others() {
    let data = TempDir::new().unwrap();
    let daemon = Daemon::start(data.path());
    let pushed = database();
    let all: Vec<Bytes> = pushed.chunks().values().cloned().collect();
    push(&daemon, &all, &pushed).await;
    daemon.stop();
    // A name that comes first and whose entry cannot be read.
    let entry = files(data.path(), "names/")[0].clone();
    let other = PathBuf::from(
        entry
            .to_str()
            .unwrap()
            .replace("/acme/prod/", "/acme/aaaa/"),
    );
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, b"?").unwrap();
    let repos = run(data.path(), &["repos"]);
    assert_eq!(repos.status.code(), Some(1));
    let lines = stdout(&repos);
    assert!(lines.starts_with("acme/aaaa  cannot be read: "), "{lines}");
    assert!(
        lines.lines().nth(1).unwrap().starts_with("acme/prod  "),
        "{lines}"
    );
    let verified = stdout(&run(data.path(), &["verify"]));
    assert!(verified.contains("acme/prod: whole"), "{verified}");
    assert!(verified.contains("acme/aaaa: 1 damage"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_a_hole_says_so() {
    let (data, _) = two_pushes().await;
    remove(&record(data.path(), 2));
    let output = run(data.path(), &["history", REPO, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("holdfastd: "), "{said}");
}

pub(crate) fn record(data: &Path, sequence: usize) -> PathBuf {
    files(data, "/log/")[sequence - 1].clone()
}

/// The objects whose path has `part`, in the order of their names.
pub(crate) fn files(data: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&data.join("store"), &mut |path| {
        if path.to_str().unwrap().contains(part) {
            found.push(path.to_owned());
        }
    });
    found.sort();
    assert!(!found.is_empty(), "{part}");
    found
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    });
}

pub(crate) fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn write(path: &Path, bytes: &[u8]) {
    // Objects are read-only.
    remove(path);
    fs::write(path, bytes).unwrap();
}

pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(path, &bytes);
}

fn shorten(data: &Path) {
    let path = &files(data, "files/")[0];
    let bytes = fs::read(path).unwrap();
    write(path, &bytes[..bytes.len() - 1]);
}

fn other_root(data: &Path) {
    let path = record(data, 2);
    let mut told: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    told["actor"]["name"] = "somebody else".into();
    write(&path, told.to_string().as_bytes());
}

fn hint_beyond(data: &Path) {
    let log = record(data, 1);
    let repository = log.ancestors().find(|path| path.ends_with("log")).unwrap();
    fs::write(repository.parent().unwrap().join("hint"), "9").unwrap();
}

/// The sorted files of the chunk index.
fn index_files(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&data.join("index"), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "sst") {
            found.push(path.to_owned());
        }
    });
    assert!(!found.is_empty());
    found
}

fn flip_index(data: &Path) {
    for path in index_files(data) {
        let mut bytes = fs::read(&path).unwrap();
        // The entries stand first.
        bytes[20] ^= 1;
        write(&path, &bytes);
    }
}

fn cut_index(data: &Path) {
    for path in index_files(data) {
        write(&path, b"short");
    }
}
