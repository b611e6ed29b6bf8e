//! Commands beside a running `dolt sql-server`, and dry runs: what only reads needs no lock and leaves nothing.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_tests::dolt::Workshop;
use holdfast_tests::world::World;

use crate::holdfast::{holdfast, ours};
use crate::scene::{cloned, forge, hash, prod, published, refs_there, workshop};

/// Every file and folder below some folder, with its contents.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                found.insert(name, Vec::new());
                waiting.push(path);
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Runs a command that must not change anything in the workshop, the home of the user included.
#[track_caller]
fn leaves_nothing(workshop: &Workshop, arguments: &[&str]) -> String {
    let (all, home) = (tree(workshop.folder()), tree(workshop.home()));
    let printed = holdfast(workshop, workshop.folder(), arguments).expect_success();
    for (before, folder) in [(all, workshop.folder()), (home, workshop.home())] {
        let after = tree(folder);
        let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after), "{arguments:?}");
        assert!(
            before == after,
            "{arguments:?} changed the contents of a file"
        );
    }
    printed
}

#[test]
fn a_dry_run_leaves_nothing_at_all() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    owner.commit("more", "insert into orders values (900001, 1, 'more', 1)");
    for target in ["./new", "./vault"] {
        leaves_nothing(&workshop, &["backup", "owner", target, "--dry-run"]);
        leaves_nothing(&workshop, &["mirror", "owner", target, "--dry-run"]);
        let arguments = ["backup", "owner", "./vault"];
        holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    }
    let push = ["push", "-C", "owner", "origin", "main", "--dry-run"];
    let told = leaves_nothing(&workshop, &push);
    assert!(told.contains("chunks to move"), "{told}");
    ours(&owner, &["push", "origin", "main"]).expect_success();
    // The lock file that a real one makes is no reason to pass.
    for arguments in [
        ["fetch", "-C", "copy", "--dry-run"],
        ["pull", "-C", "copy", "--dry-run"],
    ] {
        let told = leaves_nothing(&workshop, &arguments);
        assert!(told.contains("chunks to move"), "{told}");
    }
    drop(copy);
    server.finish();
}

#[test]
fn beside_a_running_sql_server_what_reads_works_and_what_writes_is_refused() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    owner.commit(
        "theirs",
        "insert into orders values (900001, 1, 'theirs', 1)",
    );
    let running = owner.serve();
    running
        .sql("insert into orders values (900002, 1, 'live', 1); call dolt_commit('-am', 'live')");

    let dry = ours(&owner, &["push", "--dry-run", "origin", "main"]).expect_success();
    assert!(dry.contains("main -> main"), "{dry}");
    let told = ours(&owner, &["push", "origin", "main", "-u"]).expect_code(0);
    assert!(told.contains("main -> main"), "{told}");
    assert!(
        told.contains("note: the database is locked by another process"),
        "{told}"
    );
    assert!(told.contains("origin/main"), "{told}");
    let live = running.sql("select hash from dolt_branches where name = 'main'");
    let live = live.lines().nth(1).unwrap().to_owned();
    assert!(refs_there(&owner, "origin").contains(&live));

    ours(&copy, &["pull"]).expect_success();
    copy.commit("ours", "insert into orders values (900003, 1, 'copy', 1)");
    ours(&copy, &["push"]).expect_success();
    for arguments in [["fetch", "--dry-run"], ["pull", "--dry-run"]] {
        let told = ours(&owner, &arguments).expect_success();
        assert!(told.contains("main -> origin/main"), "{told}");
    }
    for arguments in [["fetch", "origin"], ["pull", "origin"]] {
        let refused = ours(&owner, &arguments).expect_code(11);
        assert!(refused.contains("hint: "), "{refused}");
        assert!(refused.contains("call dolt_fetch"), "{refused}");
    }
    running.sql("call dolt_pull('origin', 'main')");
    drop(running);
    assert_eq!(hash(&owner, "main"), hash(&copy, "main"));
    ours(&owner, &["fetch"]).expect_success();
    owner.fsck();
    server.finish();
}

/// Databases in which a server commits all the time while they are read.
#[test]
fn a_database_that_a_server_writes_without_a_pause_is_pushed_backed_up_and_verified() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let owner = World::SMALL.make(&workshop, "owner");
    let url = prod(&*server);
    owner.ok(&["remote", "add", "origin", &url]);
    let running = owner.serve();
    running.sql(
        "create table beat (id int primary key auto_increment, at datetime(6));
         call dolt_add('.'); call dolt_commit('-m', 'beat')",
    );
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let beat = "insert into beat (at) values (now(6)); call dolt_commit('-am', 'beat');";
            let mut turn = 0;
            while !is_done.load(std::sync::atomic::Ordering::Acquire) {
                running.sql(&beat.repeat(20));
                turn += 1;
                if turn % 2 == 0 {
                    // The server ends the sessions that were open.
                    running.try_sql("call dolt_gc()");
                }
            }
        });
        let all = || {
            for round in 0..4 {
                ours(&owner, &["push", "origin", "main"]).expect_success();
                let arguments = ["backup", "owner", "./vault"];
                holdfast(&workshop, workshop.folder(), &arguments).expect_success();
                let verified = ours(&owner, &["verify"]).expect_success();
                assert!(verified.contains(" 0 problems"), "{round}: {verified}");
            }
        };
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
        is_done.store(true, std::sync::atomic::Ordering::Release);
        if let Err(panic) = ran {
            std::panic::resume_unwind(panic);
        }
    });
    drop(running);
    holdfast(
        &workshop,
        workshop.folder(),
        &["backup", "verify", "./vault"],
    )
    .expect_success();
    let clone = workshop.clone_from(&url, "clone", &[]);
    clone.fsck();
    owner.fsck();
    server.finish();
}
