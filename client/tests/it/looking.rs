//! Looking at databases that dolt made, without dolt.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::path::{Path, PathBuf};

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
            let log: Vec<String> = log
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .map(|entry| entry["commit"].as_str().unwrap().to_owned())
                .collect();
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
        let verified = holdfast(&workshop, &database, &["verify"]).expect_success();
        assert!(verified.contains(" 0 problems"), "{name}: {verified}");
    }
}

#[test]
fn what_is_no_database_says_so() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    for command in ["log", "branch", "verify"] {
        let refused = holdfast(&workshop, folder, &[command]).expect_failure();
        assert!(
            refused.contains("there is no Dolt database in"),
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
