//! What is done without a dolt at hand; a real dolt reads what was written, and writes the same.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::world::World;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, cloned, forge, hash, prod, published, state, workshop};

fn repo_state(database: &Database) -> String {
    std::fs::read_to_string(database.folder().join(".dolt/repo_state.json")).unwrap()
}

#[track_caller]
fn done(database: &Database, words: &str, arguments: &[&str]) {
    let printed = ours(database, arguments).expect_success();
    assert!(printed.contains(words), "{arguments:?}: {printed}");
}

#[track_caller]
fn refused(database: &Database, code: i32, words: &str, arguments: &[&str]) {
    let before = state(database);
    let told = ours(database, arguments).expect_code(code);
    assert!(told.contains(words), "{arguments:?}: {told}");
    assert_eq!(state(database), before, "{arguments:?}");
}

#[test]
fn a_branch_is_checked_out_as_dolt_does_it() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    let theirs = copy.copy_to("theirs");

    // One that only the remote has follows it.
    done(
        &copy,
        "branch 'north' follows 'origin/north'",
        &["checkout", "north"],
    );
    theirs.ok(&["checkout", "north"]);
    assert_eq!(repo_state(&copy), repo_state(&theirs));
    let status = copy.ok(&["status"]);
    assert!(status.contains("On branch north"), "{status}");
    assert!(
        status.contains("up to date with 'origin/north'"),
        "{status}"
    );
    assert!(status.contains("nothing to commit"), "{status}");
    assert_eq!(hash(&copy, "HEAD"), hash(&theirs, "HEAD"));

    // A new one, here and elsewhere.
    done(
        &copy,
        "Switched to a new branch 'west'",
        &["checkout", "-b", "west"],
    );
    theirs.ok(&["checkout", "-b", "west"]);
    assert_eq!(repo_state(&copy), repo_state(&theirs));
    assert_eq!(hash(&copy, "west"), hash(&copy, "north"));
    done(&copy, "'east'", &["checkout", "-b", "east", "main~1"]);
    assert_eq!(hash(&copy, "HEAD"), hash(&copy, "main~1"));
    copy.commit("on east", "create table made_on_east (id int primary key)");
    done(&copy, "Switched to branch 'main'", &["checkout", "main"]);
    done(&copy, "Already on 'main'", &["checkout", "main"]);
    assert_eq!(hash(&copy, "HEAD"), hash(&copy, "main"));
    copy.ok(&["checkout", "east"]);
    assert_eq!(copy.log()[0], "on east");
    assert_whole(&copy);

    // What is not committed stays in sight.
    copy.sql("create table not_committed (id int primary key)");
    refused(
        &copy,
        4,
        "changes that are not committed",
        &["checkout", "main"],
    );
    refused(
        &copy,
        4,
        "`holdfast checkout east`",
        &["checkout", "-b", "east"],
    );
    copy.ok(&["reset", "--hard"]);
    copy.ok(&["checkout", "."]);
    copy.sql("drop table if exists not_committed");
    refused(&copy, 3, "did you mean main?", &["checkout", "mian"]);
    refused(
        &copy,
        2,
        "could not make a branch",
        &["checkout", "-b", "a..b"],
    );
    refused(
        &copy,
        3,
        "could not begin a branch at",
        &["checkout", "-b", "x", "nosuch"],
    );
    let running = copy.serve();
    ours(&copy, &["checkout", "main"]).expect_code(11);
    drop(running);
    done(&copy, "Switched to branch 'main'", &["checkout", "main"]);
    copy.commit("on main", "create table made_on_main (id int primary key)");
    ours(&copy, &["push", "origin", "HEAD"]).expect_success();
    assert_whole(&copy);
    server.finish();
}

#[test]
fn remotes_are_written_as_dolt_writes_them() {
    let Some(workshop) = workshop() else { return };
    let database = workshop.init("database");
    database.commit("one", "create table t (id int primary key)");
    let theirs = database.copy_to("theirs");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    for (name, url) in [("up", url.as_str()), ("origin", "https://h.test/acme/prod")] {
        done(&database, "", &["remote", "add", name, url]);
        theirs.ok(&["remote", "add", name, url]);
        assert_eq!(repo_state(&database), repo_state(&theirs));
    }
    let listed = database.ok(&["remote", "-v"]);
    assert!(
        listed.contains(&url) && listed.contains("h.test"),
        "{listed}"
    );
    done(&database, "https://h.test/acme/prod", &["remote"]);
    done(&database, "up ", &["remote", "list"]);
    let listed = ours(&database, &["remote", "list", "--format", "json"]).expect_success();
    assert!(listed.contains("\"name\":\"up\""), "{listed}");

    refused(
        &database,
        4,
        "remote set-url up",
        &["remote", "add", "up", "https://h.test/a/b"],
    );
    refused(
        &database,
        2,
        "takes no such name",
        &["remote", "add", "a/b", "https://h.test/a/b"],
    );
    refused(
        &database,
        2,
        "could not understand",
        &["remote", "add", "x", "nosuch"],
    );
    refused(
        &database,
        3,
        "did you mean up?",
        &["remote", "remove", "upp"],
    );
    refused(
        &database,
        2,
        "has no meaning",
        &["remote", "add", "x", "https://h.test/a/b?c=1"],
    );

    database.push(&["up", "main"]);
    let branches = ours(&database, &["branch", "--all"]).expect_success();
    assert!(branches.contains("remotes/up/main"), "{branches}");
    done(
        &database,
        "",
        &["remote", "set-url", "origin", "https://h.test/acme/other"],
    );
    let listed = database.ok(&["remote", "-v"]);
    assert!(
        listed.contains("acme/other") && !listed.contains("acme/prod"),
        "{listed}"
    );
    done(&database, "", &["remote", "remove", "up"]);
    theirs.ok(&["remote", "remove", "up"]);
    let branches = database.ok(&["branch", "-a"]);
    assert!(!branches.contains("up/main"), "{branches}");
    let there = repo_state(&theirs).replace("acme/prod", "acme/other");
    assert_eq!(repo_state(&database), there);
    assert_whole(&database);
}

/// The ids of keys as dolt lists them, that of the one that is used first.
fn keys_of_dolt(workshop: &Workshop, folder: &Path) -> Vec<String> {
    let listed = workshop
        .command(folder, &["creds", "ls", "-v"])
        .expect_success();
    let keys = listed.lines().skip(2);
    let mut keys: Vec<_> = keys.map(|line| line.trim().to_owned()).collect();
    keys.sort_by_key(|line| !line.starts_with('*'));
    let id = |line: String| line.rsplit(' ').next().unwrap().to_owned();
    keys.into_iter().map(id).collect()
}

#[test]
fn keys_are_dolts() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    let run = |arguments: &[&str]| holdfast(&workshop, folder, arguments);
    assert_eq!(run(&["key", "list"]).expect_success(), "");
    let made = run(&["key", "new"]).expect_success();
    let words: Vec<_> = made.split_whitespace().collect();
    let ["*", public, id] = words[..] else {
        panic!("{made}");
    };
    assert_eq!(keys_of_dolt(&workshop, folder), [id]);
    let path = workshop
        .home()
        .join(".dolt/creds")
        .join(format!("{id}.jwk"));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let name = workshop.command(folder, &["config", "--global", "--get", "user.name"]);
    assert!(
        !name.expect_success().trim().is_empty(),
        "the settings stay"
    );

    workshop.command(folder, &["creds", "new"]).expect_success();
    let listed = run(&["key", "list", "--format", "json"]).expect_success();
    let listed = listed.lines();
    let listed: Vec<serde_json::Value> = listed
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 2);
    let other = listed.iter().find(|key| key["used"] == false).unwrap();
    let (other, other_id) = (&other["public_key"], &other["id"]);
    let (other, other_id) = (other.as_str().unwrap(), other_id.as_str().unwrap());
    assert_eq!(keys_of_dolt(&workshop, folder), [id, other_id]);
    let used = run(&["key", "use", other]).expect_success();
    assert!(used.starts_with("* ") && used.contains(other_id), "{used}");
    assert_eq!(keys_of_dolt(&workshop, folder), [other_id, id]);
    workshop
        .command(folder, &["creds", "use", public])
        .expect_success();
    let listed = run(&["key", "list"]).expect_success();
    assert!(listed.contains(&format!("* {public}")), "{listed}");
    assert_eq!(run(&["key", "use", id]).code, Some(0));
    let missing = run(&["key", "use", &"0".repeat(45)]).expect_code(3);
    assert!(missing.contains("`holdfast key list` lists"), "{missing}");
    // A key that is not used does not take the place of the one that is.
    run(&["key", "new"]).expect_success();
    assert_eq!(keys_of_dolt(&workshop, folder)[0], id);
}

#[test]
fn a_directory_is_a_remote_as_it_is_for_a_backup() {
    let Some(workshop) = workshop() else { return };
    let owner = World::SMALL.make(&workshop, "owner");
    let folder = workshop.folder();
    let cloned = holdfast(&workshop, folder, &["clone", "./owner", "copy"]);
    assert_eq!(cloned.code, Some(0), "{cloned:#?}");
    assert!(
        cloned.stdout.starts_with("cloned into copy: branch main, "),
        "{cloned:#?}"
    );
    assert!(
        cloned.stderr.contains("dolt fetches from no directory"),
        "{cloned:#?}"
    );
    let copy = workshop.database("copy");
    assert_eq!(copy.log(), owner.log());
    owner.commit("onwards", "update orders set amount = 3 where customer = 3");
    // dolt takes a store without a journal alone, and says so.
    let refused = copy.refused(&["fetch"]);
    assert!(refused.contains("containing chunk journal"), "{refused}");
    done(&copy, "main -> origin/main", &["fetch"]);
    assert_eq!(hash(&copy, "origin/main"), hash(&owner, "main"));
    owner.commit("further", "update orders set amount = 4 where customer = 3");
    done(&copy, "main -> origin/main", &["fetch", "../owner"]);
    done(&copy, "Updating ", &["pull", "../owner", "main"]);
    assert_eq!(copy.log(), owner.log());
    copy.commit("ours", "update orders set amount = 5 where customer = 3");
    let refused = ours(&copy, &["push", "../owner", "main"]).expect_code(4);
    assert!(
        refused.contains("it is the store of a database"),
        "{refused}"
    );

    // An address that is of no remote, also where a remote has the name that stands for it.
    done(
        &copy,
        "",
        &["remote", "add", "fetched", "https://h.test/a/b"],
    );
    let other = holdfast(&workshop, folder, &["clone", "--bare", "owner", "other"]);
    other.expect_success();
    done(
        &copy,
        "north -> fetched-2/north",
        &["fetch", "../other", "north"],
    );
    assert_eq!(hash(&copy, "fetched-2/north"), hash(&owner, "north"));

    let at = ["clone", "--at", "HEAD~1", "-b", "north", "owner", "earlier"];
    holdfast(&workshop, folder, &at).expect_success();
    let earlier = workshop.database("earlier");
    assert_eq!(hash(&earlier, "north"), hash(&owner, "north~1"));
    assert_whole(&copy);
    assert_whole(&earlier);
}

#[test]
fn refs_are_pushed_and_listed_in_gits_words() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    copy.ok(&["checkout", "-b", "west"]);
    copy.commit("west", "update orders set amount = 3 where customer = 3");
    done(&copy, "west -> west", &["push", "origin", "HEAD"]);
    done(&copy, "west -> east", &["push", "origin", "HEAD:east"]);
    let west = hash(&copy, "west");
    copy.ok(&["reset", "--hard", "HEAD~1"]);
    copy.commit(
        "west again",
        "update orders set amount = 4 where customer = 3",
    );
    let new = hash(&copy, "west");

    let push = ["push", "origin", "west", "--format", "json"];
    let rejected = ours(&copy, &push);
    assert_eq!(rejected.code, Some(4), "{rejected:#?}");
    let told: serde_json::Value = serde_json::from_str(&rejected.stdout).unwrap();
    let told = &told["refs"][0];
    assert_eq!(told["result"], "non-fast-forward", "{told}");
    assert_eq!(
        (&told["old"], &told["new"]),
        (&west.into(), &new.clone().into())
    );
    let error: serde_json::Value = serde_json::from_str(&rejected.stderr).unwrap();
    assert_eq!(
        error["error"],
        "could not push 1 of 1 refs: they were rejected"
    );
    // Only the one with the + is forced.
    copy.ok(&["branch", "-f", "east", "main"]);
    let forced = ours(&copy, &["push", "origin", "+west", "east"]).expect_code(4);
    assert!(
        forced.contains(" ! [rejected]          east -> east"),
        "{forced}"
    );
    assert!(forced.contains("west -> west"), "{forced}");
    owner.fetch(&[]);
    assert_eq!(hash(&owner, "origin/west"), new);

    copy.ok(&["tag", "-m", "new", "v9", "main"]);
    let pushed = ours(&copy, &["push", "--tags", "origin"]).expect_success();
    let lines: Vec<_> = pushed.lines().collect();
    assert_eq!(lines.len(), 2, "what stayed is not told: {pushed}");
    assert_eq!(lines[1], " * [new tag]           v9 -> v9");
    done(
        &copy,
        "Everything up-to-date",
        &["push", "--tags", "origin"],
    );

    let log = ours(&copy, &["log", "--oneline", "-n", "1"]).expect_success();
    assert_eq!(log, format!("{new} west again\n"));
    let branches = ours(&copy, &["branch"]).expect_success();
    assert!(branches.starts_with("  east "), "{branches}");
    assert!(branches.contains("\n* west "), "{branches}");
    assert!(
        !branches.contains("v9") && !branches.contains("origin"),
        "{branches}"
    );
    let tags = ours(&copy, &["tag"]).expect_success();
    let main = hash(&copy, "main");
    assert!(
        tags.contains(&format!("{:<32} {main}  new\n", "v9")),
        "{tags}"
    );
    assert!(!tags.contains("west"), "{tags}");
    server.finish();
}
