//! Backups that a real dolt can clone, and databases restored from them.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::remote::{Remote as _, Remotesrv};
use holdfast_tests::say;
use holdfast_tests::world::{BRANCHES, Contents, Side, World};

use crate::holdfast::{exit_code, holdfast};

fn workshop() -> Option<Workshop> {
    let dolt = Dolt::find();
    if dolt.is_none() {
        say::skipped("no dolt; set HOLDFAST_DOLT or put it on PATH");
    }
    dolt.as_ref().map(Workshop::new)
}

fn ok(workshop: &Workshop, arguments: &[&str]) -> String {
    holdfast(workshop, workshop.folder(), arguments).expect_success()
}

fn refused(workshop: &Workshop, arguments: &[&str]) -> Option<i32> {
    exit_code(workshop, workshop.folder(), arguments)
}

/// What a command says in JSON.
fn json(workshop: &Workshop, arguments: &[&str]) -> serde_json::Value {
    let printed = ok(workshop, &[&["--format", "json"], arguments].concat());
    serde_json::from_str(printed.trim()).unwrap()
}

fn address(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// A database with changes that are not committed, and where its backups go.
fn made(workshop: &Workshop) -> (Database, PathBuf) {
    let owner = World::SMALL.make(workshop, "owner");
    owner.sql("insert into customers (id, name) values (99991, 'not committed')");
    (owner, workshop.folder().join("backups"))
}

fn assert_same(owner: &Database, copy: &Database) {
    assert_eq!(
        Contents::of(copy, Side::Local, &BRANCHES),
        Contents::of(owner, Side::Local, &BRANCHES)
    );
    assert_eq!(copy.log(), owner.log());
}

#[test]
fn dolt_clones_and_restores_the_latest_backup() {
    let Some(workshop) = workshop() else { return };
    let (owner, folder) = made(&workshop);
    ok(&workshop, &["backup", "owner", "./backups"]);
    let url = address(&folder);
    let clone = workshop.clone_from(&url, "clone", &[]);
    assert_eq!(clone.log(), owner.log());
    let restored = workshop.restore(&url, "restored");
    assert_same(&owner, &restored);
}

#[test]
fn each_backup_is_restored_as_it_was() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    let first = json(&workshop, &["backup", "owner", "./backups"]);
    let before = workshop.database("before");
    ok(
        &workshop,
        &["backup", "restore", "./backups", "before", "--backup", "1"],
    );
    assert_same(&owner, &before);
    let log = owner.log();

    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    let second = json(&workshop, &["backup", "owner", "./backups"]);
    let bytes = |told: &serde_json::Value| told["bytes"].as_u64().unwrap();
    assert!(bytes(&second) * 4 < bytes(&first), "{second} after {first}");
    let third = json(&workshop, &["backup", "owner", "./backups"]);
    assert_eq!(third["outcome"], "unchanged");

    let old = workshop.database("old");
    ok(
        &workshop,
        &["backup", "restore", "./backups", "--backup", "1", "old"],
    );
    old.fsck();
    assert_eq!(old.log(), log);
    assert_eq!(old.count("customers", "id = 99991"), 1, "the working set");
    let new = workshop.database("new");
    ok(&workshop, &["backup", "restore", "./backups", "new"]);
    assert_same(&owner, &new);
    new.commit("goes on", "delete from customers where id = 99992");
    new.ok(&["gc"]);
    new.fsck();
}

#[test]
fn a_number_alone_is_not_taken_for_a_directory() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    ok(&workshop, &["backup", "owner", "./backups"]);
    let restore = ["backup", "restore", "./backups", "1"];
    let told = holdfast(&workshop, workshop.folder(), &restore).expect_code(2);
    assert!(
        told.contains("hint: write --backup 1 for a backup, ./1 for a directory"),
        "{told}"
    );
    assert!(!workshop.folder().join("1").exists());
    // As it was written before.
    let restore = ["backup", "restore", "./backups", "1", "old"];
    assert_eq!(refused(&workshop, &restore), Some(2));
    let both = [
        "backup",
        "restore",
        "./backups",
        "old",
        "--backup",
        "1",
        "--at",
        "2026-01-01",
    ];
    assert_eq!(refused(&workshop, &both), Some(2));
    ok(&workshop, &["backup", "restore", "./backups", "./1"]);
    ok(
        &workshop,
        &["backup", "restore", "./backups", "--backup", "1", "2"],
    );
    assert_same(&owner, &workshop.database("1"));
    assert_same(&owner, &workshop.database("2"));
}

#[test]
fn one_branch_is_restored_without_the_others() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    ok(&workshop, &["backup", "owner", "./backups"]);
    let branch = BRANCHES[1];
    let arguments = ["backup", "restore", "./backups", "one", "--branch", branch];
    ok(&workshop, &arguments);
    let one = workshop.database("one");
    one.fsck();
    let branches = one.sql("select name from dolt_branches;");
    assert_eq!(branches.lines().skip(1).collect::<Vec<_>>(), [branch]);
    let hash = |database: &Database| {
        database.sql(&format!(
            "select hash from dolt_branches where name = '{branch}';"
        ))
    };
    assert_eq!(hash(&one), hash(&owner));
}

#[test]
fn damage_is_found() {
    let Some(workshop) = workshop() else { return };
    let (_, folder) = made(&workshop);
    ok(&workshop, &["backup", "owner", "./backups"]);
    let whole = json(&workshop, &["backup", "verify", "./backups"]);
    assert_eq!(whole["problems"], 0);
    assert_eq!(whole["chunks"], whole["reached"]);
    let sampled = json(
        &workshop,
        &["backup", "verify", "./backups", "--sample", "10%"],
    );
    assert_eq!(sampled["problems"], 0);
    assert!(sampled["chunks"].as_u64() < whole["chunks"].as_u64());

    let record = folder.join("holdfast-backups/0000000001.json");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let file = folder.join(record["files"]["whole"][0]["id"].as_str().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(
        refused(&workshop, &["backup", "verify", "./backups"]),
        Some(6)
    );
    let sampled = ["backup", "verify", "./backups", "--sample", "100%"];
    assert_eq!(refused(&workshop, &sampled), Some(6));
    let restore = ["backup", "restore", "./backups", "copy"];
    assert_eq!(refused(&workshop, &restore), Some(6));
}

#[test]
fn a_changed_record_is_found() {
    let Some(workshop) = workshop() else { return };
    let (owner, folder) = made(&workshop);
    ok(&workshop, &["backup", "owner", "./backups"]);
    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    ok(&workshop, &["backup", "owner", "./backups"]);
    let record = folder.join("holdfast-backups/0000000001.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::write(&record, text.replace("owner", "other")).unwrap();
    assert_eq!(
        refused(&workshop, &["backup", "verify", "./backups"]),
        Some(6)
    );
}

#[test]
fn what_is_forgotten_can_still_be_restored() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    for number in 0..3 {
        let row = format!(
            "insert into customers (id, name) values ({}, 'x')",
            90_000 + number
        );
        owner.commit("more", &row);
        ok(&workshop, &["backup", "owner", "./backups"]);
    }
    assert_eq!(
        refused(&workshop, &["backup", "forget", "./backups"]),
        Some(2)
    );
    let forget = [
        "backup",
        "forget",
        "./backups",
        "--keep-last",
        "1",
        "--keep-minimum",
        "2",
    ];
    let told = json(&workshop, &forget);
    assert_eq!(told["kept"], serde_json::json!([3, 2]));
    assert_eq!(told["forgotten"], serde_json::json!([1]));
    let listed = ok(&workshop, &["backup", "list", "./backups"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    ok(
        &workshop,
        &["backup", "restore", "./backups", "--backup", "1", "old"],
    );
    let owner_less = workshop.database("old");
    assert_eq!(
        owner_less.count("customers", "id >= 90000 and id < 90010"),
        1
    );
}

#[test]
fn a_backup_does_not_take_the_place_of_something_else() {
    let Some(workshop) = workshop() else { return };
    let (owner, folder) = made(&workshop);
    let other = workshop.init("other");
    other.ok(&["remote", "add", "origin", &address(&folder)]);
    other.push(&["origin", "main"]);
    assert_eq!(
        refused(&workshop, &["backup", "owner", "./backups"]),
        Some(4)
    );
    ok(&workshop, &["backup", "owner", "./backups", "--force"]);
    assert_eq!(
        refused(&workshop, &["backup", "other", "./backups"]),
        Some(4)
    );
    let restored = workshop.restore(&address(&folder), "restored");
    assert_same(&owner, &restored);
}

#[test]
fn a_server_is_backed_up_and_backed_up_to() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    let Some(server) = Remotesrv::start(&[]) else {
        return;
    };
    let url = format!("{}/acme/backups", server.base_url());
    ok(&workshop, &["backup", "owner", &url]);
    assert_eq!(
        refused(
            &workshop,
            &["backup", "restore", &url, "copy", "--backup", "1"]
        ),
        Some(4)
    );
    let verified = json(&workshop, &["backup", "verify", &url]);
    assert_eq!(verified["problems"], 0);
    ok(&workshop, &["backup", &url, "./backups"]);
    ok(&workshop, &["backup", "restore", "./backups", "copy"]);
    assert_same(&owner, &workshop.database("copy"));
    Box::new(server).finish();
}

#[test]
fn a_mirror_follows_its_source() {
    let Some(workshop) = workshop() else { return };
    let (owner, _) = made(&workshop);
    ok(&workshop, &["mirror", "owner", "./mirror"]);
    let url = address(&workshop.folder().join("mirror"));
    let clone = workshop.clone_from(&url, "clone", &[]);
    assert_eq!(
        Contents::of(&clone, Side::Origin, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
    clone.commit("from the clone", "create table added (id int primary key)");
    clone.push(&["origin", "main"]);
    assert_eq!(
        refused(&workshop, &["mirror", "owner", "./mirror"]),
        Some(4)
    );
    owner.ok(&["branch", "-D", BRANCHES[1]]);
    let told = json(&workshop, &["mirror", "owner", "./mirror", "--force"]);
    assert_eq!(told["updates"].as_array().unwrap().len(), 2, "{told}");
    let refs = ok(&workshop, &["refs", "./mirror"]);
    assert!(
        !refs.contains(&format!("refs/heads/{}", BRANCHES[1])),
        "{refs}"
    );
    let again = json(&workshop, &["mirror", "owner", "./mirror"]);
    assert!(again["updates"].as_array().unwrap().is_empty(), "{again}");
}
