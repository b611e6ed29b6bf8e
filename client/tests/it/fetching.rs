//! What is fetched by its name, tags that moved, and the settings of a database.

#![expect(clippy::disallowed_methods, reason = "tests edit files as people do")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::clock::{Clock, SystemClock};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::remote::{Directory, Remote};
use holdfast_client::transfer::{
    self, Extent, Force, Observer, PushRef, PushRequest, SetUpstream, TransferEvent,
};
use holdfast_doltdb::RefName;
use holdfast_tests::dolt::{Database, Workshop};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, hash, state, workshop};

/// A database with branches and a tag, pushed into a directory, and where that is.
fn published(workshop: &Workshop) -> (Database, String) {
    let owner = workshop.init("owner");
    let url = format!("file://{}", workshop.folder().join("remote").display());
    owner.sql(&format!(
        "create table word (id int primary key, text varchar(40));
         call dolt_commit('-Am', 'one');
         call dolt_tag('v1');
         call dolt_branch('a/south');
         call dolt_checkout('-b', 'other');
         insert into word values (1, 'one');
         call dolt_commit('-Am', 'two');
         call dolt_checkout('main');
         call dolt_remote('add', 'origin', '{url}');"
    ));
    std::fs::create_dir_all(workshop.folder().join("remote")).unwrap();
    for name in ["main", "other", "a/south", "v1"] {
        owner.push(&["origin", name]);
    }
    (owner, url)
}

fn clone(workshop: &Workshop, url: &str, name: &str) -> Database {
    let arguments = ["clone", url, name, "--single-branch"];
    holdfast(workshop, workshop.folder(), &arguments).expect_success();
    workshop.database(name)
}

fn repo_state(database: &Database) -> PathBuf {
    database.folder().join(".dolt/repo_state.json")
}

/// Only `main` is followed, as an earlier clone by us said, and as a user may want it.
fn follow_main_alone(database: &Database) {
    let path = repo_state(database);
    let state = std::fs::read_to_string(&path).unwrap();
    let all = "refs/heads/*:refs/remotes/origin/*";
    let narrow = state.replace(all, "refs/heads/main:refs/remotes/origin/main");
    std::fs::write(&path, narrow).unwrap();
}

#[track_caller]
fn remote_branches(database: &Database) -> Vec<String> {
    let printed = database.sql("select name from dolt_remote_branches order by name");
    let lines = printed.lines().skip(1);
    let names = lines.map(|line| line.trim_start_matches("remotes/origin/").to_owned());
    names.collect()
}

/// Runs a command that must end with `code`, say `words`, and change nothing.
#[track_caller]
fn changes_nothing(database: &Database, code: i32, words: &str, arguments: &[&str]) {
    let before = state(database);
    let printed = ours(database, arguments).expect_code(code);
    assert!(printed.contains(words), "{arguments:?}: {printed}");
    assert_eq!(state(database), before, "{arguments:?}");
}

#[test]
fn what_is_named_comes_whatever_the_specs_say() {
    let Some(workshop) = workshop() else { return };
    let (owner, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    let dolts = workshop.clone_from(&url, "dolts", &["--single-branch"]);
    for one in [&copy, &dolts] {
        follow_main_alone(one);
        assert_eq!(remote_branches(one), ["main"]);
    }
    let told = ours(&copy, &["fetch", "origin", "other"]).expect_success();
    assert!(
        told.contains(" * [new branch]        other -> origin/other"),
        "{told}"
    );
    dolts.fetch(&["origin", "other"]);
    assert_eq!(remote_branches(&copy), ["main", "other"]);
    assert_eq!(remote_branches(&copy), remote_branches(&dolts));
    assert_eq!(hash(&copy, "origin/other"), hash(&owner, "other"));

    let told = ours(&copy, &["pull", "origin", "a/south"]).expect_success();
    assert!(told.contains("a/south -> origin/a/south"), "{told}");
    assert!(told.contains("Already up to date."), "{told}");
    ours(&copy, &["pull", "origin", "other"]).expect_success();
    assert_eq!(hash(&copy, "HEAD"), hash(&owner, "other"));

    let spec = "refs/heads/other:refs/remotes/origin/mine";
    ours(&copy, &["fetch", "origin", spec]).expect_success();
    dolts.fetch(&["origin", spec]);
    assert_eq!(hash(&copy, "origin/mine"), hash(&dolts, "origin/mine"));
    ours(&copy, &["fetch", "origin", "refs/tags/v1"]).expect_success();
    assert_whole(&copy);
}

#[test]
fn what_the_remote_has_not_is_said_by_its_name_and_nothing_moves() {
    let Some(workshop) = workshop() else { return };
    let (owner, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    follow_main_alone(&copy);
    owner.sql("insert into word values (2, 'two'); call dolt_commit('-am', 'three')");
    owner.push(&["origin", "main"]);
    let missing = "could not find branch \"nope\" at the remote";
    for arguments in [
        &["fetch", "origin", "nope"][..],
        &["fetch", "origin", "main", "nope"],
        &["fetch", "--dry-run", "origin", "nope"],
        &["pull", "origin", "nope"],
        &["pull", "--dry-run", "origin", "nope"],
    ] {
        changes_nothing(&copy, 3, missing, arguments);
    }
    let tag = ["fetch", "origin", "refs/tags/nope"];
    changes_nothing(&copy, 3, "could not find tag \"nope\" at the remote", &tag);
    for refused in [
        "other:west",
        "refs/heads/other:refs/heads/west",
        "",
        "refs/stashes/x",
        // Names at which dolt opens no database any more.
        "main:refs/remotes/origin/../x",
        "main:refs/remotes/origin/a//b",
        "main:refs/remotes/refs/x",
        "refs/heads/*:refs/remotes/origin/*.lock",
    ] {
        changes_nothing(&copy, 2, "could not fetch", &["fetch", "origin", refused]);
        let dry = ["fetch", "--dry-run", "origin", refused];
        changes_nothing(&copy, 2, "could not fetch", &dry);
    }
    // What a hand wrote into the specs is no way around it.
    let path = repo_state(&copy);
    let narrow = std::fs::read_to_string(&path).unwrap();
    let spec = "refs/heads/main:refs/remotes/origin/main";
    let bad = narrow.replace(spec, "refs/heads/main:refs/remotes/origin/a..b");
    assert_ne!(bad, narrow);
    std::fs::write(&path, bad).unwrap();
    changes_nothing(&copy, 2, "mend the fetch_specs", &["fetch"]);
    std::fs::write(&path, narrow).unwrap();
    assert_eq!(remote_branches(&copy), ["main"]);

    let tag = ["checkout", "v1"];
    changes_nothing(&copy, 3, "`holdfast checkout -b <branch> v1`", &tag);
    for url in ["admin:secret@host/o/r", "admin:secret@host/o", "u:secret@h"] {
        for line in [&["remote", "add", "up", url][..], &["fetch", url]] {
            let told = ours(&copy, line).expect_code(2);
            assert!(
                told.contains("--user") && !told.contains("secret"),
                "{told}"
            );
        }
    }
    let state = std::fs::read_to_string(&path).unwrap();
    assert!(!state.contains("secret"), "{state}");

    // What is followed was deleted there: what was seen of it last is not what the remote has.
    copy.ok(&["checkout", "-b", "gone"]);
    ours(&copy, &["push", "-u", "origin", "gone"]).expect_success();
    owner.fetch(&[]);
    owner.push(&["origin", ":gone"]);
    changes_nothing(
        &copy,
        3,
        "could not find branch \"gone\" at the remote",
        &["pull"],
    );

    // What is checked out is not here.
    copy.ok(&["checkout", "main"]);
    let path = repo_state(&copy);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        whole.replace(
            "\"head\": \"refs/heads/main\",\n  \"remotes\"",
            "\"head\": \"refs/heads/lost\",\n  \"remotes\"",
        ),
    )
    .unwrap();
    let refs = || ours(&copy, &["refs", "--all"]).expect_success();
    let before = refs();
    for arguments in [
        &["pull", "origin", "main"][..],
        &["pull", "--dry-run", "origin", "main"],
    ] {
        let told = ours(&copy, arguments).expect_code(3);
        assert!(
            told.contains("branch \"lost\", which is checked out"),
            "{told}"
        );
        assert!(!told.contains("at the remote"), "{told}");
    }
    assert_eq!(refs(), before);
    std::fs::write(&path, whole).unwrap();
    ours(&copy, &["pull", "origin", "main"]).expect_success();
    assert_eq!(hash(&copy, "HEAD"), hash(&owner, "main"));
}

#[test]
fn a_tag_that_moved_at_the_remote_is_told_and_taken_by_force() {
    let Some(workshop) = workshop() else { return };
    let (owner, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    let tag =
        |database: &Database| database.sql("select tag_hash from dolt_tags where tag_name = 'v1'");
    let before = tag(&copy);
    owner.sql("insert into word values (2, 'two'); call dolt_commit('-am', 'three')");
    owner.ok(&["tag", "-d", "v1"]);
    owner.ok(&["tag", "v1", "main"]);
    owner.push(&["origin", "main"]);
    owner.push(&["origin", "v1"]);

    let words = " ! [rejected]          v1 -> v1 (would clobber existing tag)";
    let elsewhere = "warning: refs/tags/v1 is elsewhere at ";
    let warned = |arguments: &[&str]| {
        let told = ours(&copy, arguments);
        assert_eq!(told.code, Some(0), "{arguments:?}: {told:?}");
        assert!(told.stderr.contains(elsewhere), "{}", told.stderr);
        assert!(!told.stdout.contains("rejected"), "{}", told.stdout);
        told.stdout
    };
    // Who asks for no tags is warned, and all else comes.
    warned(&["fetch", "--dry-run"]);
    assert!(warned(&["fetch"]).contains("main -> origin/main"));
    assert_eq!(hash(&copy, "origin/main"), hash(&owner, "main"));
    assert_eq!(tag(&copy), before);
    for asked in ["refs/tags/v1", "refs/tags/*", "refs/tags/v*:refs/tags/v*"] {
        changes_nothing(&copy, 4, words, &["fetch", "origin", asked]);
    }
    let told = ours(&copy, &["fetch", "origin", "refs/tags/*"]).expect_code(4);
    assert!(
        told.contains("could not fetch 1 tags") && told.contains("--force"),
        "{told}"
    );
    warned(&["fetch", "origin", "main"]);
    assert!(warned(&["pull"]).contains("Updating "));
    let json = ours(&copy, &["fetch", "--format", "json"]);
    let json: Value = serde_json::from_str(json.stdout.trim()).unwrap();
    assert_eq!(json["elsewhere"][0]["ref"], "refs/tags/v1", "{json}");
    assert_eq!(json["rejected"], serde_json::json!([]), "{json}");
    assert_eq!(tag(&copy), before);

    ours(&copy, &["fetch", "--force"]).expect_success();
    assert_eq!(tag(&copy), tag(&owner));
    ours(&copy, &["fetch"]).expect_success();

    // A tag off all branches comes with its commit.
    owner.ok(&["checkout", "-b", "aside"]);
    owner.ok(&["commit", "--allow-empty", "-m", "aside"]);
    owner.ok(&["tag", "-d", "v1"]);
    owner.ok(&["tag", "v1", "aside"]);
    owner.push(&["origin", "v1"]);
    ours(&copy, &["fetch", "--force", "origin", "refs/tags/v1"]).expect_success();
    assert_eq!(tag(&copy), tag(&owner));
    assert_whole(&copy);
}

#[test]
fn a_branch_that_is_deleted_takes_its_working_set_along() {
    let Some(workshop) = workshop() else { return };
    let (_, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    let there = || {
        let refs = ours(&copy, &["refs", "--all", "--remote", "origin"]);
        refs.expect_success()
    };
    for delete in [
        &["push", "--force", "origin", ":b"][..],
        &["push", "--force", "--delete", "origin", "b"],
        &["push", "origin", ":b"],
        &["push", "--delete", "origin", "b"],
    ] {
        ours(&copy, &["push", "--force", "origin", "main:b"]).expect_success();
        assert!(there().contains("workingSets/heads/b"), "{}", there());
        ours(&copy, delete).expect_success();
        assert!(!there().contains("heads/b\n"), "{delete:?}: {}", there());
    }
    // What was left by others is in nobody's way, and a branch that is made again is clean.
    copy.push(&["origin", "main:b"]);
    ours(&copy, &["fetch"]).expect_success();
    ours(&copy, &["push", "--force", "origin", ":b"]).expect_success();
    assert!(!there().contains("heads/b\n"), "{}", there());
}

/// Adds a remote as soon as something is sent, as a user may do in another window.
#[derive(Debug)]
struct Meanwhile {
    state: PathBuf,
}

impl Observer for Meanwhile {
    fn tell(&self, _event: TransferEvent) {
        let text = std::fs::read_to_string(&self.state).unwrap();
        if !text.contains("\"later\"") {
            let backups = "\"backups\": {},";
            let with = text.replace(backups, "\"backups\": {},\n  \"later\": [1, 2],");
            assert_ne!(text, with);
            std::fs::write(&self.state, with).unwrap();
        }
    }

    fn warn(&self, _: &str) {}
}

#[test]
fn what_dolt_changed_during_a_push_stays_when_the_upstream_is_set() {
    let Some(workshop) = workshop() else { return };
    let (_, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    copy.ok(&["checkout", "-b", "west"]);
    copy.ok(&["commit", "--allow-empty", "-m", "west"]);
    let path = repo_state(&copy);
    let before = std::fs::read_to_string(&path).unwrap();
    let pool = BlockingPool::new(2);
    let remote: Arc<dyn Remote> = Arc::new(Directory::new(
        Path::new(url.trim_start_matches("file://")),
        pool.clone(),
    ));
    let branch = RefName::Branch("west".to_owned());
    let request = PushRequest {
        remote,
        remote_name: Some("origin".to_owned()),
        refs: vec![PushRef {
            source: Some(branch.clone()),
            destination: branch,
            force: Force::No,
        }],
        upstream: SetUpstream::Pushed,
        extent: Extent::Whole,
        identity: None,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let observer = Arc::new(Meanwhile {
        state: path.clone(),
    });
    let pushed = transfer::push(&request, copy.folder(), &pool, &clock, observer);
    let pushed = Runtime::new().unwrap().block_on(pushed).unwrap();
    assert!(pushed.chunks > 0);
    let after = std::fs::read_to_string(&path).unwrap();
    let added = ",\n    \"west\": {\n      \"head\": \"refs/heads/west\",\n      \"remote\": \"origin\"\n    }\n  }\n}";
    let expected = before
        .replace("\"backups\": {},", "\"backups\": {},\n  \"later\": [1, 2],")
        .replace("\n  }\n}", added);
    assert_eq!(after, expected);
}

#[test]
fn the_settings_of_the_database_are_used() {
    let Some(workshop) = workshop() else { return };
    let (owner, url) = published(&workshop);
    let copy = clone(&workshop, &url, "copy");
    copy.ok(&["config", "--local", "--add", "user.name", "Of The Database"]);
    owner.sql("insert into word values (2, 'two'); call dolt_commit('-am', 'three')");
    owner.push(&["origin", "main"]);
    ours(&copy, &["pull"]).expect_success();
    let set = ours(&copy, &["inspect", "workingSets/heads/main"]).expect_success();
    assert!(set.contains("Of The Database <"), "{set}");

    // The address that no remote has a name for is followed by nothing.
    copy.ok(&["checkout", "-b", "west"]);
    let other = format!("file://{}", workshop.folder().join("another").display());
    changes_nothing(
        &copy,
        2,
        "could not let a branch follow",
        &["push", "-u", &other, "west"],
    );
    assert!(!workshop.folder().join("another").exists());

    changes_nothing(&copy, 2, "follows no branch", &["push"]);
    changes_nothing(&copy, 2, "follows no branch", &["push", "-u"]);
    copy.ok(&["config", "--local", "--add", "push.autosetupremote", "true"]);
    changes_nothing(&copy, 0, "[new branch]", &["push", "--dry-run"]);
    ours(&copy, &["push"]).expect_success();
    assert_eq!(hash(&copy, "origin/west"), hash(&copy, "west"));
    let status = copy.ok(&["status"]);
    assert!(status.contains("up to date with 'origin/west'"), "{status}");

    std::fs::write(copy.folder().join(".dolt/config.json"), "{").unwrap();
    changes_nothing(&copy, 6, "config.json", &["fetch"]);
}
