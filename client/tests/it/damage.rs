//! Damage is named: by `verify` each chunk, by a backup before it says that it is done.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::world::World;

use crate::holdfast::{exit_code, holdfast};
use crate::scene::workshop;

/// The journal of a database.
fn journal(database: &Database) -> PathBuf {
    (database.folder().join(".dolt/noms")).join("v".repeat(32))
}

fn verify(workshop: &Workshop, folder: &Path) -> Option<i32> {
    exit_code(workshop, folder, &["verify"])
}

#[test]
fn a_torn_journal_end_is_a_note_and_no_damage() {
    let Some(workshop) = workshop() else { return };
    let database = World::SMALL.make(&workshop, "owner");
    let path = journal(&database);
    let whole = std::fs::metadata(&path).unwrap().len();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    // The length of a record, its first field, and nothing more of it.
    file.write_all(&[0, 0, 1, 0, 1, 2, 3, 4, 5]).unwrap();
    let told = holdfast(
        &workshop,
        database.folder(),
        &["--format", "json", "verify"],
    );
    let told = told.expect_success();
    let note: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(note["bytes"], 9, "{told}");
    assert_eq!(note["offset"], whole, "{told}");
    database.ok(&["fsck"]);
}

#[test]
fn records_behind_noise_are_a_problem() {
    let Some(workshop) = workshop() else { return };
    let database = World::SMALL.make(&workshop, "owner");
    let path = journal(&database);
    let bytes = std::fs::read(&path).unwrap();
    let len = u32::from_be_bytes(*bytes.first_chunk().unwrap());
    let record = &bytes[..usize::try_from(len).unwrap()];
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(&[255; 33]).unwrap();
    file.write_all(record).unwrap();
    assert_eq!(verify(&workshop, database.folder()), Some(6));
    let told = holdfast(&workshop, database.folder(), &["verify"]).expect_failure();
    let wanted = format!("ends at byte {}, and {} bytes", bytes.len(), 33 + len);
    assert!(told.contains(&wanted), "{told}");
}

#[test]
fn an_absent_directory_is_not_found() {
    let Some(workshop) = workshop() else { return };
    for place in ["./nothing", "file:///no/such/place"] {
        let code = exit_code(&workshop, workshop.folder(), &["verify", place]);
        assert_eq!(code, Some(3), "{place}");
    }
}

#[test]
fn the_next_backup_finds_damage_in_the_vault() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let backup = |check: &str| {
        let arguments = ["backup", "owner", "./backups", "--check", check];
        holdfast(&workshop, workshop.folder(), &arguments)
    };
    backup("1%").expect_success();
    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    let folder = workshop.folder().join("backups");
    let text = std::fs::read(folder.join("holdfast-backups/0000000001.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let file = folder.join(record["files"]["whole"][0]["id"].as_str().unwrap());
    let honest = std::fs::read(&file).unwrap();
    let damage = |at: usize| {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    };
    let refused = |check: &str, words: &str| {
        let told = backup(check).expect_failure();
        assert!(told.contains(words), "{told}");
        let arguments = ["backup", "owner", "./backups", "--check", check];
        let code = exit_code(&workshop, workshop.folder(), &arguments);
        assert_eq!(code, Some(6), "{told}");
        assert!(!folder.join("holdfast-backups/0000000002.json").exists());
    };
    damage(honest.len() / 3);
    refused("100%", "needed by backup 1");
    // The magic number at the end.
    damage(honest.len() - 1);
    refused("0%", "");
    std::fs::remove_file(&file).unwrap();
    refused("0%", "");
    std::fs::write(&file, &honest).unwrap();
    backup("100%").expect_success();
}
