//! What must be refused: the right error with the next step, the exit code of the table, and all as it was.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::path::{Path, PathBuf};

use holdfast_tests::disk::{Disk, Mode, PAGE};
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::process::Finished;
use holdfast_tests::remote::Remote;
use holdfast_tests::say;
use holdfast_tests::world::World;

use crate::holdfast::{binary, holdfast, ours, run};
use crate::scene::{
    assert_follows, assert_whole, cloned, forge, prod, published, refs_there, remotesrv, state,
    workshop,
};

#[test]
fn a_database_that_dolt_has_open_is_left_alone() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let owner = published(&workshop, World::SMALL, &prod(&*server));
    let copy = cloned(&workshop, &prod(&*server), &[]);
    owner.commit("onwards", "update orders set amount = 3 where customer = 3");
    owner.push(&["origin", "main"]);
    copy.commit("ours", "insert into orders values (900001, 1, 'copy', 1)");
    let (before, there) = (state(&copy), refs_there(&copy, "origin"));
    let manifest = copy.folder().join(".dolt/noms/manifest");

    let running = copy.serve();
    let bytes = std::fs::read(&manifest).unwrap();
    // A push only reads here: it is refused for what is there.
    for arguments in [
        &["push", "origin", "main"][..],
        &["push", "--force", "origin", "main"],
    ] {
        ours(&copy, arguments).expect_code(4);
    }
    for arguments in [["fetch"], ["pull"]] {
        let refused = ours(&copy, &arguments).expect_code(11);
        assert!(
            refused.contains("a dolt or holdfast process has the database open"),
            "{refused}"
        );
        assert!(refused.contains("or stop the dolt process"), "{refused}");
    }
    assert_eq!(std::fs::read(&manifest).unwrap(), bytes);
    // Who only looks is not in the way.
    let status = ours(&copy, &["status"]).expect_success();
    assert!(status.contains("in use"), "{status}");
    ours(&copy, &["verify"]).expect_success();
    assert_eq!(
        running.sql("select count(*) from dolt_status"),
        "count(*)\n0\n"
    );
    drop(running);

    assert_eq!(state(&copy), before);
    assert_eq!(refs_there(&copy, "origin"), there);
    ours(&copy, &["fetch"]).expect_success();
    server.finish();
}

#[test]
fn a_damaged_database_is_not_pushed_and_its_chunk_is_named() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let owner = published(&workshop, World::SMALL, &prod(&*server));
    owner.commit(
        "onwards",
        "update customers set note = concat(note, ' again')",
    );
    owner.ok(&["gc"]);
    let archive = files(&owner.folder().join(".dolt/noms"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "darc"))
        .max_by_key(|path| path.metadata().unwrap().len());
    let archive = archive.unwrap();
    let mut bytes = std::fs::read(&archive).unwrap();
    // Where chunks lie; the index is behind them.
    let middle = bytes.len() / 2;
    for byte in &mut bytes[64..middle] {
        *byte ^= 0x55;
    }
    std::fs::write(&archive, &bytes).unwrap();

    let there = refs_there(&owner, &prod(&*server));
    for arguments in [
        &["push", "origin", "main"][..],
        &["push", &format!("{}/acme/other", server.base_url()), "main"],
    ] {
        let refused = ours(&owner, arguments).expect_code(6);
        assert!(names_a_chunk(&refused), "{refused}");
        assert!(
            refused.contains("hint: `holdfast verify` lists all damage"),
            "{refused}"
        );
    }
    assert_eq!(refs_there(&owner, &prod(&*server)), there);
    assert_eq!(std::fs::read(&archive).unwrap(), bytes);
    server.finish();
}

/// Whether there is a chunk's address in a text.
fn names_a_chunk(text: &str) -> bool {
    let is_of_base_32 = |letter: char| matches!(letter, '0'..='9' | 'a'..='v');
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word.len() == 32 && word.chars().all(is_of_base_32))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn what_is_no_remote_and_no_ref_has_its_exit_code() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    let nothing = format!("{}/acme/nothing", server.base_url());
    let before = (state(&copy), refs_there(&copy, "origin"));
    for (arguments, code, words) in [
        (
            &["push", "origin", "nosuch"][..],
            3,
            "it is no branch and no tag",
        ),
        (
            &["push", "origin", "nosuch:main"],
            3,
            "it is no branch and no tag",
        ),
        (
            &["push", "origin", "refs/tags/nosuch"],
            3,
            "it is no branch and no tag",
        ),
        (
            &["push", "nosuch", "main"],
            3,
            "neither a remote of this database nor an address",
        ),
        (
            &["push", "ssh://host/a/b", "main"],
            2,
            "a remote of the kind ssh://",
        ),
        (&["push", "--delete", "origin"], 2, "required"),
        (
            &["push", "--all", "origin", "main"],
            2,
            "cannot be used with",
        ),
        (
            &["fetch", "origin", "nosuch"],
            3,
            "could not find branch \"nosuch\" at the remote",
        ),
        (
            &["fetch", "nosuch"],
            3,
            "neither a remote of this database nor an address",
        ),
        (
            &["pull", "origin", "nosuch"],
            3,
            "could not find branch \"nosuch\" at the remote",
        ),
        (&["log", "nosuch"], 3, "it is no branch, tag or commit"),
        (
            &["log", "--remote", &nothing],
            3,
            "could not find a branch in",
        ),
        (
            &["refs", "--remote", "ssh://host/a/b"],
            2,
            "a remote of the kind ssh://",
        ),
        (&["nosuch"], 2, "unrecognized subcommand"),
        (
            &["fetch", "-C", "nosuch"],
            3,
            "could not find a Dolt database in",
        ),
    ] {
        let refused = ours(&copy, arguments);
        let refused = refused.expect_code(code);
        assert!(refused.contains(words), "{arguments:?}: {refused}");
    }
    assert_eq!((state(&copy), refs_there(&copy, "origin")), before);
    server.finish();
}

#[test]
fn words_that_are_no_text_are_refused_and_not_a_fault() {
    use std::os::unix::ffi::OsStrExt as _;
    let word = std::ffi::OsStr::from_bytes(b"a\xffb");
    for before in [&["fetch"][..], &["--format", "json", "no-such-command"]] {
        let mut command = std::process::Command::new(binary());
        command.args(before).arg(word);
        let told = run(command).expect_code(2);
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[test]
fn a_repository_that_is_not_there_is_no_empty_list_without_a_word() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    // Who may make one is shown it as if it were there.
    for server in [Some(forge()), remotesrv()].into_iter().flatten() {
        let nothing = format!("{}/acme/nothing", server.base_url());
        for arguments in [&["refs", &nothing][..], &["branch", "--remote", &nothing]] {
            let printed = holdfast(&workshop, folder, arguments);
            assert_eq!(printed.code, Some(0), "{printed:#?}");
            assert_eq!(printed.stdout, "");
            let words = format!("{nothing} is empty, or not there\n");
            assert_eq!(printed.stderr, words);
        }
        let log = ["log", "--remote", &nothing];
        let refused = holdfast(&workshop, folder, &log).expect_code(3);
        assert!(refused.contains("is empty, or not there"), "{refused}");
        server.finish();
    }
    // Who may not is told.
    let mut plan = Plan::on_local_disk();
    plan.read_only = true;
    let read_only = Forge::start(plan);
    let owner = World::SMALL.make(&workshop, "owner");
    let running = owner.serve_as_remote();
    let base = running.url();
    let base = base.rsplit_once('/').unwrap().0;
    for nothing in [
        format!("{}/acme/nothing", read_only.base_url()),
        format!("{base}/nothing"),
    ] {
        for arguments in [
            &["refs", &nothing][..],
            &["branch", "--remote", &nothing],
            &["log", "--remote", &nothing],
        ] {
            let refused = holdfast(&workshop, folder, arguments).expect_code(3);
            let hint = "hint: check the owner and the name in the address";
            assert!(refused.contains(hint), "{refused}");
        }
    }
    drop(running);
    read_only.finish();
}

const MIB: u64 = 1 << 20;

/// A disk with a home on it, and a server elsewhere.
struct Small {
    disk: Disk,
    server: Box<dyn Remote>,
    workshop: Workshop,
    owner: Database,
}

impl Small {
    fn make(size_bytes: u64) -> Option<Self> {
        let workshop = workshop()?;
        let disk = Disk::make(size_bytes)?;
        let server = forge();
        Some(Self {
            owner: published(&workshop, World::SMALL, &prod(&*server)),
            disk,
            server,
            workshop,
        })
    }

    /// Runs the binary where the disk is seen, in a folder of it.
    fn run(&self, folder: &str, arguments: &[&str]) -> Finished {
        let mut command = self.disk.command(Path::new("env"))();
        command
            .arg("-C")
            .arg(self.disk.path().join(folder))
            .arg("-i")
            .arg(format!("HOME={}", self.workshop.home().display()))
            .arg(binary())
            .args(arguments);
        run(command)
    }

    /// What is on the disk, as dolt sees it.
    fn seen(&self, name: &str) -> Database {
        let copy = self.disk.copy_of(name);
        let database = self.workshop.database("seen");
        drop(std::fs::remove_dir_all(database.folder()));
        let moved = std::process::Command::new("cp")
            .arg("-r")
            .arg(copy.path().join(name))
            .arg(database.folder())
            .status();
        assert!(moved.unwrap().success());
        database
    }

    fn url(&self) -> String {
        prod(&*self.server)
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_with_room_it_goes_on() {
    let Some(small) = Small::make(16 * MIB) else {
        return;
    };
    let ballast = small.disk.ballast();
    let clone = ["clone", &small.url(), "copy"];
    ballast.fill_but(40 * PAGE);
    let refused = small.run("", &clone).expect_code(7);
    assert!(refused.contains("hint: make room"), "{refused}");
    let opened = small.disk.outside().join("copy/.dolt/repo_state.json");
    assert!(!opened.exists(), "dolt would take it for a database");
    ballast.throw_off();
    small.run("", &clone).expect_success();
    let copy = small.seen("copy");
    assert_follows(&copy, &small.owner);
    assert_whole(&copy);
    let before = state(&copy);

    small.owner.commit(
        "much",
        "update customers set note = concat(note, ' again'), picture = unhex(concat(sha2(id, 512), sha2(id + 1, 512)))",
    );
    small.owner.push(&["origin", "main"]);
    for left in [0, 4, 20] {
        ballast.fill_but(left * PAGE);
        for arguments in [&["fetch"][..], &["pull"]] {
            let refused = small.run("copy", arguments).expect_code(7);
            assert!(refused.contains("hint: make room"), "{refused}");
        }
        ballast.throw_off();
        let seen = small.seen("copy");
        assert_eq!(state(&seen), before, "{left} pages were left");
        seen.fsck();
    }
    small.run("copy", &["pull"]).expect_success();
    let copy = small.seen("copy");
    assert_follows(&copy, &small.owner);
    assert_eq!(copy.log(), small.owner.log());
    assert_whole(&copy);
    small.server.finish();
}

#[test]
fn what_cannot_be_written_to_is_read() {
    let Some(small) = Small::make(16 * MIB) else {
        return;
    };
    let url = small.url();
    small.run("", &["clone", &url, "copy"]).expect_success();
    small
        .owner
        .commit("onwards", "update orders set amount = 3 where customer = 3");
    small.owner.push(&["origin", "main"]);
    let before = state(&small.seen("copy"));
    small.disk.remount(Mode::ReadOnly);
    for (folder, arguments) in [
        ("", &["clone", &url, "other"][..]),
        ("copy", &["fetch"]),
        ("copy", &["pull"]),
        ("copy", &["push", "origin", "main"]),
    ] {
        let refused = small.run(folder, arguments).expect_code(4);
        assert!(
            refused.contains("mounted read-only"),
            "{arguments:?}: {refused}"
        );
    }
    for arguments in [&["log"][..], &["status"], &["branch"], &["verify"]] {
        small.run("copy", arguments).expect_success();
    }
    assert_eq!(state(&small.seen("copy")), before);
    small.disk.remount(Mode::Writable);
    small.run("copy", &["pull"]).expect_success();
    assert_eq!(small.seen("copy").log(), small.owner.log());
    small.server.finish();
}

#[test]
fn a_folder_without_the_right_to_write_is_named() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder().join("closed");
    std::fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o555);
    if std::fs::create_dir(folder.join("by root")).is_ok() {
        say::skipped("root may write everywhere");
        return;
    }
    let server = forge();
    let url = prod(&*server);
    published(&workshop, World::SMALL, &url);
    let refused = holdfast(&workshop, &folder, &["clone", &url, "copy"]).expect_code(4);
    assert!(
        refused.contains("hint: give this user the rights"),
        "{refused}"
    );
    set_mode(&folder, 0o755);
    assert!(files(&folder).is_empty());
    server.finish();
}

fn set_mode(folder: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
}
