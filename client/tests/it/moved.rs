//! A database that was moved out, in the hands of dolt: everything that it does with remotes and branches.

use holdfast_tests::dolt::Database;
use holdfast_tests::world::World;
use serde_json::{Value, json};

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, forge, hash, prod, published, workshop};

fn repo_state(database: &Database) -> Value {
    let path = database.folder().join(".dolt/repo_state.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The names of the refs of remotes, as dolt lists them.
fn followed(database: &Database) -> Vec<String> {
    let printed = database.sql("select name from dolt_remote_branches order by name;");
    printed.lines().skip(1).map(str::to_owned).collect()
}

/// What dolt does with branches, and with remotes of its own, on the command line and in SQL.
fn assert_dolt_works(moved: &Database, new: &str, backup: &str) {
    moved.ok(&["branch", "-a"]);
    moved.ok(&["branch", "nb"]);
    moved.ok(&["checkout", "-b", "nb2"]);
    moved.commit("on nb2", "create table nb2 (id int primary key)");
    moved.ok(&["checkout", "main"]);
    moved.ok(&["remote", "add", "new", new]);
    moved.push(&["new", "main"]);
    moved.push(&["new", "nb"]);
    moved.ok(&["push", "-u", "new", "nb2"]);
    moved.fetch(&["new"]);
    moved.pull(&["new", "main"]);
    moved.sql(
        "call dolt_checkout('-b', 'nb3'); create table nb3 (id int primary key);
         call dolt_commit('-A', '-m', 'on nb3'); call dolt_push('new', 'nb3');
         call dolt_fetch('new'); call dolt_checkout('main'); call dolt_pull('new', 'main');
         call dolt_branch('-D', 'nb3'); call dolt_remote('add', 'third', 'file:///nowhere');
         call dolt_remote('remove', 'third');",
    );
    moved.ok(&["push", "new", ":nb"]);
    moved.ok(&["branch", "-d", "nb"]);
    moved.ok(&["backup", "add", "kept", backup]);
    moved.ok(&["backup", "sync", "kept"]);
    moved.ok(&["gc"]);
    let running = moved.serve();
    running.sql("call dolt_checkout('-b', 'nb4')");
    running.sql("call dolt_push('new', 'main:nb4')");
    drop(running);
    moved.ok(&["remote", "remove", "new"]);
    moved.ok(&["status"]);
    moved.fsck();
}

#[test]
fn a_moved_database_knows_no_remote_and_dolt_works_in_it() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let arguments = ["move-out", &url, "moved", "--branch", "main"];
    let finished = holdfast(&workshop, workshop.folder(), &arguments);
    assert!(finished.success, "{finished:#?}");
    let told = "later commits, and no others, come with: ";
    let line = finished
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix(told));
    let command: Vec<_> = line.unwrap().split(' ').collect();
    assert_eq!(command, ["holdfast", "fetch", "-C", "moved", &url, "main"]);

    let moved = workshop.database("moved");
    assert_eq!(
        repo_state(&moved),
        json!({"head": "refs/heads/main", "remotes": {}, "backups": {}, "branches": {}})
    );
    assert_eq!(followed(&moved), Vec::<String>::new());
    assert_whole(&moved);
    let (new, backup) = (
        format!("{}/acme/new", server.base_url()),
        format!("file://{}", workshop.folder().join("backup").display()),
    );
    assert_dolt_works(&moved, &new, &backup);

    // The command that was printed brings the branch and no other one.
    owner.commit("late", "update orders set amount = 3 where customer = 3");
    owner.push(&["origin", "main"]);
    holdfast(&workshop, workshop.folder(), &command[1..]).expect_success();
    assert_eq!(followed(&moved), ["remotes/fetched/main"]);
    assert_eq!(hash(&moved, "fetched/main"), hash(&owner, "main"));
    moved.ok(&["gc"]);
    moved.ok(&["merge", "fetched/main"]);
    assert_eq!(hash(&moved, "main"), hash(&owner, "main"));
    owner.commit("later", "update orders set amount = 4 where customer = 3");
    owner.push(&["origin", "main"]);
    let unnamed = ours(&moved, &["pull", &url]).expect_code(2);
    assert!(unnamed.contains("hint: name the branch"), "{unnamed}");
    ours(&moved, &["pull", &url, "main"]).expect_success();
    assert_eq!(hash(&moved, "HEAD"), hash(&owner, "main"));
    assert_eq!(followed(&moved), ["remotes/fetched/main"]);
    assert_whole(&moved);

    // With the old place as a remote all goes on as in a clone.
    moved.ok(&["remote", "add", "origin", &url]);
    moved.fetch(&["origin", "main"]);
    moved.ok(&["checkout", "-b", "back"]);
    moved.commit("back", "create table back (id int primary key)");
    moved.push(&["origin", "back"]);
    moved.fetch(&["origin"]);
    assert!(followed(&moved).contains(&"remotes/origin/north".to_owned()));
    assert_whole(&moved);
    server.finish();
}

#[test]
fn a_remote_that_is_kept_brings_everything_and_this_is_said() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    published(&workshop, World::SMALL, &url);
    let arguments = ["move-out", &url, "moved", "-b", "main", "--keep-remote"];
    let finished = holdfast(&workshop, workshop.folder(), &arguments);
    let warning = "warning: a `dolt fetch` or `dolt pull` in moved brings all other branches of";
    assert!(finished.stderr.contains(warning), "{finished:#?}");
    finished.expect_success();
    let moved = workshop.database("moved");
    assert_eq!(
        repo_state(&moved),
        json!({
            "head": "refs/heads/main",
            "remotes": {"origin": {
                "name": "origin",
                "url": url,
                "fetch_specs": ["refs/heads/*:refs/remotes/origin/*"],
                "params": {},
            }},
            "backups": {},
            "branches": {"main": {"head": "refs/heads/main", "remote": "origin"}},
        })
    );
    assert_eq!(followed(&moved), ["remotes/origin/main"]);
    let inventory = workshop.folder().join("moved.inventory");
    let verify = ["verify", "--inventory", inventory.to_str().unwrap()];
    ours(&moved, &verify).expect_success();
    let (new, backup) = (
        format!("{}/acme/new", server.base_url()),
        format!("file://{}", workshop.folder().join("backup").display()),
    );
    assert_dolt_works(&moved, &new, &backup);
    moved.ok(&["checkout", "-b", "back"]);
    moved.commit("back", "create table back (id int primary key)");
    moved.push(&["origin", "back"]);
    moved.fetch(&[]);
    assert!(followed(&moved).contains(&"remotes/origin/north".to_owned()));

    let other = format!("{}/acme/other", server.base_url());
    let arguments = ["move-out", &url, &other, "-b", "main", "--keep-remote"];
    let refused = holdfast(&workshop, workshop.folder(), &arguments).expect_code(2);
    assert!(
        refused.contains("hint: name a directory that stays"),
        "{refused}"
    );
    server.finish();
}
