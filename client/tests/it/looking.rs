//! Looking at databases that dolt made, without dolt.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::path::{Path, PathBuf};

use holdfast_tests::dolt::Workshop;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::say;

use crate::holdfast::{exit_code, holdfast};
use crate::scene::workshop;

/// The databases that we made, with what dolt says of them.
fn made() -> Vec<(PathBuf, serde_json::Value)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../doltdb/tests/data");
    let folder = match std::env::var_os("HOLDFAST_SHARED") {
        Some(shared) => PathBuf::from(shared).join("fixtures"),
        None => beside,
    };
    let mut found = Vec::new();
    for version in ["dolt-2.3.1", "dolt-1.20.0"] {
        let folder = folder.join("made").join(version);
        let expected = std::fs::read(folder.join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
        for (name, said) in expected.as_object().unwrap() {
            let database = folder.join(name);
            if database.join(".dolt/repo_state.json").exists() {
                found.push((database, said.clone()));
            }
        }
    }
    found
}

#[test]
fn logs_and_branches_are_what_dolt_says() {
    let Some(workshop) = workshop() else { return };
    let made = made();
    if made.is_empty() {
        say::skipped("no database with a repo_state.json; set HOLDFAST_SHARED");
    }
    for (database, said) in made {
        let name = database.display().to_string();
        let listed = holdfast(&workshop, &database, &["branch", "--format", "json"]);
        let listed = listed.expect_success();
        let branches = said["branches"].as_object().unwrap();
        let heads: std::collections::BTreeMap<String, String> = listed
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|entry| entry["kind"] == "branch")
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap().to_owned();
                (text("name"), text("address"))
            })
            .collect();
        for (branch, expected) in branches {
            assert_eq!(
                heads[branch],
                expected["head"].as_str().unwrap(),
                "{name} {branch}"
            );
            let log = holdfast(&workshop, &database, &["log", branch, "--format", "json"]);
            let log = log.expect_success();
            let entries: Vec<serde_json::Value> = log
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let log: Vec<String> = entries
                .iter()
                .map(|entry| entry["commit"].as_str().unwrap().to_owned())
                .collect();
            if let Some(parent) = entries[0]["parents"][0].as_str()
                && log.iter().any(|commit| commit == parent)
            {
                let revision = format!("{branch}~1");
                let before = ["log", &revision, "-n", "1", "--format", "json"];
                let before = holdfast(&workshop, &database, &before).expect_success();
                assert!(
                    before.contains(&format!("\"commit\":\"{parent}\"")),
                    "{name}: {before}"
                );
            }
            let wanted: Vec<&str> = expected["log"]
                .as_array()
                .unwrap()
                .iter()
                .map(|commit| commit.as_str().unwrap())
                .collect();
            // Dolt's log of a shallow clone shows what was left out as well.
            match name.contains("shallow") {
                true => {
                    assert!(wanted.starts_with(&log.iter().map(String::as_str).collect::<Vec<_>>()))
                }
                false => assert_eq!(log, wanted, "{name} {branch}"),
            }
        }
        assert_eq!(heads.len(), branches.len(), "{name}");
        assert_places_agree(&workshop, &database, &listed);
        let status = holdfast(&workshop, &database, &["status", "--format", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status.expect_success()).unwrap();
        let current = status["branch"].as_str().unwrap();
        assert_eq!(status["head"], said["branches"][current]["head"], "{name}");
        assert_eq!(status["shallow"], name.contains("shallow"), "{name}");
        let is_merging = name.ends_with("/unresolved");
        assert_eq!(status["working_set"]["merging"], is_merging, "{name}");
        let verified = holdfast(&workshop, &database, &["verify"]).expect_success();
        assert!(verified.contains(" 0 problems"), "{name}: {verified}");
    }
}

/// A store is the same by the path of the database, as a remote in a directory, and by `refs`.
fn assert_places_agree(workshop: &Workshop, database: &Path, listed: &str) {
    let folder = workshop.folder();
    let by_path = ["refs", database.to_str().unwrap(), "--format", "json"];
    let by_path = holdfast(workshop, folder, &by_path).expect_success();
    assert_eq!(by_path.lines().count(), listed.lines().count());
    let url = format!("file://{}", database.join(".dolt/noms").display());
    let by_url = ["refs", &url, "--format", "json"];
    let by_url = holdfast(workshop, folder, &by_url).expect_success();
    assert_eq!(by_url, by_path);
    for line in by_path.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let address = entry["address"].as_str().unwrap();
        let inspect = ["inspect", address, "--format", "json"];
        let told = holdfast(workshop, database, &inspect).expect_success();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let kind = if entry["kind"] == "tag" {
            "Tag"
        } else {
            "Commit"
        };
        assert_eq!(told["kind"], kind, "{told}");
        assert_eq!(told["address_fits"], true, "{told}");
    }
}

#[test]
fn a_remote_is_looked_at_without_a_clone() {
    let Some(workshop) = workshop() else { return };
    let forge = Forge::start(Plan::on_local_disk());
    let url = format!("{}/acme/prod", forge.base_url());
    let owner = workshop.init("owner");
    owner.commit("one", "create table t (id int primary key)");
    owner.ok(&["remote", "add", "origin", &url]);
    owner.push(&["--set-upstream", "origin", "main"]);
    let here = holdfast(&workshop, owner.folder(), &["log", "--format", "json"]);
    let here = here.expect_success();
    for arguments in [
        &["log", "--remote", "origin", "--format", "json"][..],
        &["log", "main", "--remote", &url, "--format", "json"],
    ] {
        let there = holdfast(&workshop, owner.folder(), arguments).expect_success();
        assert_eq!(there, here);
    }
    let refs = holdfast(&workshop, workshop.folder(), &["refs", &url]).expect_success();
    assert_eq!(refs.lines().count(), 1);
    assert!(refs.contains("refs/heads/main"), "{refs}");
    let verified = holdfast(&workshop, workshop.folder(), &["verify", &url]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    let none = ["log", "nothing", "--remote", &url];
    assert_eq!(exit_code(&workshop, workshop.folder(), &none), Some(3));

    owner.commit("two", "insert into t values (1)");
    owner.commit("three", "insert into t values (2)");
    let status = holdfast(&workshop, owner.folder(), &["status"]).expect_success();
    assert!(
        status.contains("ahead of origin/main by 2 commits"),
        "{status}"
    );
    assert!(status.contains("nothing to commit"), "{status}");
    forge.finish();
}

#[test]
fn every_file_of_a_store_is_told_apart() {
    let Some(workshop) = workshop() else { return };
    let database = workshop.init("inspected");
    database.commit("one", "create table t (id int primary key)");
    let kind = |path: &str| {
        let inspect = ["inspect", path, "--format", "json", "--chunks"];
        let told = holdfast(&workshop, database.folder(), &inspect).expect_success();
        let mut lines = told.lines();
        let facts: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let chunks = facts["chunks"].as_u64().unwrap_or(0);
        assert_eq!(lines.count() as u64, chunks, "{path}");
        facts["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!(kind(".dolt/noms/manifest"), "manifest");
    let journal = "v".repeat(32);
    assert_eq!(kind(&format!(".dolt/noms/{journal}")), "journal");
    assert_eq!(kind(&journal), "journal");
    let inspect = ["inspect", ".dolt/repo_state.json"];
    assert_eq!(exit_code(&workshop, database.folder(), &inspect), Some(6));
    let inspect = ["inspect", "no-such-thing"];
    assert_eq!(exit_code(&workshop, database.folder(), &inspect), Some(3));
}

#[test]
fn manual_pages_and_completions_come_from_the_binary() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    holdfast(&workshop, folder, &["man", "--to", "pages"]).expect_success();
    let help = holdfast(&workshop, folder, &["--help"]).expect_success();
    let listed = help.split("Commands:").nth(1).unwrap();
    let commands = listed.lines().skip(1).take_while(|line| !line.is_empty());
    // A description that goes on in the next line is indented more.
    let commands = commands.filter(|line| !line.starts_with("   "));
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let script = holdfast(&workshop, folder, &["completions", "bash"]).expect_success();
    for command in commands.filter(|command| *command != "help") {
        let page = folder.join(format!("pages/holdfast-{command}.1"));
        assert!(page.exists(), "{}", page.display());
        assert!(script.contains(command), "{command}");
    }
}

#[test]
fn what_is_no_database_says_so() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    for command in ["log", "branch", "refs", "status", "verify"] {
        let refused = holdfast(&workshop, folder, &[command]).expect_failure();
        assert!(
            refused.contains("could not find a Dolt database in"),
            "{refused}"
        );
        assert_eq!(exit_code(&workshop, folder, &[command]), Some(3));
    }
}

#[test]
fn damage_is_named_and_has_its_exit_code() {
    let Some(workshop) = workshop() else { return };
    let database = workshop.init("damaged");
    database.commit("one", "create table t (id int primary key)");
    database.ok(&["gc"]);
    let noms = database.folder().join(".dolt/noms/oldgen");
    let archive = std::fs::read_dir(noms)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|suffix| suffix == "darc"))
        .unwrap();
    let mut bytes = std::fs::read(&archive).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let found = holdfast(&workshop, database.folder(), &["verify"]).expect_failure();
    assert!(found.contains("decode chunk "), "{found}");
    assert!(found.contains("problems were found"), "{found}");
    assert_eq!(
        exit_code(&workshop, database.folder(), &["verify"]),
        Some(6)
    );
}
