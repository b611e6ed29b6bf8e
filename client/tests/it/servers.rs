//! A short round against each kind of remote: clone, push, fetch and pull, by turns with a real dolt.

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::{Contents, Side, World};

use crate::holdfast::{command, ours, run};
use crate::scene::{
    assert_follows, assert_whole, cloned, forge, hash, prod, published, remotesrv, workshop,
};

/// Ours, dolt's, ours, and dolt's again: heads are equal after each turn.
fn take_turns(workshop: &Workshop, url: &str) {
    let owner = published(workshop, World::SMALL, url);
    let copy = cloned(workshop, url, &[]);
    assert_follows(&copy, &owner);

    copy.commit(
        "in our clone",
        "insert into orders values (900001, 1, 'copy', 1)",
    );
    let pushed = ours(&copy, &["push"]).expect_success();
    assert!(pushed.contains("main -> main"), "{pushed}");
    owner.pull(&["origin", "main"]);
    assert_eq!(owner.log(), copy.log());

    owner.sql(
        "update customers set note = concat(note, ' again') where id % 3 = 0;
         call dolt_commit('-am', 'main goes on');
         call dolt_tag('-m', 'the third', 'v3', 'main');
         call dolt_push('origin', 'main');
         call dolt_push('origin', 'v3');
         call dolt_checkout('north');
         insert into orders values (900002, 1, 'north', 1);
         call dolt_commit('-am', 'north goes on');
         call dolt_push('origin', 'north');",
    );
    let fetched = ours(&copy, &["fetch"]).expect_success();
    for moved in ["main -> origin/main", "north -> origin/north", "v3 -> v3"] {
        assert!(fetched.contains(moved), "no {moved} in {fetched}");
    }
    assert_follows(&copy, &owner);
    assert_ne!(copy.log(), owner.log(), "a fetch moves no branch");
    let pulled = ours(&copy, &["pull"]).expect_success();
    assert!(pulled.contains("Updating "), "{pulled}");
    assert_eq!(copy.log(), owner.log());
    assert!(copy.ok(&["status"]).contains("nothing to commit"));
    let pulled = ours(&copy, &["pull"]).expect_success();
    assert!(pulled.contains("Already up to date."), "{pulled}");
    assert_whole(&copy);

    let fresh = workshop.clone_from(url, "fresh", &[]);
    assert_follows(&fresh, &owner);
    assert_eq!(fresh.log(), owner.log());
}

fn take_turns_with(server: Box<dyn Remote>) {
    if let Some(workshop) = workshop() {
        take_turns(&workshop, &prod(&*server));
    }
    server.finish();
}

#[test]
fn dolt_and_we_take_turns_at_our_forge() {
    take_turns_with(forge());
}

#[test]
fn dolt_and_we_take_turns_at_dolts_own_server() {
    let Some(server) = remotesrv() else { return };
    take_turns_with(server);
}

#[test]
fn dolt_and_we_take_turns_in_a_directory() {
    let Some(workshop) = workshop() else { return };
    let directory = tempfile::tempdir().unwrap();
    take_turns(&workshop, &format!("file://{}", directory.path().display()));
}

/// Users of the server, the password of each is `secret`. Who names none comes as root, who has no password.
const USERS: &str = "
    create user 'ada'@'%' identified by 'secret';
    grant all on *.* to 'ada'@'%' with grant option;
    create user 'eve'@'%' identified by 'secret';";

#[test]
fn a_running_sql_server_is_a_remote_with_users_and_a_working_set() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let server = owner.serve_as_remote();
    server.sql(USERS);
    // It is in the journal alone, of a server that goes on.
    server.sql("update orders set amount = 7 where customer = 1; call dolt_commit('-am', 'live')");
    let url = server.url();
    let as_user = |folder, user: &str, password, arguments: &[&str]| {
        let arguments = [arguments, &["--user", user]].concat();
        let mut command = command(&workshop, folder, &arguments);
        command.env("DOLT_REMOTE_PASSWORD", password);
        run(command)
    };
    let clone = ["clone", &url, "copy"];
    let folder = workshop.folder();
    as_user(folder, "ada", "wrong", &clone).expect_code(4);
    as_user(folder, "eve", "secret", &clone).expect_code(4);
    assert!(
        !folder.join("copy").exists(),
        "a refused clone left something"
    );
    as_user(folder, "ada", "secret", &clone).expect_success();
    let copy = workshop.database("copy");
    let ada = |arguments: &[&str]| as_user(copy.folder(), "ada", "secret", arguments);
    assert_whole(&copy);
    let live = |statements: &str| server.sql(statements);
    let count = "select count(*) from orders where article = 'copy'";
    assert_eq!(copy.log()[0], "live");

    copy.commit("ours", "insert into orders values (900001, 1, 'copy', 1)");
    as_user(copy.folder(), "eve", "secret", &["push"]).expect_code(4);
    ada(&["push"]).expect_success();
    assert!(live(count).ends_with("1\n"), "the server shows what came");
    let heads = "select name, hash from dolt_branches";
    assert!(live(heads).contains(&hash(&copy, "main")));

    live("update orders set amount = 8 where customer = 2");
    copy.commit("more", "insert into orders values (900002, 1, 'copy', 1)");
    let before = live(heads);
    let refused = ada(&["push"]).expect_code(4);
    assert!(
        refused.contains("target has uncommitted changes"),
        "{refused}"
    );
    assert_eq!(live(heads), before);
    let dirty = "select count(*) from dolt_status";
    assert!(live(dirty).ends_with("1\n"), "the change is still there");

    live("call dolt_reset('--hard')");
    ada(&["push"]).expect_success();
    live("insert into orders values (900003, 1, 'copy', 1); call dolt_commit('-am', 'theirs')");
    let fetched = ada(&["fetch"]).expect_success();
    assert!(fetched.contains("main -> origin/main"), "{fetched}");
    ada(&["pull"]).expect_success();
    drop(server);
    assert_same_rows(&copy, &owner);
    assert_whole(&copy);
    owner.fsck();
}

fn assert_same_rows(copy: &Database, owner: &Database) {
    let rows = |database| Contents::of(database, Side::Local, &["main"]).rows;
    assert_eq!(rows(copy), rows(owner));
    assert_eq!(copy.log(), owner.log());
}
