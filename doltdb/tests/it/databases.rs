//! Where the databases are that Dolt made.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::noms::Noms;

/// A database under its folder's name.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) noms: Noms,
}

/// Returns the folder of all fixtures, if this machine has it.
#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let named = std::env::var("HOLDFAST_SHARED").map(PathBuf::from);
    let fixtures = named.unwrap_or(beside).join("fixtures");
    fixtures.is_dir().then_some(fixtures)
}

/// Returns the folder of the databases that we made: all of them, or the few that are kept with this crate.
pub(crate) fn made() -> PathBuf {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    shared().unwrap_or(kept).join("made")
}

/// Opens the databases that we made.
pub(crate) fn all_made() -> Vec<Database> {
    let databases = open_all(&made());
    assert!(databases.len() >= 4, "too few databases in {:?}", made());
    databases
}

/// What Dolt says of a database, by the name of its folder.
pub(crate) fn expected(name: &str) -> Option<Value> {
    let (version, database) = name.split_once('/').unwrap();
    let text = std::fs::read(made().join(version).join("expected.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    all.get(database).cloned()
}

/// Opens the databases that Dolt's own tests use; none if they are not here.
pub(crate) fn all_dolt(test: &str) -> Vec<Database> {
    match shared().map(|fixtures| fixtures.join("dolt")) {
        Some(dolt) if dolt.is_dir() => open_all(&dolt),
        _ => {
            // Past the test runner: what `eprintln!` prints is shown only of tests that fail.
            let why = "the fixtures of dolt are not here, set HOLDFAST_SHARED";
            drop(writeln!(std::io::stderr().lock(), "skipped: {test}: {why}"));
            Vec::new()
        }
    }
}

fn open_all(folder: &Path) -> Vec<Database> {
    let mut found = Vec::new();
    collect(folder, &mut found);
    found.sort();
    let database = |directory: PathBuf| Database {
        name: directory
            .strip_prefix(folder)
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches("noms")
            .trim_end_matches("/.dolt/")
            .trim_end_matches('/')
            .to_owned(),
        noms: Noms::open(&directory),
    };
    found.into_iter().map(database).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("oldgen") {
            collect(&path, found);
        }
    }
    if folder.join("manifest").exists() {
        found.push(folder.to_owned());
    }
}
