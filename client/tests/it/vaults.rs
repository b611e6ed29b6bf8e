//! Vaults whose small files were joined, and what is restored from them.

use std::path::Path;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_client::remote::Remote as _;
use holdfast_tests::bucket::Bucket;
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::world::{BRANCHES, Contents, Side, World};

use crate::holdfast::{holdfast, ours};
use crate::many_files::{scatter, scattered};
use crate::places;
use crate::scene::workshop;

/// How many files others add to a vault: enough for the next backup to join them.
const SCATTERED: u32 = 120;

fn ok(workshop: &Workshop, arguments: &[&str]) -> String {
    holdfast(workshop, workshop.folder(), arguments).expect_success()
}

fn has(store: &Path, address: ChunkAddress) -> bool {
    NomsDir::open(store)
        .unwrap()
        .find(address)
        .unwrap()
        .is_some()
}

/// A database has what its root reaches, not a chunk more, and nothing of what came into the vault later.
#[track_caller]
fn assert_nothing_newer(database: &Database, later: ChunkAddress) {
    let store = database.folder().join(".dolt/noms");
    for number in 0..SCATTERED {
        assert!(!has(&store, hash_chunk(&scattered(number))), "{number}");
    }
    assert!(!has(&store, later), "the later commit");
    let verified = ours(database, &["--format", "json", "verify"]).expect_success();
    let last = verified.lines().last().unwrap();
    let verified: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(verified["problems"], 0, "{verified}");
    assert_eq!(verified["chunks"], verified["reached"], "{verified}");
    database.fsck();
}

fn head(database: &Database) -> ChunkAddress {
    crate::scene::hash(database, "main").parse().unwrap()
}

#[track_caller]
fn assert_same(database: &Database, expected: &Contents) {
    assert_eq!(&Contents::of(database, Side::Local, &BRANCHES), expected);
}

/// Makes a database and two backups of it: the second one brings a small file, which will be joined.
fn backed_up(workshop: &Workshop, target: &str) -> Database {
    let owner = World::SMALL.make(workshop, "owner");
    ok(workshop, &["backup", "owner", target]);
    owner.commit(
        "more",
        "insert into customers (id, name) values (99990, 'more')",
    );
    owner.sql("insert into customers (id, name) values (99991, 'not committed')");
    ok(workshop, &["backup", "owner", target]);
    owner
}

#[test]
fn an_old_backup_of_a_joined_vault_is_restored_without_anything_newer() {
    let Some(workshop) = workshop() else { return };
    let owner = backed_up(&workshop, "./vault");
    let vault = workshop.folder().join("vault");
    let before = NomsDir::open(&vault).unwrap();
    let (then, log) = (Contents::of(&owner, Side::Local, &BRANCHES), owner.log());
    scatter(&vault, SCATTERED);
    owner.commit(
        "later",
        "insert into customers (id, name) values (99992, 'later')",
    );
    ok(&workshop, &["backup", "owner", "./vault"]);
    let after = NomsDir::open(&vault).unwrap();
    let ids: Vec<_> = after.files().iter().map(|file| file.id()).collect();
    let was_joined = before.files().iter().any(|file| !ids.contains(&file.id()));
    assert!(was_joined, "{ids:?}");

    ok(
        &workshop,
        &["backup", "restore", "./vault", "--backup", "2", "old"],
    );
    let old = workshop.database("old");
    assert_same(&old, &then);
    assert_eq!(old.log(), log);
    assert_nothing_newer(&old, head(&owner));
    ok(&workshop, &["backup", "verify", "./vault", "--backup", "2"]);
    // The latest brings its files as they are.
    ok(&workshop, &["backup", "restore", "./vault", "new"]);
    let new = workshop.database("new");
    assert_same(&new, &Contents::of(&owner, Side::Local, &BRANCHES));
    assert!(has(
        &new.folder().join(".dolt/noms"),
        hash_chunk(&scattered(3))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_of_a_joined_bucket_is_restored_without_anything_newer() {
    let Some(workshop) = workshop() else { return };
    let bucket = Bucket::start().await;
    let workshop = places::with_keys(&workshop, &bucket);
    let url = places::url(&bucket, "vault");
    let owner = backed_up(&workshop, &url);
    let (then, log) = (Contents::of(&owner, Side::Local, &BRANCHES), owner.log());
    let remote = places::remote(&bucket, "vault").await;
    let before = remote.list_files().await.unwrap().files;
    places::scatter(&remote, SCATTERED).await;
    owner.commit(
        "later",
        "insert into customers (id, name) values (99992, 'later')",
    );
    ok(&workshop, &["backup", "owner", &url]);
    let after = remote.list_files().await.unwrap().files;
    let is_there = |id| after.iter().any(|file| file.id == id);
    let was_joined = before.iter().any(|file| !is_there(file.id));
    assert!(was_joined, "{after:?}");
    ok(
        &workshop,
        &["backup", "restore", &url, "--backup", "2", "old"],
    );
    let old = workshop.database("old");
    assert_same(&old, &then);
    assert_eq!(old.log(), log);
    assert_nothing_newer(&old, head(&owner));
    ok(&workshop, &["backup", "restore", &url, "new"]);
    let new = workshop.database("new");
    assert_same(&new, &Contents::of(&owner, Side::Local, &BRANCHES));
}
