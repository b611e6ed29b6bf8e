//! Every verb of dolt that touches remotes, in each kind of directory that we make: it ends as it does in the directory
//! that dolt itself makes.

#![expect(clippy::disallowed_methods, reason = "tests edit files as people do")]

use std::path::Path;
use std::process::Command;

use holdfast_tests::dolt::{Database, Dolt, Workshop};

use crate::holdfast::{holdfast, ours};
use crate::scene::assert_whole;

/// A database with branches and tags, pushed into the directory `remote`.
fn published(workshop: &Workshop) -> Database {
    let owner = workshop.init("owner");
    let url = url(workshop.folder(), "remote");
    owner.sql(&format!(
        "create table word (id int primary key, text varchar(40));
         call dolt_commit('-Am', 'one');
         call dolt_tag('v1');
         insert into word values (1, 'one');
         call dolt_commit('-Am', 'two');
         call dolt_branch('north');
         call dolt_checkout('-b', 'south');
         insert into word values (2, 'two');
         call dolt_commit('-Am', 'three');
         call dolt_remote('add', 'origin', '{url}');"
    ));
    std::fs::create_dir_all(workshop.folder().join("remote")).unwrap();
    for name in ["main", "north", "south", "v1"] {
        owner.push(&["origin", name]);
    }
    owner
}

fn url(folder: &Path, name: &str) -> String {
    format!("file://{}", folder.join(name).display())
}

/// Dolt's exit in `database` must be that in `control`, and no panic.
#[track_caller]
fn same_end(database: &Database, control: &Database, arguments: &[&str]) {
    let here = database.run(arguments);
    let there = control.run(arguments);
    assert!(!here.text().contains("panic"), "{arguments:?}: {here:?}");
    assert_eq!(
        here.success, there.success,
        "{arguments:?} in our directory: {here:?}\nin dolt's: {there:?}"
    );
}

/// A remote of its own for a directory, which is told about it under the name of the one it was made from.
fn own_remote(database: &Database, remote: &str) {
    let (folder, name) = (database.workshop().folder(), database.folder());
    let own = format!("remote-of-{}", name.file_name().unwrap().display());
    let copied = Command::new("cp")
        .arg("-r")
        .args([folder.join("remote"), folder.join(&own)])
        .status();
    assert!(copied.unwrap().success());
    // As its owner would edit it: all else stays as it was written.
    let path = database.folder().join(".dolt/repo_state.json");
    let state = std::fs::read_to_string(&path).unwrap();
    let told = state.replace(&url(folder, "remote"), &url(folder, &own));
    assert!(told != state || !state.contains(remote), "{state}");
    std::fs::write(&path, told).unwrap();
    if !state.contains("fetch_specs") {
        database.ok(&["remote", "add", remote, &url(folder, &own)]);
    }
}

/// The verbs, one after the other, in both directories. `branch` is checked out.
fn play(database: &Database, control: &Database, remote: &str, branch: &str) {
    for one in [database, control] {
        own_remote(one, remote);
    }
    let same = |arguments: &[&str]| same_end(database, control, arguments);
    let call = |statement: &str| same(&["sql", "-q", statement]);
    for listing in [&["remote", "-v"][..], &["branch", "-a"], &["branch", "-r"]] {
        same(listing);
    }
    same(&["fetch"]);
    same(&["fetch", remote]);
    same(&["fetch", remote, "north"]);
    same(&["fetch", "--prune", remote]);
    same(&["pull", remote]);
    same(&["pull", remote, branch]);
    same(&["pull"]);
    same(&["checkout", "south"]);
    same(&["checkout", branch]);

    same(&["checkout", "-b", "nb"]);
    same(&["commit", "--allow-empty", "-m", "new"]);
    same(&["push", remote, "nb"]);
    same(&["push"]);
    same(&["push", "-u", remote, "nb"]);
    same(&["commit", "--allow-empty", "-m", "newer"]);
    same(&["push"]);
    same(&["push", "--set-upstream", remote, "nb:nc"]);
    same(&["push", remote, "nb:nd"]);
    same(&["push", "--force", remote, "nb"]);
    same(&["push", remote, ":nd"]);
    same(&["branch", "second"]);
    same(&["push", "--all", remote]);
    same(&["tag", "t1"]);
    same(&["push", remote, "t1"]);
    same(&["branch", "--track", "third", &format!("{remote}/north")]);
    same(&["branch", "--set-upstream-to", &format!("{remote}/nb")]);

    call(&format!("call dolt_fetch('{remote}')"));
    call(&format!("call dolt_fetch('{remote}', 'nb')"));
    call(&format!("call dolt_pull('{remote}', 'nb')"));
    call("call dolt_commit('--allow-empty', '-m', 'newest')");
    call(&format!("call dolt_push('{remote}', 'nb')"));
    call("call dolt_push()");
    call(&format!("call dolt_push('{remote}', 'nb:ne')"));
    call(&format!("call dolt_push('{remote}', ':ne')"));
    call("call dolt_remote('add', 'other', 'file:///nowhere/at/all')");
    call("call dolt_remote('remove', 'other')");
    call("select * from dolt_remotes");
    call("select * from dolt_remote_branches");
    let folder = database.workshop().folder();
    let clone = format!("call dolt_clone('{}', 'sub')", url(folder, "remote"));
    call(&clone);

    for one in [database, control] {
        let name = one.folder().file_name().unwrap().to_str().unwrap();
        let backup = url(folder, &format!("backup-of-{name}"));
        one.ok(&["backup", "add", "b", &backup]);
    }
    same(&["backup", "-v"]);
    same(&["backup", "sync", "b"]);
    same(&["backup", "rm", "b"]);
    same(&["gc"]);
    same(&["fetch", remote]);
    same(&["commit", "--allow-empty", "-m", "after gc"]);
    same(&["push", remote, "nb"]);
    same(&["checkout", branch]);
    same(&["pull"]);
    same(&["remote", "remove", remote]);
}

/// What `call dolt_push` does in a running server must leave it running.
fn serve(database: &Database, remote: &str) {
    let server = database.serve();
    server.sql(&format!(
        "call dolt_checkout('-b', 'served'); call dolt_commit('--allow-empty', '-m', 'served');
         call dolt_push('{remote}', 'served'); call dolt_fetch('{remote}');"
    ));
    server.sql(&format!("call dolt_push('{remote}', ':served')"));
    let there = server.sql("select name from dolt_remote_branches");
    assert!(!there.contains("served"), "{there}");
}

#[test]
fn a_new_branch_is_pushed_from_a_clone_of_a_part() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    published(&workshop);
    let url = url(workshop.folder(), "remote");
    for (name, more) in [("single", "--single-branch"), ("at", "--at=main~1")] {
        holdfast(&workshop, workshop.folder(), &["clone", &url, name, more]).expect_success();
        let database = workshop.database(name);
        database.ok(&["checkout", "-b", name]);
        database.ok(&["commit", "--allow-empty", "-m", "new"]);
        database.push(&["origin", name]);
    }
    let arguments = ["clone", &url, "depth", "--depth", "1"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    let shallow = workshop.database("depth");
    serve(&shallow, "origin");
}

#[test]
#[ignore = "long: some fifty commands of dolt in each directory"]
fn every_verb_ends_as_in_dolts_own_directory() {
    let Some(dolt) = Dolt::find() else { return };
    for (ours_more, dolts_more) in [
        (&[][..], &[][..]),
        (&["--single-branch"], &["--single-branch"]),
        (&["--depth", "1"], &["--depth", "1"]),
        (&["--at", "main"], &["--single-branch"]),
        (&["--at", "v1"], &["--single-branch"]),
        (&["--branch", "north"], &["--branch", "north"]),
        (&["--remote", "up"], &["--remote", "up"]),
        (
            &["--single-branch", "--remote", "up", "-b", "north"],
            &["--single-branch", "--remote", "up", "-b", "north"],
        ),
    ] {
        let workshop = Workshop::new(&dolt);
        published(&workshop);
        let url = url(workshop.folder(), "remote");
        let arguments = [&["clone", &url, "ours"], ours_more].concat();
        holdfast(&workshop, workshop.folder(), &arguments).expect_success();
        workshop
            .try_clone_from(&url, "dolts", dolts_more)
            .expect_success();
        let (ours, dolts) = (workshop.database("ours"), workshop.database("dolts"));
        let has = |what: &str| ours_more.contains(&what);
        let remote = if has("up") { "up" } else { "origin" };
        let branch = if has("north") { "north" } else { "main" };
        play(&ours, &dolts, remote, branch);
        let verified = crate::holdfast::ours(&ours, &["verify"]).expect_success();
        assert!(verified.contains(" 0 problems"), "{verified}");
    }
}

#[test]
#[ignore = "long: some fifty commands of dolt"]
fn every_verb_ends_so_in_what_was_restored_and_with_what_is_bare() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let owner = published(&workshop);
    let backup = url(workshop.folder(), "backup");
    owner.ok(&["backup", "add", "b", &backup]);
    owner.ok(&["backup", "sync", "b"]);
    workshop.restore(&backup, "dolts");
    let arguments = ["backup", "restore", &backup, "ours"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    let restored = workshop.database("ours");
    play(&restored, &workshop.database("dolts"), "origin", "main");
    assert_whole(&restored);

    // A store alone takes the place of a remote.
    let remote = url(workshop.folder(), "remote");
    let arguments = ["clone", "--bare", &remote, "bare"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    let bare = url(workshop.folder(), "bare");
    let clone = workshop.clone_from(&bare, "of-bare", &[]);
    clone.ok(&["checkout", "-b", "nb"]);
    clone.ok(&["commit", "--allow-empty", "-m", "new"]);
    clone.push(&["-u", "origin", "nb"]);
    clone.ok(&["commit", "--allow-empty", "-m", "newer"]);
    clone.push(&[]);
    clone.push(&["origin", ":north"]);
    clone.fetch(&["--prune"]);
    clone.pull(&["origin", "main"]);
    let refs = ours(&clone, &["refs", "--remote", "origin"]).expect_success();
    assert!(
        refs.contains("refs/heads/nb") && !refs.contains("north"),
        "{refs}"
    );
}

/// A shallow clone stays sound when a fetch brings the other branches, also one that ends where the clone left out
/// commits.
#[test]
fn a_shallow_clone_fetches_the_other_branches() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let owner = published(&workshop);
    owner.ok(&["branch", "old", "main~1"]);
    owner.push(&["origin", "old"]);
    let url = url(workshop.folder(), "remote");
    let arguments = ["clone", &url, "shallow", "--depth", "1"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    let shallow = workshop.database("shallow");
    let fetched = ours(&shallow, &["fetch"]).expect_success();
    for branch in ["north", "old", "south"] {
        assert!(
            fetched.contains(&format!("{branch} -> origin/{branch}")),
            "{fetched}"
        );
        let count = format!("select count(*) from word as of 'origin/{branch}'");
        let there = format!("select count(*) from word as of '{branch}'");
        assert_eq!(shallow.sql(&count), owner.sql(&there), "{branch}");
    }
    let verified = ours(&shallow, &["verify"]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    shallow.fetch(&[]);
    shallow.ok(&["gc"]);
    let verified = ours(&shallow, &["verify"]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    shallow.ok(&["checkout", "south"]);
    shallow.ok(&["commit", "--allow-empty", "-m", "on"]);
    ours(&shallow, &["push", "origin", "south"]).expect_success();
}
