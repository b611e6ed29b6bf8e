//! Damaged files of vaults, directories and buckets, mended from what is backed up or pushed.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::path::{Path, PathBuf};

use holdfast_client::database::FolderLock;
use holdfast_tests::bucket::Bucket;
use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::world::World;
use serde_json::{Value, json};

use crate::damage::damage_two;
use crate::holdfast::{holdfast, ours};
use crate::places;
use crate::scene::workshop;

/// How a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Lost,
    Short,
    Chunks,
}

impl Damage {
    fn to(self, path: &Path) {
        match self {
            Self::Lost => std::fs::remove_file(path).unwrap(),
            Self::Short => {
                let mut bytes = std::fs::read(path).unwrap();
                bytes.truncate(bytes.len() / 2);
                std::fs::remove_file(path).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            Self::Chunks => drop(damage_two(path)),
        }
    }
}

fn backup(workshop: &Workshop, to: &str, check: &str) -> Value {
    let arguments = ["--format", "json", "backup", "owner", to, "--check", check];
    let told = holdfast(workshop, workshop.folder(), &arguments).expect_success();
    serde_json::from_str(told.trim()).unwrap()
}

/// Checks one backup, and returns how many problems it has.
fn problems(workshop: &Workshop, at: &str, number: &str) -> u64 {
    let arguments = [
        "--format", "json", "backup", "verify", at, "--backup", number,
    ];
    let told = holdfast(workshop, workshop.folder(), &arguments);
    let last: Value = serde_json::from_str(told.stdout.lines().last().unwrap()).unwrap();
    last["problems"].as_u64().unwrap()
}

fn restored(workshop: &Workshop, from: &str, number: &str, into: &str) -> Database {
    let arguments = ["backup", "restore", from, "--backup", number, into];
    holdfast(workshop, workshop.folder(), &arguments).expect_success();
    workshop.database(into)
}

/// The file that the first backup made.
fn first_file(vault: &Path) -> PathBuf {
    let text = std::fs::read(vault.join("holdfast-backups/0000000001.json")).unwrap();
    let record: Value = serde_json::from_slice(&text).unwrap();
    vault.join(record["files"]["whole"][0]["id"].as_str().unwrap())
}

fn id(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_backup_mends_the_damaged_files_of_its_vault() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let first = owner.log();
    for damage in [Damage::Chunks, Damage::Lost, Damage::Short] {
        let to = format!("./{damage:?}");
        backup(&workshop, &to, "0%");
        let vault = workshop.folder().join(format!("{damage:?}"));
        let file = first_file(&vault);
        damage.to(&file);
        assert!(problems_or_closed(&workshop, &to));
        let told = backup(&workshop, &to, "100%");
        assert_eq!(told["outcome"], "unchanged", "{damage:?}: {told}");
        let mended = &told["mended"];
        assert_eq!(mended["files"], json!([id(&file)]), "{told}");
        assert_eq!(mended["backups"], json!([1]), "{told}");
        assert_eq!(mended["lacking"], 0, "{told}");
        assert!(mended["chunks"].as_u64().unwrap() > 0, "{told}");
        if damage == Damage::Chunks {
            assert_eq!(mended["chunks"], 2, "the others were copied");
        }
        assert_eq!(problems(&workshop, &to, "1"), 0, "{damage:?}");
        let again = backup(&workshop, &to, "100%");
        assert_eq!(again["mended"]["files"], json!([]), "{again}");

        let name = format!("restored-{damage:?}");
        let old = restored(&workshop, &to, "1", &name);
        assert_eq!(old.log(), first);
        old.fsck();
        let url = format!("file://{}", vault.display());
        let clone = workshop.clone_from(&url, &format!("clone-{damage:?}"), &[]);
        assert_eq!(clone.log(), first);
    }
}

/// Whether a vault has problems, or cannot even be opened.
fn problems_or_closed(workshop: &Workshop, at: &str) -> bool {
    let verified = holdfast(workshop, workshop.folder(), &["backup", "verify", at]);
    verified.code == Some(6)
}

#[test]
fn what_only_an_old_backup_has_is_said_not_to_be_mended() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    owner.sql("create table gone (id int primary key); insert into gone values (1), (2)");
    backup(&workshop, "./vault", "0%");
    let vault = workshop.folder().join("vault");
    let file = first_file(&vault);
    // The working set of the first backup is not in the database any more.
    owner.sql("drop table gone");
    owner.ok(&["gc"]);
    backup(&workshop, "./vault", "0%");
    Damage::Lost.to(&file);
    let dry = ["backup", "owner", "./vault", "--dry-run"];
    let refused = holdfast(&workshop, workshop.folder(), &dry).expect_code(6);
    assert!(refused.contains("needed by backup 2, 1"), "{refused}");

    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    let arguments = ["backup", "owner", "./vault"];
    let told = holdfast(&workshop, workshop.folder(), &arguments);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("could not mend "), "{}", told.stdout);
    assert!(told.stderr.contains("is damaged: file "), "{}", told.stderr);
    let text = std::fs::read_to_string(vault.join("holdfast-backups/0000000003.json")).unwrap();
    assert!(!text.contains(id(&file)), "it no longer counts");
    assert!(problems(&workshop, "./vault", "1") > 0);
    for number in ["2", "3"] {
        assert_eq!(problems(&workshop, "./vault", number), 0, "{number}");
    }
    let new = restored(&workshop, "./vault", "3", "new");
    assert_eq!(new.log(), owner.log());
    new.fsck();
}

/// A database pushed by dolt, and the files of its remote.
fn pushed(workshop: &Workshop, url: &str) -> Database {
    let owner = World::SMALL.make(workshop, "owner");
    owner.ok(&["remote", "add", "origin", url]);
    owner.push(&["origin", "main"]);
    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    owner
}

/// What relies on a damaged remote is refused and named, and a push with `--repair` mends it.
fn assert_repaired(workshop: &Workshop, owner: &Database, url: &str, damaged: &str, name: &str) {
    for command in [vec!["push", "origin", "main"], vec!["mirror", ".", url]] {
        let refused = ours(owner, &command).expect_code(6);
        assert!(refused.contains(damaged), "{refused}");
        assert!(refused.contains("holdfast push --repair"), "{refused}");
    }
    let dry = ["push", "--repair", "--dry-run", "origin", "main"];
    // Where the list of refs is lost too, there is nothing yet that a push could be planned on.
    if url.starts_with("file:") {
        let told = ours(owner, &dry).expect_success();
        assert!(told.contains("Missing at"), "{told}");
    }
    ours(owner, &["push", "origin", "main"]).expect_code(6);
    let told = ours(owner, &["push", "--repair", "origin", "main"]).expect_success();
    assert!(told.contains("chunks that were missing"), "{told}");
    let clone = workshop.clone_from(url, name, &[]);
    assert_eq!(clone.log(), owner.log());
    clone.fsck();
    ours(owner, &["mirror", ".", url]).expect_success();
}

#[test]
fn push_repair_mends_a_directory() {
    let Some(workshop) = workshop() else { return };
    let remote = workshop.folder().join("remote");
    let url = format!("file://{}", remote.display());
    let owner = pushed(&workshop, &url);
    for (name, damage) in [("after-loss", Damage::Lost), ("after-cut", Damage::Short)] {
        let files = std::fs::read_dir(&remote).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        let is_table = |path: &PathBuf| id(path).len() >= 32;
        let len = |path: &PathBuf| path.metadata().unwrap().len();
        let file = paths.filter(is_table).max_by_key(len).unwrap();
        damage.to(&file);
        assert_repaired(&workshop, &owner, &url, &id(&file)[..32], name);
        let row = format!(
            "insert into customers (id, name) values ({}, 'again')",
            99_993 + name.len()
        );
        owner.commit(name, &row);
    }
}

#[test]
fn a_repair_locks_the_folder_where_files_gather() {
    let Some(workshop) = workshop() else { return };
    let url = format!("file://{}", workshop.folder().join("remote").display());
    let owner = pushed(&workshop, &url);
    let repair = ["push", "--repair", "origin", "main"];
    let lock = FolderLock::take(&owner.folder().join(".dolt/holdfast")).unwrap();
    let refused = ours(&owner, &repair).expect_code(11);
    assert!(refused.contains(".dolt/holdfast"), "{refused}");
    // What writes nothing needs no lock.
    let dry = ["push", "--repair", "--dry-run", "origin", "main"];
    ours(&owner, &dry).expect_success();
    drop(lock);
    ours(&owner, &repair).expect_success();
}

#[test]
fn a_mirror_says_what_is_not_committed_on_a_branch_that_it_removes() {
    let Some(workshop) = workshop() else { return };
    let owner = workshop.init("owner");
    owner.commit("begun", "create table word (id int primary key)");
    owner.ok(&["branch", "side"]);
    owner.sql("call dolt_checkout('side'); insert into word values (1)");
    let backup = ["backup", "owner", "./target"];
    holdfast(&workshop, workshop.folder(), &backup).expect_success();
    owner.ok(&["branch", "-D", "-f", "side"]);
    let mirror = |more: &[&str]| {
        let arguments = [&["mirror", "owner", "./target"], more].concat();
        holdfast(&workshop, workshop.folder(), &arguments)
    };
    for more in [&[][..], &["--dry-run"]] {
        let refused = mirror(more).expect_code(4);
        assert!(refused.contains("not committed on side"), "{refused}");
        assert!(refused.contains("--force"), "{refused}");
    }
    mirror(&["--keep-vanished"]).expect_success();
    let told = mirror(&["--force"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("go with side"), "{}", told.stderr);
    assert!(told.stdout.contains("refs/heads/side"), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_and_remotes_in_a_bucket_are_mended_too() {
    let Some(dolt) = Dolt::find() else { return };
    let bucket = Bucket::start().await;
    let workshop = places::with_keys(&Workshop::new(&dolt), &bucket);
    let url = places::url(&bucket, "remote");
    let owner = pushed(&workshop, &url);
    let largest = |prefix: &str| {
        let keys = bucket.keys().into_iter();
        let is_table = |key: &String| {
            let name = key.strip_prefix(prefix);
            name.is_some_and(|name| name.len() == 32 && !name.contains('/'))
        };
        let len = |key: &String| bucket.object(key).unwrap().len();
        keys.filter(is_table).max_by_key(len).unwrap()
    };
    let key = largest("remote/");
    bucket.lose(&key);
    assert_repaired(
        &workshop,
        &owner,
        &url,
        &key["remote/".len()..],
        "after-loss",
    );

    let vault = places::url(&bucket, "vault");
    backup(&workshop, &vault, "0%");
    for is_short in [true, false] {
        let key = largest("vault/");
        let body = bucket.object(&key).unwrap();
        match is_short {
            true => bucket.damage(&key, body.slice(..body.len() / 2)),
            // A byte of the data.
            false => {
                let mut bytes = body.to_vec();
                bytes[body.len() / 3] ^= 1;
                bucket.damage(&key, bytes.into());
            }
        }
        let told = backup(&workshop, &vault, "100%");
        let mended = json!([key["vault/".len()..]]);
        assert_eq!(told["mended"]["files"], mended, "{told}");
        assert_eq!(told["mended"]["lacking"], 0, "{told}");
        assert_eq!(problems(&workshop, &vault, "1"), 0, "{is_short}");
    }
    let old = restored(&workshop, &vault, "1", "old");
    assert_eq!(old.log(), owner.log());
    old.fsck();
}
