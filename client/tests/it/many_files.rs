//! Databases, directories and vaults of many small files, where few files may be open.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NewFile, NomsDir, StoreWriter};
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::process::{self, Finished};
use holdfast_tests::say;
use holdfast_tests::world::World;

use crate::holdfast::{binary, command, run};
use crate::scene::{assert_whole, workshop};

/// More files than may be open.
const FILES: u32 = 600;

/// Runs a command of ours with so few open files that a store is not open whole.
fn limited(workshop: &Workshop, arguments: &[&str]) -> Finished {
    let prepared = command(workshop, workshop.folder(), arguments);
    let mut limited = Command::new("/bin/sh");
    limited
        .env_clear()
        .envs(
            prepared
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
        .arg(binary())
        .args(arguments)
        .current_dir(workshop.folder());
    run(limited)
}

/// Adds files of a chunk each to a store; its root stays.
pub(crate) fn scatter(store: &Path, count: u32) {
    let writer = StoreWriter::open(store).unwrap();
    let root = writer.store().root();
    let files: Vec<_> = (0..count).map(|number| land(store, number)).collect();
    writer.commit(root, &files, &[], 1).unwrap();
}

/// The chunk of such a file.
pub(crate) fn scattered(number: u32) -> Vec<u8> {
    format!("nothing points at me: {number}").into_bytes()
}

fn land(store: &Path, number: u32) -> ListedFile {
    let chunk = scattered(number);
    let mut writer = table::Writer::new(NewFile::begin(store).unwrap());
    writer.append_chunk(hash_chunk(&chunk), &chunk).unwrap();
    let (file, written) = writer.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

fn count_of(store: &Path) -> usize {
    NomsDir::open(store).unwrap().files().len()
}

#[test]
fn where_few_files_may_be_open_every_command_works_on_many() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let remote = workshop.folder().join("remote");
    let url = format!("file://{}", remote.display());
    owner.sql(&format!(
        "call dolt_remote('add', 'origin', '{url}'); call dolt_push('origin', 'main')"
    ));
    scatter(&remote, FILES);
    let noms = owner.folder().join(".dolt/noms");
    scatter(&noms, FILES);

    limited(&workshop, &["clone", &url, "copy"]).expect_success();
    let copy = workshop.database("copy");
    owner.commit("more", "insert into orders values (900001, 1, 'more', 1)");
    limited(&workshop, &["push", "-C", "owner", "origin", "main"]).expect_success();
    limited(&workshop, &["pull", "-C", "copy"]).expect_success();
    assert_eq!(copy.log(), owner.log());
    limited(&workshop, &["backup", "owner", "./vault"]).expect_success();
    scatter(&workshop.folder().join("vault"), FILES);
    owner.commit(
        "yet more",
        "insert into orders values (900002, 1, 'more', 1)",
    );
    limited(&workshop, &["backup", "owner", "./vault"]).expect_success();
    limited(&workshop, &["backup", "verify", "./vault"]).expect_success();
    limited(&workshop, &["backup", "restore", "./vault", "restored"]).expect_success();
    assert_eq!(workshop.database("restored").log(), owner.log());
    limited(&workshop, &["verify", "owner"]).expect_success();
    assert_whole(&copy);
    owner.fsck();
    assert!(count_of(&noms) > 0);
}

/// How many turns the long test takes where `HOLDFAST_TURNS` gives no number: more than files may be open, were each to
/// leave one. A turn takes as long at the end as at the beginning.
const TURNS: u32 = 1_000;

/// So many commits are made at once.
const AT_ONCE: u32 = 500;

/// Makes commits, each with a branch that stands for it, so that a turn needs no dolt.
fn make_commits(owner: &Database, turns: Range<u32>) {
    let commits: String = turns
        .zip(0..)
        .map(|(turn, branch)| {
            let id = 1_000_000 + turn;
            format!(
                "insert into orders values ({id}, 1, 'turn', 1);
                 call dolt_commit('-am', 'turn {turn}');
                 call dolt_branch('-f', 'turn-{branch}');"
            )
        })
        .collect();
    owner.sql(&commits);
}

/// Pushes each of the commits, pulls it, and backs it up, each by a process of its own under the limit.
fn take_turns(workshop: &Workshop, count: u32) {
    let prepared = command(workshop, workshop.folder(), &[]);
    let script = format!(
        "ulimit -n 256; set -e; turn=0
         while [ $turn -lt {count} ]; do
             \"$0\" push -C owner origin turn-$turn:main
             \"$0\" pull -C copy
             \"$0\" backup copy ./vault
             turn=$((turn + 1))
         done"
    );
    let mut turns = Command::new("/bin/sh");
    let settings = prepared.get_envs();
    turns
        .env_clear()
        .envs(settings.filter_map(|(name, value)| Some((name, value?))))
        .args(["-c", &script])
        .arg(binary())
        .current_dir(workshop.folder());
    process::run(turns, "", Duration::from_mins(20)).expect_success();
}

#[test]
#[ignore = "long: a thousand pushes, pulls and backups"]
fn pushes_pulls_and_backups_in_turns_stay_few_files() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let remote = workshop.folder().join("remote");
    let url = format!("file://{}", remote.display());
    owner.sql(&format!(
        "call dolt_remote('add', 'origin', '{url}'); call dolt_push('origin', 'main')"
    ));
    limited(&workshop, &["clone", &url, "copy"]).expect_success();
    let copy = workshop.database("copy");
    let clock = SystemClock::new();
    let all_turns = match std::env::var_os("HOLDFAST_TURNS") {
        Some(count) => {
            let count = count.to_str().and_then(|count| count.parse().ok());
            count.expect("HOLDFAST_TURNS is a number")
        }
        None => TURNS,
    };
    for turn in (0..all_turns).step_by(AT_ONCE as usize) {
        let turns = turn..all_turns.min(turn + AT_ONCE);
        let count = turns.end - turns.start;
        make_commits(&owner, turns);
        let began = clock.monotonic();
        take_turns(&workshop, count);
        let (took, all) = (clock.monotonic() - began, clock.monotonic());
        say::line(format_args!(
            "{count} turns from {turn} on took {took:.1?}, all {all:.1?}"
        ));
    }
    let vault = workshop.folder().join("vault");
    for store in [&remote, &vault, &copy.folder().join(".dolt/noms")] {
        let count = count_of(store);
        assert!(count <= 100, "{} has {count} files", store.display());
    }
    assert_eq!(copy.log(), owner.log());
    assert_whole(&copy);
    workshop.clone_from(&url, "fresh", &[]).fsck();
    let first = ["backup", "restore", "./vault", "restored"];
    limited(&workshop, &first).expect_success();
    assert_eq!(workshop.database("restored").log(), owner.log());
}
