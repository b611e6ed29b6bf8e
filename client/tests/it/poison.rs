//! Refs that Dolt could not use: what is pushed is refused, and what is there is passed over, named and removable.

use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::world::{BRANCHES, World};

use crate::holdfast::{holdfast, ours};
use crate::names::{Lawless, add};
use crate::scene::{assert_whole, forge, prod, published, refs_there, workshop};

#[test]
fn what_dolt_could_not_use_is_not_pushed() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let before = refs_there(&owner, "origin");
    for (mapping, words) in [
        ("main:refs/tags/x", "not of one kind"),
        ("refs/tags/v1:refs/heads/z", "not of one kind"),
        ("main:/x/y", "has an empty part"),
        ("main:a//b", "has an empty part"),
        ("main:HEAD", "means something else"),
        ("main:refs/stashes/x", "not of one kind"),
        ("refs/tags/v1:refs/tags/a//b", "has an empty part"),
        ("main:a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
    ] {
        let refused = ours(&owner, &["push", "origin", mapping]).expect_code(2);
        assert!(refused.contains(words), "{mapping}: {refused}");
        let is_order = |character: char| character.is_control() && character != '\n';
        assert!(!refused.contains(is_order), "{mapping}: {refused:?}");
    }
    // Dolt takes these, and our server does not.
    for (mapping, words) in [
        ("main:/x/y", "dolt branch -D '/x/y'"),
        ("main:a//b", "dolt branch -D 'a//b'"),
    ] {
        let refused = owner.refused(&["push", "origin", mapping]);
        assert!(refused.contains(words), "{mapping}: {refused}");
    }
    assert_eq!(refs_there(&owner, "origin"), before);
    workshop.clone_from(&url, "copy", &[]);
    server.finish();
}

#[test]
fn a_backup_by_dolt_is_refused_with_the_command_that_helps() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = format!("{}/acme/backup", server.base_url());
    let owner = World::SMALL.make(&workshop, "owner");
    add(
        &owner.folder().join(".dolt/noms"),
        "refs/heads/a//b",
        "refs/heads/main",
    );
    owner.ok(&["backup", "add", "b", &url]);
    let refused = owner.refused(&["backup", "sync", "b"]);
    let command = "dolt branch -D 'a//b'";
    assert!(refused.contains(command), "{refused}");
    let ours_refused = ours(&owner, &["backup", ".", &url]).expect_code(4);
    assert!(ours_refused.contains(command), "{ours_refused}");
    owner.ok(&["branch", "-D", "a//b"]);
    owner.ok(&["backup", "sync", "b"]);
    server.finish();
}

/// A remote in a directory with one good and five bad refs.
fn poisoned() -> Option<Lawless> {
    let lawless = Lawless::start()?;
    lawless.add("refs/heads//x/y", "refs/heads/main");
    lawless.add("refs/heads/a\u{1b}[2Jb", "refs/heads/main");
    lawless.add("refs/tags/x", "refs/heads/main");
    lawless.add("refs/tags/a//b", "refs/tags/v1");
    lawless.add("refs/heads/z", "refs/tags/v1");
    Some(lawless)
}

/// What every warning says, one for each bad ref.
const FAULTS: [&str; 5] = [
    r#"the name "refs/heads//x/y" has an empty part"#,
    r#"the name "refs/heads/a\u{1b}[2Jb" has a space or a character that is not allowed"#,
    r#"the ref "refs/tags/x" stands for a commit, and its place asks for a tag"#,
    r#"the name "refs/tags/a//b" has an empty part"#,
    r#"the ref "refs/heads/z" stands for a tag, and its place asks for a commit"#,
];

#[track_caller]
fn warned(workshop: &Workshop, folder: &Path, arguments: &[&str], faults: &[&str]) -> String {
    let finished = holdfast(workshop, folder, arguments);
    let text = finished.text();
    finished.expect_success();
    for fault in faults {
        assert!(text.contains(fault), "{arguments:?}: no {fault}: {text}");
    }
    let is_order = |character: char| character.is_control() && !"\n\t".contains(character);
    assert!(!text.contains(is_order), "{arguments:?}: {text:?}");
    text
}

#[track_caller]
fn assert_clean(database: &Database) {
    assert_lawful(database);
    assert_whole(database);
}

/// No bad ref came in, and dolt lists what did.
fn assert_lawful(database: &Database) {
    let refs = ours(database, &["refs", "--all"]);
    let text = refs.text();
    refs.expect_success();
    for bad in ["/x/y", "[2J", "tags/x", "a//b", "heads/z"] {
        assert!(!text.contains(bad), "{bad}: {text}");
    }
    database.ok(&["branch", "-a"]);
    database.ok(&["tag"]);
}

#[test]
fn bad_refs_are_passed_over_by_everything_that_reads() {
    let Some(lawless) = poisoned() else { return };
    let (workshop, url) = (&lawless.workshop, lawless.url.as_str());
    let folder = workshop.folder();
    warned(workshop, folder, &["clone", url, "new"], &FAULTS);
    assert_clean(&workshop.database("new"));
    warned(
        workshop,
        folder,
        &["clone", "-b", "main", "--single-branch", url, "one"],
        &FAULTS[2..4],
    );
    assert_clean(&workshop.database("one"));
    warned(
        workshop,
        folder,
        &["clone", "--depth", "1", url, "shallow"],
        &[],
    );
    // Dolt's fsck ends with a panic in every shallow clone.
    assert_lawful(&workshop.database("shallow"));
    warned(
        workshop,
        folder,
        &["move-out", url, "moved", "-b", "main"],
        &FAULTS[2..4],
    );
    assert_clean(&workshop.database("moved"));
    warned(
        workshop,
        folder,
        &["backup", "restore", url, "restored"],
        &FAULTS,
    );
    assert_clean(&workshop.database("restored"));
    let some = ["backup", "restore", url, "some", "--branch", "main"];
    warned(workshop, folder, &some, &FAULTS[2..4]);
    assert_clean(&workshop.database("some"));
    warned(workshop, folder, &["mirror", url, "./mirror"], &FAULTS);
    let mirror = format!("file://{}", folder.join("mirror").display());
    warned(workshop, folder, &["clone", &mirror, "of-mirror"], &[]);
    assert_clean(&workshop.database("of-mirror"));
    warned(workshop, folder, &["clone", "--bare", url, "bare"], &FAULTS);
    let bare = format!("file://{}", folder.join("bare").display());
    workshop.clone_from(&bare, "of-bare", &[]);

    lawless.commit_there();
    let copy = lawless.copy.folder();
    warned(workshop, copy, &["fetch", "--dry-run"], &FAULTS);
    warned(workshop, copy, &["pull"], &FAULTS);
    warned(workshop, copy, &["fetch"], &FAULTS);
    assert_clean(&lawless.copy);
    for command in ["refs", "branch", "log"] {
        let arguments: &[&str] = match command {
            "log" => &["log", "main", "--remote", url],
            "refs" => &["refs", url],
            _ => &["branch", "--remote", url],
        };
        warned(workshop, copy, arguments, &[]);
    }
}

#[test]
fn a_bad_ref_that_is_asked_for_is_refused() {
    let Some(lawless) = poisoned() else { return };
    let (workshop, url) = (&lawless.workshop, lawless.url.as_str());
    for branch in ["/x/y", "z"] {
        for arguments in [
            &["clone", "-b", branch, url, "new"][..],
            &["clone", "-b", branch, "--single-branch", url, "new"],
            &["move-out", url, "new", "-b", branch],
            &["backup", "restore", url, "new", "--branch", branch],
        ] {
            let refused = holdfast(workshop, workshop.folder(), arguments).expect_code(6);
            assert!(refused.contains(branch), "{arguments:?}: {refused}");
            assert!(!workshop.folder().join("new").exists(), "{arguments:?}");
        }
    }
}

#[test]
fn bad_refs_stop_no_push_and_can_be_removed() {
    let Some(lawless) = poisoned() else { return };
    let (workshop, copy) = (&lawless.workshop, &lawless.copy);
    let folder = copy.folder();
    let verified = holdfast(workshop, folder, &["verify", &lawless.url]).expect_code(6);
    for fault in FAULTS {
        assert!(verified.contains(fault), "{verified}");
    }
    copy.commit("more", "create table more (id int primary key)");
    ours(copy, &["push", "origin", "main"]).expect_success();
    for bad in [
        ":/x/y",
        ":a\u{1b}[2Jb",
        ":refs/tags/x",
        ":refs/tags/a//b",
        ":z",
    ] {
        let removed = ours(copy, &["push", "origin", bad]).expect_success();
        let is_order = |character: char| character.is_control() && character != '\n';
        assert!(!removed.contains(is_order), "{removed:?}");
    }
    holdfast(workshop, folder, &["verify", &lawless.url]).expect_success();
    workshop.clone_from(&lawless.url, "after", &[]);
}

#[test]
fn a_vault_takes_all_and_a_restore_leaves_out_what_dolt_could_not_use() {
    let Some(lawless) = poisoned() else { return };
    let (workshop, folder) = (&lawless.workshop, lawless.workshop.folder());
    let vault: PathBuf = folder.join("vault");
    let vault = format!("file://{}", vault.display());
    warned(workshop, folder, &["backup", &lawless.url, &vault], &FAULTS);
    // Nothing of the backup is damaged: it holds what was there.
    holdfast(workshop, folder, &["backup", "verify", &vault]).expect_success();
    warned(
        workshop,
        folder,
        &["backup", "restore", &vault, "restored"],
        &FAULTS,
    );
    let restored = workshop.database("restored");
    assert_clean(&restored);
    // What was restored is backed up to a server as it is.
    let server = forge();
    let url = format!("{}/acme/backup", server.base_url());
    let refused = holdfast(workshop, folder, &["backup", &lawless.url, &url]).expect_code(4);
    assert!(refused.contains("dolt branch -D"), "{refused}");
    ours(&restored, &["backup", ".", &url]).expect_success();
    server.finish();
}

/// The commit that a branch of the remote of a database stands for.
fn there(database: &Database, branch: &str) -> Option<String> {
    let refs = ours(
        database,
        &["refs", "--remote", "origin", "--format", "json"],
    );
    let lines = refs.expect_success();
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let name = format!("refs/heads/{branch}");
    let found = lines.find(|line: &serde_json::Value| line["name"] == name.as_str());
    found.map(|line| line.to_string())
}

#[test]
fn a_branch_goes_on_whose_name_nobody_may_give_any_more() {
    let Some(lawless) = Lawless::start() else {
        return;
    };
    let copy = &lawless.copy;
    lawless.add("refs/heads/HEAD", "refs/heads/main");
    lawless.add("refs/heads/a b", "refs/heads/main");
    let before = there(copy, "HEAD").unwrap();
    copy.commit("more", "create table more (id int primary key)");
    for name in ["HEAD", "a b"] {
        ours(
            copy,
            &["push", "origin", &format!("main:refs/heads/{name}")],
        )
        .expect_success();
    }
    assert_ne!(there(copy, "HEAD").unwrap(), before);
    for name in ["head", "c d"] {
        let refused = ours(
            copy,
            &["push", "origin", &format!("main:refs/heads/{name}")],
        );
        refused.expect_code(2);
    }
}

#[test]
fn the_last_branch_that_dolt_could_use_stays() {
    let Some(lawless) = Lawless::start() else {
        return;
    };
    let copy = &lawless.copy;
    for branch in BRANCHES.iter().filter(|branch| **branch != "main") {
        ours(copy, &["push", "--force", "origin", &format!(":{branch}")]).expect_success();
    }
    lawless.add("refs/heads/z", "refs/tags/v1");
    lawless.add("refs/heads/a b", "refs/heads/main");
    let refused = ours(copy, &["push", "origin", ":main"]).expect_code(4);
    assert!(refused.contains("the last branch stays"), "{refused}");
    ours(copy, &["push", "origin", "main:next"]).expect_success();
    ours(copy, &["push", "origin", ":main"]).expect_success();
}

#[test]
fn a_bad_tag_that_is_asked_for_is_refused_by_fetch() {
    let Some(lawless) = poisoned() else { return };
    let copy = &lawless.copy;
    let refused = ours(copy, &["fetch", "origin", "refs/tags/x"]).expect_code(6);
    assert!(refused.contains("stands for a commit"), "{refused}");
    let refused = ours(copy, &["fetch", "origin", "refs/tags/a//b"]).expect_code(6);
    assert!(refused.contains("has an empty part"), "{refused}");
    ours(copy, &["fetch", "origin", "refs/tags/*"]).expect_success();
}
