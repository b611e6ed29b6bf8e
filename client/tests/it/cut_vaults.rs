//! Backups of a database on this machine that are killed: what they left in the vault is used by the next one, or
//! removed.

use std::path::Path;
use std::time::Duration;

use holdfast_tests::bucket::Bucket;
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::line::{Line, Terms};
use holdfast_tests::process::Daemon;
use holdfast_tests::{say, wait};

use crate::crossing::noise;
use crate::holdfast::{command, holdfast};
use crate::places;
use crate::scene::workshop;
use crate::slow_line::{assert_nothing_waits, assert_tidy};

/// A database with so many rows of a quarter of a kilobyte.
fn owner(workshop: &Workshop, rows: usize) -> Database {
    let owner = workshop.init("owner");
    owner.commit("noise", &noise(rows));
    owner
}

fn backup(workshop: &Workshop, vault: &str) {
    holdfast(workshop, workshop.folder(), &["backup", "./owner", vault]).expect_success();
}

/// Kills a backup when it has come so far; false if it ended before.
fn is_killed(workshop: &Workshop, vault: &str, mut has_come_far: impl FnMut() -> bool) -> bool {
    let arguments = ["backup", "./owner", vault];
    let mut client = Daemon::start(command(workshop, workshop.folder(), &arguments));
    wait::until("the backup to come so far or to end", || {
        has_come_far() || client.has_ended()
    });
    let is_killed = !client.has_ended();
    client.kill();
    is_killed
}

fn commit_a_row(owner: &Database, number: usize) {
    let row = format!("insert into noise values (-{}, 'meanwhile')", number + 1);
    owner.commit("meanwhile", &row);
}

fn assert_restored(workshop: &Workshop, owner: &Database, vault: &str) {
    let folder = workshop.folder();
    let verified = holdfast(workshop, folder, &["backup", "verify", vault]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    holdfast(workshop, folder, &["backup", "restore", vault, "restored"]).expect_success();
    let restored = workshop.database("restored");
    assert_eq!(restored.log(), owner.log());
    restored.fsck();
}

/// How many bytes lie in a folder, in files that may vanish.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let lens = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    lens.sum()
}

/// Kills backups into a directory, the next one later, each a row later.
fn kill_into_a_directory(rows: usize) {
    let Some(workshop) = workshop() else { return };
    let owner = owner(&workshop, rows);
    let vault = workshop.folder().join("vault");
    let data_len = 270 * rows as u64;
    let mut killed = 0;
    for number in 0..4 {
        let enough = data_len / 5 * number as u64 + 1;
        killed += u32::from(is_killed(&workshop, "./vault", || {
            bytes_in(&vault) >= enough
        }));
        commit_a_row(&owner, number);
    }
    assert!(killed > 0, "none was slow enough to be killed");
    backup(&workshop, "./vault");
    backup(&workshop, "./whole");
    let [kept, needed] = ["vault", "whole"].map(|name| assert_tidy(&workshop.folder().join(name)));
    say::line(format_args!(
        "{killed} killed: {kept} bytes lie there of {needed}"
    ));
    assert!(
        kept * 10 <= needed * 12,
        "{kept} bytes lie there of {needed}"
    );
    assert_nothing_waits(&workshop);
    assert!(!owner.folder().join(".dolt/holdfast/outgoing").exists());
    assert_restored(&workshop, &owner, "./vault");
}

#[test]
fn a_killed_backup_into_a_directory_leaves_nothing_behind_the_next() {
    kill_into_a_directory(20_000);
}

#[test]
#[ignore = "long: 80 MB"]
fn killed_backups_of_several_files_leave_nothing_behind_the_next() {
    kill_into_a_directory(300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_into_a_bucket_is_used_by_the_next() {
    const BYTES_PER_SECOND: u32 = 600_000;
    let Some(workshop) = workshop() else { return };
    let bucket = Bucket::start().await;
    let workshop = places::with_keys(&workshop, &bucket);
    let owner = owner(&workshop, 6000);
    let terms = Terms {
        round_trip: Duration::from_millis(10),
        bytes_per_second: BYTES_PER_SECOND,
    };
    let backend = bucket.endpoint().strip_prefix("http://").unwrap();
    let start = async |terms| Line::start(backend.parse().unwrap(), terms).await.unwrap();
    let url = |line: &Line, vault: &str| {
        let endpoint = format!("http://{}", line.address());
        places::url(&bucket, vault).replace(bucket.endpoint(), &endpoint)
    };
    let line = start(terms).await;
    let trial = url(&line, "trial");
    let is_first_killed = is_killed(&workshop, &trial, || line.bytes() >= 1_200_000);
    assert!(is_first_killed, "it ended before");
    commit_a_row(&owner, 0);
    backup(&workshop, &trial);
    let moved = line.bytes();
    let line = start(Terms::NONE).await;
    backup(&workshop, &url(&line, "whole"));
    let size = line.bytes();
    say::line(format_args!("into a bucket: {moved} bytes of {size}"));
    assert!(moved * 10 <= size * 14, "{moved} bytes of {size}");
    assert_nothing_waits(&workshop);
    assert_eq!(bucket.open_uploads(), 0);
    assert_restored(&workshop, &owner, &places::url(&bucket, "trial"));
}
