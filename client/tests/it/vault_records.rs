//! Vaults of very many backups: what it takes to list them, to forget some, and to verify one.

#![expect(
    clippy::disallowed_methods,
    reason = "the records of a test need not survive a crash"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::{Clock as _, SystemClock, Timestamp};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::{RootAddress, TableFileId};
use holdfast_client::backup::{self, Catalog, Draft, RecordedFile};
use holdfast_client::remote::{Drawn, Lot, Put, Remote as _, RemoteError, RemoteFile, Shelf};
use holdfast_tests::bucket::Bucket;
use holdfast_tests::dolt::Workshop;
use holdfast_tests::process;
use holdfast_tests::say;
use holdfast_tests::world::World;

use crate::holdfast::{LIMIT, command, holdfast};
use crate::places;
use crate::scene::workshop;

/// The records of a vault in a directory, written without waiting for the disk.
#[derive(Debug)]
struct Hasty {
    folder: PathBuf,
}

#[async_trait]
impl Shelf for Hasty {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, RemoteError> {
        std::fs::write(self.folder.join(name), bytes).unwrap();
        Ok(Put::Done)
    }

    async fn names(&self) -> Result<Vec<String>, RemoteError> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        Ok(names)
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        Ok(std::fs::read(self.folder.join(name)).ok().map(Bytes::from))
    }

    fn path(&self, _file: &RemoteFile) -> Option<PathBuf> {
        None
    }

    async fn draw(&self, _file: &RemoteFile, _from: u32, _lot: Lot) -> Result<Drawn, RemoteError> {
        Ok(Drawn {
            count: 0,
            chunks: Vec::new(),
            next: None,
        })
    }
}

/// The root of a backup that is only recorded.
fn root(number: u64) -> RootAddress {
    hash_chunk(format!("root {number}").as_bytes()).into()
}

/// What a vault of `large` files that stay holds when the backup of a number is made: each brings a small file, and 32
/// of them are joined at a time.
fn files(number: u64, large: u64) -> Vec<RecordedFile> {
    let file = |name: String| RecordedFile {
        id: TableFileId::new(*hash_chunk(name.as_bytes()).as_bytes()),
        chunks: 9,
    };
    let large = (0..large).map(|large| file(format!("large {large}")));
    let joined = (1..=number / 32).map(|joined| file(format!("joined {joined}")));
    let small = (number / 32 * 32..=number).map(|small| file(format!("small {small}")));
    large.chain(joined).chain(small).collect()
}

/// Writes records behind those that are there, up to a number.
async fn record(shelf: &dyn Shelf, to: u64, large: u64) {
    let mut catalog = Catalog::read(shelf).await.unwrap();
    let from = catalog.newest().map_or(1, |newest| newest.number() + 1);
    for number in from..=to {
        let draft = Draft {
            at: Timestamp(1_700_000_000_000 + number * 3_600_000),
            root: root(number),
            replaces: root(number - 1),
            source: "/srv/databases/shop".to_owned(),
            added: backup::Added {
                chunks: 7,
                bytes: 4_000,
            },
            by: Some("An Operator <operator@example.org>".to_owned()),
            files: files(number, large),
        };
        assert!(catalog.append(shelf, &draft).await.unwrap().is_some());
    }
}

/// The sizes of the files in a folder, all together.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    let lens = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
    lens.sum()
}

/// Runs a command of ours, and returns what it printed, how long it took, and how many MiB it had at most.
fn measured(workshop: &Workshop, arguments: &[&str]) -> (String, Duration, u64) {
    let watch = |process: u32| {
        let mut most = 0;
        let status = format!("/proc/{process}/status");
        // A process that has ended has no memory.
        loop {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
            match line.and_then(|kib| kib.trim().parse::<u64>().ok()) {
                Some(kib) => most = most.max(kib),
                None => return most.div_ceil(1024),
            }
            std::thread::yield_now();
        }
    };
    let clock = SystemClock::new();
    let command = command(workshop, workshop.folder(), arguments);
    let (finished, most) = process::run_watched(command, "", LIMIT, watch);
    let took = clock.monotonic();
    let printed = finished.expect_success();
    say::line(format_args!(
        "{}: {took:.2?}, {most} MiB",
        arguments.join(" ")
    ));
    (printed, took, most)
}

/// Backups of ten thousand hours of a database of a thousand files.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten thousand records"]
async fn ten_thousand_backups_are_listed_within_a_second_and_little_memory() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let ok =
        |arguments: &[&str]| holdfast(&workshop, workshop.folder(), arguments).expect_success();
    ok(&["backup", "owner", "./vault"]);
    let folder = workshop.folder().join("vault/holdfast-backups");
    let shelf = Hasty {
        folder: folder.clone(),
    };
    record(&shelf, 9_998, 1_000).await;
    // Two that are real, and one of them the newest.
    for number in 0..2 {
        let row = format!(
            "insert into customers (id, name) values ({}, 'x')",
            99_000 + number
        );
        owner.commit("more", &row);
        ok(&["backup", "owner", "./vault", "--force"]);
    }
    let bytes = bytes_in(&folder);
    eprintln!(
        "10,000 records of 1,000 files and more: {} MiB",
        bytes >> 20
    );
    assert!(bytes < 64 << 20, "{bytes} bytes");

    let (listed, took, most) = measured(&workshop, &["backup", "list", "./vault"]);
    assert_eq!(listed.lines().count(), 10_000);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(most <= 100, "{most} MiB");
    let sampled = ["backup", "verify", "./vault", "--sample", "100%"];
    let (verified, _, most) = measured(&workshop, &sampled);
    assert!(verified.contains("10000 records"), "{verified}");
    assert!(most <= 100, "{most} MiB");
    let row = "insert into customers (id, name) values (99777, 'x')";
    owner.commit("yet more", row);
    let (_, _, most) = measured(&workshop, &["backup", "owner", "./vault"]);
    assert!(most <= 100, "{most} MiB");
    let forget = ["backup", "forget", "./vault", "--keep-daily", "30"];
    let (forgotten, _, most) = measured(&workshop, &forget);
    assert!(
        forgotten.contains("30 backups kept, 9971 forgotten"),
        "{forgotten}"
    );
    assert!(most <= 100, "{most} MiB");
    let (listed, _, _) = measured(&workshop, &["backup", "list", "./vault"]);
    assert_eq!(listed.lines().count(), 30);
    ok(&["backup", "restore", "./vault", "first", "--backup", "1"]);
    ok(&["backup", "restore", "./vault", "last"]);
    assert_eq!(workshop.database("last").log(), owner.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_backups_in_a_bucket_take_few_requests() {
    const COUNT: u64 = 200;
    let Some(workshop) = workshop() else { return };
    let bucket = Bucket::start().await;
    let workshop = places::with_keys(&workshop, &bucket);
    let owner = workshop.init("owner");
    let url = places::url(&bucket, "vault");
    let reads = |arguments: &[&str]| {
        let before = bucket.requests("GET") + bucket.requests("HEAD");
        let printed = holdfast(&workshop, workshop.folder(), arguments).expect_success();
        let reads = bucket.requests("GET") + bucket.requests("HEAD") - before;
        eprintln!("{}: {reads} reads", arguments[..2].join(" "));
        (printed, reads)
    };
    reads(&["backup", "owner", &url]);
    let remote = places::remote(&bucket, "vault").await;
    record(remote.shelf().unwrap(), COUNT, 40).await;
    owner.commit("more", "create table word (id int primary key)");

    // This bucket lists twenty names at a time, others a thousand.
    let pages = usize::try_from(COUNT / 20 + 1).unwrap();
    let (_, of_backup) = reads(&["backup", "owner", &url, "--force"]);
    assert!(of_backup < 3 * pages + 60, "{of_backup} reads");
    let (listed, of_list) = reads(&["backup", "list", &url]);
    assert_eq!(listed.lines().count(), 201);
    assert!(of_list <= pages + 32, "{of_list} reads");
    let (_, of_verify) = reads(&["backup", "verify", &url]);
    // Each record is read, and nothing twice.
    let all = usize::try_from(COUNT).unwrap();
    assert!(of_verify < all + 2 * pages + 80, "{of_verify} reads");
    let (_, of_forget) = reads(&["backup", "forget", &url, "--keep-last", "3"]);
    assert!(of_forget <= pages + 32, "{of_forget} reads");
    let (listed, _) = reads(&["backup", "list", &url]);
    assert_eq!(listed.lines().count(), 3);
}
