//! A server whose data files are lost, cut short or changed, and a push that sends what they held again.

#![expect(
    clippy::disallowed_methods,
    reason = "tests change stored files as a failing disk does"
)]

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::{wait, web};
use tokio::runtime::Runtime;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, hash, prod, workshop};

/// What the server's log says once of a damaged file.
const NOTICED: &str = "a data file is damaged";
/// What everybody is told.
const COMMAND: &str = "holdfast push --repair";

/// The data files of a server, the largest first.
fn data_files(forge: &Forge) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&forge.data().join("store/pools"), &mut files);
    files.retain(|path| path.components().any(|part| part.as_os_str() == "files"));
    files.sort_by_key(|path| std::cmp::Reverse(len(path)));
    assert!(!files.is_empty(), "there are data files");
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

fn len(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// Replaces a file; those of a store cannot be written to.
fn replace(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A database of two pushed commits, of which the first has most of the rows.
fn published(workshop: &Workshop, forge: &Forge) -> Database {
    let owner = workshop.init("owner");
    let rows: Vec<String> = (0..3000)
        .map(|number| format!("({number}, sha2('{number}', 256))"))
        .collect();
    let rows = rows.join(", ");
    owner.commit(
        "rows",
        &format!("create table word (id int primary key, text varchar(80)); insert into word values {rows}"),
    );
    owner.ok(&["remote", "add", "origin", &prod(forge)]);
    owner.push(&["origin", "main"]);
    owner.commit("one more", "insert into word values (-1, 'more')");
    owner.push(&["origin", "main"]);
    owner
}

fn readiness(forge: &Forge) -> String {
    let url = format!("{}/ready", forge.server_urls()[0]);
    let answer = Runtime::new().unwrap().block_on(web::get(&url, &[]));
    assert_eq!(answer.status, 200);
    answer.text()
}

fn wait_until_whole(forge: &Forge) {
    wait::until("the damaged file is released", || {
        readiness(forge).trim_end() == "ready"
    });
    forge.assert_whole();
}

/// Both programs are told that the server is damaged, and what to do.
fn assert_told(workshop: &Workshop, url: &str) {
    let folder = workshop.folder();
    let told = holdfast(workshop, folder, &["clone", url, "broken"]).expect_code(6);
    assert!(told.contains(COMMAND), "{told}");
    let cloned = workshop.try_clone_from(url, "broken-too", &[]);
    assert_ne!(cloned.code, Some(0));
    let told = format!("{}{}", cloned.stdout, cloned.stderr);
    assert!(told.contains(COMMAND), "{told}");
}

/// A whole clone, by dolt, of what the owner has.
fn assert_mended(workshop: &Workshop, forge: &Forge, owner: &Database, name: &str) {
    let clone = workshop.clone_from(&prod(forge), name, &[]);
    assert_eq!(hash(&clone, "main"), hash(owner, "main"));
    assert_eq!(clone.count("word", "true"), owner.count("word", "true"));
    assert_whole(&clone);
    wait_until_whole(forge);
}

#[test]
fn what_a_lost_or_short_file_held_is_sent_again_below_commits_that_are_there() {
    let Some(workshop) = workshop() else { return };
    let mut forge = Forge::start(Plan::on_local_disk());
    forge.logs().expect(NOTICED);
    let owner = published(&workshop, &forge);
    for (name, is_cut) in [("after-loss", false), ("after-cut", true)] {
        let largest = data_files(&forge).remove(0);
        match is_cut {
            true => replace(&largest, |bytes| bytes.truncate(bytes.len() / 2)),
            false => fs::remove_file(&largest).unwrap(),
        }
        forge = forge.restart(|_| {});
        let url = prod(&forge);
        wait::until("the damage is noticed after the start", || {
            readiness(&forge).contains("1 data file is damaged")
        });
        let text = forge.logs().text();
        let file = largest.file_name().unwrap().to_str().unwrap();
        let line = text
            .lines()
            .find(|line| line.contains(NOTICED) && line.contains(file));
        assert!(line.unwrap().contains("acme/prod"), "{text}");
        assert!(readiness(&forge).contains(file));
        assert_told(&workshop, &url);

        // The commit is there: neither program looks below it.
        let told = ours(&owner, &["push", &url, "main"]).expect_success();
        assert!(told.contains("Everything up-to-date"), "{told}");
        let dry = ours(&owner, &["push", "--repair", "--dry-run", &url, "main"]);
        assert!(dry.expect_success().contains("Missing at"));
        let told = ours(&owner, &["push", "--repair", &url, "main"]).expect_success();
        assert!(told.contains("chunks that were missing"), "{told}");
        assert_mended(&workshop, &forge, &owner, name);
        let told = ours(&owner, &["push", "--repair", &url, "main"]).expect_success();
        assert!(told.contains("Nothing that is here is missing"), "{told}");
    }
    forge.finish();
}

#[test]
fn a_changed_byte_below_the_root_is_noticed_when_it_is_read_and_the_refs_are_sent_again() {
    let Some(workshop) = workshop() else { return };
    let forge = Forge::start(Plan::on_local_disk());
    forge.logs().expect(NOTICED);
    let owner = published(&workshop, &forge);
    // Small files are those of the refs: the root and what is below it, all that the server itself reads.
    let small: Vec<_> = data_files(&forge)
        .into_iter()
        .filter(|path| len(path) < 1024)
        .collect();
    assert!(!small.is_empty());
    for path in &small {
        // A few chunks, and behind them 28 bytes of index for each and 20 more.
        replace(path, |bytes| {
            let data = bytes.len() - 20 - 2 * 28;
            bytes[..data]
                .iter_mut()
                .step_by(16)
                .for_each(|byte| *byte ^= 1);
        });
    }
    // What was pushed last is kept at hand: a server that starts anew reads it.
    let forge = forge.restart(|_| {});
    let url = prod(&forge);
    owner.ok(&["remote", "remove", "origin"]);
    owner.ok(&["remote", "add", "origin", &url]);
    owner.ok(&["branch", "next"]);
    let told = ours(&owner, &["push", &url, "next"]);
    assert_eq!(told.code, Some(6), "{}", told.stderr);
    // What is there is told as damaged from the first reading on, to who comes next.
    let commit = owner.run(&["push", "origin", "next"]);
    assert_ne!(commit.code, Some(0));

    owner.ok(&["branch", "-d", "next"]);
    let told = ours(&owner, &["push", "--repair", "origin", "main"]).expect_success();
    assert!(told.contains("chunks that were missing"), "{told}");
    assert_mended(&workshop, &forge, &owner, "after-flip");
    forge.finish();
}

#[test]
fn a_clone_of_part_says_what_it_cannot_give() {
    let Some(workshop) = workshop() else { return };
    let forge = Forge::start(Plan::on_local_disk());
    forge.logs().expect(NOTICED);
    let owner = published(&workshop, &forge);
    let url = prod(&forge);
    let cloned = ["clone", "--depth", "1", &url, "shallow"];
    holdfast(&workshop, workshop.folder(), &cloned).expect_success();
    let shallow = workshop.database("shallow");
    let largest = data_files(&forge).remove(0);
    fs::remove_file(&largest).unwrap();
    let forge = forge.restart(|_| {});
    let url = prod(&forge);
    wait::until("the damage is noticed after the start", || {
        readiness(&forge).contains("1 data file is damaged")
    });
    let told = ours(&shallow, &["push", "--repair", &url, "main"]);
    assert!(matches!(told.code, Some(4 | 6)), "{told:?}");
    assert!(told.stderr.contains("whole clone"), "{}", told.stderr);
    ours(&owner, &["push", "--repair", &url, "main"]).expect_success();
    assert_mended(&workshop, &forge, &owner, "after-all");
    forge.finish();
}
