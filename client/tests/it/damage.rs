//! Damage is named, each chunk of it, with what needs it.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::{MAX_CHUNK_LEN, table};
use holdfast_doltdb::MessageKind;
use holdfast_doltdb::model::Commit;
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

/// What a table file of Dolt's lists, each with where its record lies. The index stands in front of the footer: prefixes
/// with ordinals, lengths, suffixes.
fn records(file: &[u8]) -> Vec<(ChunkAddress, std::ops::Range<usize>)> {
    let number = |at: usize, len: usize| {
        let bytes = &file[at..at + len];
        bytes
            .iter()
            .fold(0, |sum, byte| sum * 256 + usize::from(*byte))
    };
    let count = number(file.len() - 20, 4);
    let tuples = file.len() - 20 - 28 * count;
    let (lengths, suffixes) = (tuples + 12 * count, tuples + 16 * count);
    let mut begin = 0;
    let mut spans = Vec::new();
    for ordinal in 0..count {
        let len = number(lengths + 4 * ordinal, 4);
        spans.push(begin..begin + len);
        begin += len;
    }
    let tuple = |position: usize| {
        let at = tuples + 12 * position;
        let ordinal = number(at + 8, 4);
        let mut address = [0; 20];
        address[..8].copy_from_slice(&file[at..at + 8]);
        let suffix = suffixes + 12 * ordinal;
        address[8..].copy_from_slice(&file[suffix..suffix + 12]);
        (ChunkAddress::new(address), spans[ordinal].clone())
    };
    (0..count).map(tuple).collect()
}

/// Flips a byte of the records of two chunks of a table file: a part of a table, and the newest commit.
pub(crate) fn damage_two(path: &Path) -> [ChunkAddress; 2] {
    let mut bytes = std::fs::read(path).unwrap();
    let records = records(&bytes);
    let kind = |span: &std::ops::Range<usize>| {
        let record = &bytes[span.clone()];
        let mut chunk = Vec::new();
        table::record::decode(record, MAX_CHUNK_LEN, &mut chunk).unwrap();
        chunk
    };
    let is_rows = |span: &std::ops::Range<usize>| {
        MessageKind::of_head(&kind(span)) == Some(MessageKind::ProllyNode)
    };
    let commits = records.iter().filter_map(|(address, span)| {
        let chunk = kind(span);
        let commit = Commit::decode(&chunk).ok()?;
        Some((commit.height, *address, span.clone()))
    });
    let (_, commit, of_commit) = commits.max_by_key(|(height, ..)| *height).unwrap();
    let (rows, of_rows) = records
        .iter()
        .find(|(_, span)| is_rows(span))
        .unwrap()
        .clone();
    for span in [of_commit, of_rows] {
        bytes[span.start + 3] ^= 1;
    }
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
    [rows, commit]
}

/// The lines of a command that end with damage, as JSON.
fn told(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let arguments = [&["--format", "json"], arguments].concat();
    let finished = holdfast(workshop, folder, &arguments);
    assert_eq!(finished.code, Some(6), "{finished:?}");
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn line_of(lines: &[serde_json::Value], chunk: ChunkAddress) -> &serde_json::Value {
    let chunk = chunk.to_string();
    let of_chunk = |line: &&serde_json::Value| line["chunk"] == chunk.as_str();
    lines
        .iter()
        .find(of_chunk)
        .unwrap_or_else(|| panic!("{lines:?}"))
}

/// Both chunks are told with what needs them.
fn assert_needs(lines: &[serde_json::Value], [rows, commit]: [ChunkAddress; 2]) {
    let need = line_of(lines, rows);
    assert_eq!(need["is"], "tables", "{need}");
    assert!(!need["commits"].as_array().unwrap().is_empty(), "{need}");
    let refs = need["refs"].as_array().unwrap();
    assert!(
        refs.iter()
            .any(|name| name.as_str().unwrap().starts_with("refs/heads/"))
    );
    let need = line_of(lines, commit);
    assert_eq!(need["is"], "commit", "{need}");
    assert!(!need["refs"].as_array().unwrap().is_empty(), "{need}");
}

#[test]
fn verify_tells_what_needs_a_damaged_chunk() {
    let Some(workshop) = workshop() else { return };
    World::SMALL.make(&workshop, "owner");
    // There is one table file of all.
    let mirror = ["mirror", "owner", "./mirror"];
    holdfast(&workshop, workshop.folder(), &mirror).expect_success();
    let files = std::fs::read_dir(workshop.folder().join("mirror")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let is_table = |path: &PathBuf| path.file_name().unwrap().len() == 32;
    let len = |path: &PathBuf| path.metadata().unwrap().len();
    let table = paths.filter(is_table).max_by_key(len).unwrap();
    let damaged = damage_two(&table);
    let verify = ["verify", "./mirror"];
    let lines = told(&workshop, workshop.folder(), &verify);
    assert_needs(&lines, damaged);
    let text = holdfast(&workshop, workshop.folder(), &verify);
    for chunk in damaged {
        let need = format!("chunk {chunk}: ");
        let line = text.stdout.lines().find(|line| line.starts_with(&need));
        let line = line.unwrap_or_else(|| panic!("{}", text.stdout));
        assert!(line.contains("reached by refs/heads/"), "{line}");
    }
}

#[test]
fn verify_goes_on_behind_a_file_that_is_missing_or_cut_short() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    holdfast(
        &workshop,
        workshop.folder(),
        &["mirror", "owner", "./mirror"],
    )
    .expect_success();
    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    holdfast(
        &workshop,
        workshop.folder(),
        &["mirror", "owner", "./mirror"],
    )
    .expect_success();
    let files = std::fs::read_dir(workshop.folder().join("mirror")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let is_table = |path: &PathBuf| path.file_name().unwrap().len() == 32;
    let len = |path: &PathBuf| path.metadata().unwrap().len();
    let largest = paths.filter(is_table).max_by_key(len).unwrap();
    let id = largest.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(&largest).unwrap();
    std::fs::remove_file(&largest).unwrap();
    for rest in [None, Some(bytes.len() / 2)] {
        if let Some(rest) = rest {
            std::fs::write(&largest, &bytes[..rest]).unwrap();
        }
        let lines = told(&workshop, workshop.folder(), &["verify", "./mirror"]);
        let names = |line: &serde_json::Value| {
            line["problem"]
                .as_str()
                .is_some_and(|text| text.contains(id))
        };
        assert!(lines.iter().any(names), "{lines:?}");
        assert!(
            lines.last().unwrap()["chunks"].as_u64() > Some(0),
            "{lines:?}"
        );
        let needs = lines.iter().find(|line| line["is"] == "tables");
        let needs = needs.unwrap_or_else(|| panic!("{lines:?}"));
        assert!(!needs["refs"].as_array().unwrap().is_empty(), "{needs}");
    }
}

#[test]
fn backup_verify_names_every_damaged_chunk_and_the_backups_that_need_it() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let backup = ["backup", "owner", "./backups"];
    holdfast(&workshop, workshop.folder(), &backup).expect_success();
    owner.commit(
        "more",
        "insert into customers (id, name) values (99992, 'more')",
    );
    holdfast(&workshop, workshop.folder(), &backup).expect_success();
    let verify = ["--format", "json", "backup", "verify", "./backups"];
    let whole = holdfast(&workshop, workshop.folder(), &verify).expect_success();
    let whole: serde_json::Value = serde_json::from_str(whole.trim()).unwrap();

    let folder = workshop.folder().join("backups");
    let text = std::fs::read(folder.join("holdfast-backups/0000000001.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let id = record["files"]["whole"][0]["id"].as_str().unwrap();
    let damaged = damage_two(&folder.join(id));
    let verify = ["backup", "verify", "./backups"];
    let lines = told(&workshop, workshop.folder(), &verify);
    assert_needs(&lines, damaged);
    for chunk in damaged {
        let named = |line: &&serde_json::Value| {
            line["problem"]
                .as_str()
                .is_some_and(|text| text.contains(&chunk.to_string()))
        };
        assert!(lines.iter().any(|line| named(&line)), "{lines:?}");
    }
    let of_file = lines.iter().find(|line| line["file"] == id).unwrap();
    assert_eq!(of_file["backups"], serde_json::json!([2, 1]));
    let summary = lines.last().unwrap();
    assert_eq!(summary["chunks"], whole["chunks"], "all chunks are checked");
    assert_eq!(summary["files"], whole["files"]);

    // The first backup alone.
    let lines = told(
        &workshop,
        workshop.folder(),
        &[&verify[..], &["--backup", "1"]].concat(),
    );
    assert!(lines.last().unwrap()["chunks"].as_u64() < whole["chunks"].as_u64());
    let refused = holdfast(
        &workshop,
        workshop.folder(),
        &[&verify[..], &["1"]].concat(),
    );
    let told = refused.expect_code(2);
    assert!(
        told.contains("hint: write --backup and the number"),
        "{told}"
    );
}
