//! What earlier versions left on disks is opened by this one: the store of a server, a vault, directories of databases.
//!
//! Below `tests/data/frozen` there is a folder for each version whose formats were frozen; `making` made it then, and
//! `MADE_BY.md` says how. A folder is never made anew for a version that was released.

#![expect(
    clippy::disallowed_methods,
    reason = "tests put files into place as no program may"
)]

mod making;

use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::proxy::FaultProxy;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, hash, workshop};

/// Stands for the address of the server, which is another one each time.
const HOST: &str = "http://holdfast.invalid";

/// What was frozen.
fn frozen() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/frozen");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// What is true of what was frozen, by its name.
fn expected(folder: &Path, name: &str) -> String {
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    expected[name].as_str().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts text in the place of other text, in all files below a folder that tell an address.
fn readdress(folder: &Path, from: &str, to: &str) {
    for name in [".dolt/repo_state.json", ".dolt/holdfast/clone-origin"] {
        let path = folder.join(name);
        if let Ok(text) = std::fs::read_to_string(&path) {
            std::fs::write(&path, text.replace(from, to)).unwrap();
        }
    }
}

/// A server on a copy of a frozen store.
fn serve(folder: &Path) -> Forge {
    let forge = Forge::start(Plan::on_local_disk());
    let data = forge.data();
    forge.restart(|_| {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&folder.join("store"), &data);
    })
}

/// A copy of a frozen directory, of a repository of a server.
fn directory(workshop: &Workshop, folder: &Path, name: &str, base_url: &str) -> Database {
    let database = workshop.database(name);
    copy(&folder.join(name), database.folder());
    // Git keeps no empty folders.
    std::fs::create_dir_all(database.folder().join(".dolt/noms")).unwrap();
    readdress(database.folder(), HOST, base_url);
    database
}

#[test]
fn a_frozen_store_is_served_and_goes_on() {
    for folder in frozen() {
        let Some(workshop) = workshop() else { return };
        let forge = serve(&folder);
        assert_eq!(forge.repositories(), ["acme/prod"]);
        forge.assert_whole();
        let url = format!("{}/acme/prod", forge.base_url());
        let clone = workshop.clone_from(&url, "clone", &[]);
        assert_eq!(hash(&clone, "main"), expected(&folder, "main"));
        assert_eq!(hash(&clone, "v1"), expected(&folder, "first"));
        clone.fsck();
        clone.commit("goes on", "insert into word values (900, 'goes on')");
        clone.push(&["origin", "main"]);
        let forge = forge.restart(|_| {});
        let url = forge.moved(&url);
        let again = workshop.clone_from(&url, "again", &[]);
        assert_eq!(again.log(), clone.log());
        forge.finish();
    }
}

#[test]
fn a_frozen_vault_is_listed_verified_restored_and_goes_on() {
    for folder in frozen() {
        let Some(workshop) = workshop() else { return };
        let vault = workshop.folder().join("vault");
        copy(&folder.join("vault"), &vault);
        let ok =
            |arguments: &[&str]| holdfast(&workshop, workshop.folder(), arguments).expect_success();
        let forms: Vec<u64> = [2, 3].map(|number| form_of(&vault, number)).into();
        assert_eq!(forms, [1, 2]);
        let listed = ok(&["backup", "list", "./vault"]);
        assert_eq!(listed.lines().count(), making::BACKUPS, "{listed}");
        for backup in ["1", "2", "3", "17"] {
            let verified = ok(&["backup", "verify", "./vault", "--backup", backup]);
            assert!(verified.contains(" 0 problems"), "{verified}");
        }
        for (backup, expectation) in [("1", "first"), ("3", "third")] {
            ok(&[
                "backup",
                "restore",
                "./vault",
                backup_dir(backup),
                "--backup",
                backup,
            ]);
            let restored = workshop.database(backup_dir(backup));
            assert_eq!(hash(&restored, "main"), expected(&folder, expectation));
            restored.fsck();
        }
        ok(&["backup", "restore", "./vault", "latest"]);
        let latest = workshop.database("latest");
        assert_eq!(hash(&latest, "main"), expected(&folder, "last"));
        latest.commit("goes on", "insert into word values (900, 'goes on')");
        ok(&["backup", "latest", "./vault"]);
        let verified = ok(&["backup", "verify", "./vault"]);
        assert!(verified.contains(" 0 problems"), "{verified}");
        let listed = ok(&["backup", "list", "./vault"]);
        assert_eq!(listed.lines().count(), making::BACKUPS + 1, "{listed}");
    }
}

fn backup_dir(backup: &str) -> &'static str {
    match backup {
        "1" => "restored-1",
        _ => "restored-3",
    }
}

fn form_of(vault: &Path, number: u64) -> u64 {
    let path = vault.join(format!("holdfast-backups/{number:010}.json"));
    let text = std::fs::read(path).unwrap();
    let record: Value = serde_json::from_slice(&text).unwrap();
    record["form"].as_u64().unwrap()
}

#[test]
fn a_frozen_directory_is_verified_and_fetches() {
    for folder in frozen() {
        let Some(workshop) = workshop() else { return };
        let forge = serve(&folder);
        let clone = directory(&workshop, &folder, "clone", forge.base_url());
        assert_whole(&clone);
        assert_eq!(hash(&clone, "main"), expected(&folder, "cloned"));
        ours(&clone, &["pull"]).expect_success();
        assert_eq!(hash(&clone, "main"), expected(&folder, "main"));
        clone.commit("goes on", "insert into word values (900, 'goes on')");
        ours(&clone, &["push", "origin", "main"]).expect_success();
        assert_whole(&clone);
        forge.finish();
    }
}

#[test]
fn frozen_clones_that_were_cut_off_go_on() {
    for folder in frozen() {
        let Some(workshop) = workshop() else { return };
        let forge = serve(&folder);
        let runtime = Runtime::new().unwrap();
        let port = forge.base_url().rsplit_once(':').unwrap().1.to_owned();
        let backend = format!("127.0.0.1:{port}").parse().unwrap();
        let proxy = runtime.block_on(FaultProxy::start(backend, [])).unwrap();
        let base_url = format!("http://127.0.0.1:{}", proxy.address().port());
        let url = format!("{base_url}/acme/prod");
        for (name, more) in making::UNFINISHED {
            let moved = |arguments: &[&str]| {
                let before = proxy.moved();
                let clone = [&["clone", &url], arguments, more].concat();
                holdfast(&workshop, workshop.folder(), &clone).expect_success();
                proxy.moved() - before
            };
            let anew = format!("{name}-anew");
            let of_all = moved(&[&anew]);
            let database = directory(&workshop, &folder, name, &base_url);
            assert!(!database.folder().join(".dolt/repo_state.json").exists());
            let of_rest = moved(&[name]);
            assert!(
                of_rest < of_all,
                "{name}: {of_rest} of {of_all} bytes moved"
            );
            assert_eq!(hash(&database, "main"), expected(&folder, "main"));
            assert_whole(&database);
            assert!(!database.folder().join(".dolt/holdfast").exists());
        }
        drop(proxy);
        forge.finish();
    }
}

#[test]
fn a_frozen_inventory_is_verified() {
    for folder in frozen() {
        let Some(workshop) = workshop() else { return };
        let moved = directory(&workshop, &folder, "moved", HOST);
        let inventory = folder.join("moved.inventory");
        let inventory = inventory.to_str().unwrap();
        let verified = ours(&moved, &["verify", "--inventory", inventory]).expect_success();
        assert!(verified.contains("0 problems"), "{verified}");
        assert_eq!(hash(&moved, "other"), expected(&folder, "other"));
    }
}

/// What a later version left to go on with is neither read nor removed.
#[test]
fn what_a_newer_version_left_in_a_directory_is_refused_by_its_form() {
    let folder = frozen().pop().unwrap();
    let Some(workshop) = workshop() else { return };
    let forge = serve(&folder);
    for (name, more) in making::UNFINISHED {
        let database = directory(&workshop, &folder, name, forge.base_url());
        let kept = database.folder().join(".dolt/holdfast");
        std::fs::write(kept.join("form"), "2\n").unwrap();
        let url = format!("{}/acme/prod", forge.base_url());
        let clone = [&["clone", &url, name], more].concat();
        let told = holdfast(&workshop, workshop.folder(), &clone).expect_code(4);
        assert!(
            told.contains("it is of form 2, which a newer holdfast left"),
            "{told}"
        );
        assert!(kept.join("clone-origin").exists());
    }
    let clone = directory(&workshop, &folder, "clone", forge.base_url());
    let kept = clone.folder().join(".dolt/holdfast");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("form"), "2\n").unwrap();
    let told = ours(&clone, &["fetch"]).expect_code(4);
    assert!(
        told.contains("it is of form 2, which a newer holdfast left"),
        "{told}"
    );
    clone.commit("goes on", "insert into word values (900, 'goes on')");
    let told = ours(&clone, &["push", "origin", "main:other-place"]).expect_code(4);
    assert!(
        told.contains("it is of form 2, which a newer holdfast left"),
        "{told}"
    );
    forge.finish();
}

/// A record of a later form stops what would need it, and says which form it is.
#[test]
fn a_record_of_a_newer_form_is_refused_by_its_form() {
    let folder = frozen().pop().unwrap();
    let Some(workshop) = workshop() else { return };
    let vault = workshop.folder().join("vault");
    copy(&folder.join("vault"), &vault);
    let newer = making::BACKUPS + 1;
    let record = vault.join(format!("holdfast-backups/{newer:010}.json"));
    std::fs::write(
        &record,
        format!("{{\"form\":3,\"id\":{newer},\"else\":[]}}"),
    )
    .unwrap();
    let other = workshop.init("other");
    let source = other.folder().to_str().unwrap().to_owned();
    for arguments in [
        &["backup", "list", "./vault"][..],
        &["backup", "restore", "./vault", "restored"],
        &["backup", "verify", "./vault"],
        &["backup", &source, "./vault", "--force"],
    ] {
        let told = holdfast(&workshop, workshop.folder(), arguments).expect_code(4);
        assert!(
            told.contains("it is of form 3, and this version knows forms up to 2"),
            "{told}"
        );
    }
    // What is older is still there.
    let first = ["backup", "restore", "./vault", "restored", "--backup", "1"];
    holdfast(&workshop, workshop.folder(), &first).expect_success();
}
