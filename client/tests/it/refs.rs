//! What happens to branches and tags: made, moved, refused, forced, deleted, followed; and to what is not committed.

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::ours;
use crate::scene::{
    assert_follows, assert_whole, cloned, forge, hash, prod, published, refs_there, remotesrv,
    state, workshop,
};

/// A database whose refs are pushed, and a clone by us.
struct Pair {
    owner: Database,
    copy: Database,
    url: String,
}

impl Pair {
    fn new(workshop: &Workshop, server: &dyn Remote) -> Self {
        let url = prod(server);
        Self {
            owner: published(workshop, World::SMALL, &url),
            copy: cloned(workshop, &url, &[]),
            url,
        }
    }

    /// A commit by the owner that is pushed.
    fn owner_goes_on(&self, number: u32) {
        let statements = format!("update orders set amount = {number} where customer = 1");
        self.owner.commit(&format!("owner {number}"), &statements);
        self.owner.push(&["origin", "main"]);
    }

    /// A commit in the clone.
    fn copy_goes_on(&self, number: u32) {
        let statements = format!("update orders set amount = {number} where customer = 2");
        self.copy.commit(&format!("copy {number}"), &statements);
    }

    /// Runs a command in the clone that must end with `code`, say `words`, and change nothing anywhere.
    #[track_caller]
    fn changes_nothing(&self, code: i32, words: &str, arguments: &[&str]) {
        let before = (state(&self.copy), refs_there(&self.copy, "origin"));
        let printed = ours(&self.copy, arguments).expect_code(code);
        assert!(printed.contains(words), "{arguments:?}: {printed}");
        let after = (state(&self.copy), refs_there(&self.copy, "origin"));
        assert_eq!(after, before, "{arguments:?}");
    }

    #[track_caller]
    fn done(&self, words: &str, arguments: &[&str]) {
        let printed = ours(&self.copy, arguments).expect_success();
        assert!(printed.contains(words), "{arguments:?}: {printed}");
    }
}

/// Plays with each server that there is.
fn at_each_server(play: fn(&Pair)) {
    let Some(workshop) = workshop() else { return };
    for server in [Some(forge()), remotesrv()].into_iter().flatten() {
        let folder = Workshop::new(workshop.dolt());
        let pair = Pair::new(&folder, &*server);
        play(&pair);
        assert_whole(&pair.copy);
        let last = folder.clone_from(&prod(&*server), "last", &[]);
        pair.owner.fetch(&["--prune"]);
        assert_eq!(hash(&last, "main"), hash(&pair.owner, "origin/main"));
        server.finish();
    }
}

#[test]
fn branches_move_forward_or_by_force_after_a_look() {
    at_each_server(|pair| {
        pair.owner_goes_on(1);
        pair.copy_goes_on(1);
        pair.changes_nothing(4, "fetch first", &["push", "origin", "main"]);
        pair.changes_nothing(4, "stale info", &["push", "--force", "origin", "main"]);
        let by_address = ["push", "--force", &pair.url, "main"];
        pair.changes_nothing(4, "stale info", &by_address);
        pair.changes_nothing(0, "main -> origin/main", &["fetch", "--dry-run"]);
        pair.changes_nothing(4, "have diverged", &["pull", "--dry-run"]);
        pair.done("main -> origin/main", &["fetch"]);
        pair.changes_nothing(4, "have diverged", &["pull"]);
        pair.changes_nothing(4, "non-fast-forward", &["push", "origin", "main"]);
        let forced = ["push", "--force", "origin", "main"];
        pair.changes_nothing(0, "main -> main", &[&forced[..], &["--dry-run"]].concat());
        pair.done("main -> main", &forced);
        pair.owner.fetch(&[]);
        let wanted = hash(&pair.copy, "main");
        assert_eq!(hash(&pair.owner, "origin/main"), wanted);
        assert_eq!(hash(&pair.copy, "origin/main"), wanted);
    });
}

#[test]
fn branches_are_made_followed_and_deleted() {
    at_each_server(|pair| {
        let copy = &pair.copy;
        copy.ok(&["checkout", "-b", "west"]);
        pair.copy_goes_on(1);
        pair.changes_nothing(2, "follows no branch", &["push"]);
        let made = ["push", "--set-upstream", "origin", "west"];
        pair.changes_nothing(0, "[new branch]", &[&made[..], &["--dry-run"]].concat());
        pair.done("[new branch]", &made);
        let status = copy.ok(&["status"]);
        let follows = "Your branch is up to date with 'origin/west'.";
        assert!(status.contains(follows), "{status}");
        let branches = copy.ok(&["branch", "-vv"]);
        assert!(branches.contains("[origin/west]"), "{branches}");
        pair.copy_goes_on(2);
        pair.done("west -> west", &["push"]);
        pair.changes_nothing(0, "Everything up-to-date", &["push"]);

        copy.ok(&["branch", "east"]);
        pair.done("east -> east", &["push", "--all", "origin"]);
        pair.owner.fetch(&[]);
        for name in ["west", "east"] {
            let there = hash(&pair.owner, &format!("origin/{name}"));
            assert_eq!(there, hash(copy, name));
        }

        // The owner deletes one, and we another.
        pair.owner.push(&["origin", ":south"]);
        pair.changes_nothing(0, "", &["fetch"]);
        pair.changes_nothing(0, "[deleted]", &["fetch", "--prune", "--dry-run"]);
        pair.done("[deleted]", &["fetch", "--prune"]);
        let branches = copy.ok(&["branch", "-a"]);
        assert!(!branches.contains("origin/south"), "{branches}");
        pair.done("[deleted]", &["push", "origin", ":north"]);
        pair.done("[deleted]", &["push", "--delete", "origin", "east"]);
        let missing = ["push", "--delete", "origin", "east"];
        pair.changes_nothing(4, "does not exist", &missing);
        let branches = copy.ok(&["branch", "-a"]);
        assert!(!branches.contains("origin/north"), "{branches}");
        pair.owner.fetch(&["--prune"]);
        let branches = pair.owner.ok(&["branch", "-a"]);
        for gone in ["origin/north", "origin/east", "origin/south"] {
            assert!(!branches.contains(gone), "{branches}");
        }
        copy.ok(&["checkout", "main"]);
    });
}

#[test]
fn tags_stay_unless_forced() {
    at_each_server(|pair| {
        let copy = &pair.copy;
        copy.ok(&["tag", "-m", "ours", "v8", "main"]);
        copy.ok(&["tag", "-m", "ours too", "v9", "main"]);
        pair.changes_nothing(0, "[new tag]", &["push", "--dry-run", "origin", "v8"]);
        pair.done("[new tag]", &["push", "origin", "v8"]);
        pair.done("v9 -> v9", &["push", "--tags", "origin"]);
        pair.owner.fetch(&[]);
        let tags = pair.owner.ok(&["tag"]);
        assert!(tags.contains("v8") && tags.contains("v9"), "{tags}");

        copy.ok(&["tag", "-d", "v9"]);
        copy.ok(&["tag", "-m", "elsewhere", "v9", "main~1"]);
        pair.changes_nothing(4, "already exists", &["push", "origin", "v9"]);
        pair.done("v9 -> v9", &["push", "--force", "origin", "v9"]);
        pair.done("[deleted]", &["push", "origin", ":refs/tags/v8"]);
        let there = refs_there(copy, "origin");
        assert!(!there.contains("v8") && there.contains("v9"), "{there}");
    });
}

#[test]
fn what_is_not_committed_stands_in_the_way_of_a_pull_and_of_no_push() {
    at_each_server(|pair| {
        let copy = &pair.copy;
        copy.commit(
            "ignore",
            "insert into dolt_ignore values ('scratch%', true)",
        );
        copy.sql("create table scratch (id int primary key); insert into scratch values (4)");
        pair.done("main -> main", &["push", "origin", "main"]);
        let scratch = "select id from scratch";
        assert_eq!(copy.sql(scratch), "id\n4\n");
        pair.owner.pull(&["origin", "main"]);

        copy.sql("update orders set amount = 7777 where customer = 1");
        pair.owner_goes_on(1);
        pair.done("main -> origin/main", &["fetch"]);
        pair.changes_nothing(4, "not committed", &["pull"]);
        assert_eq!(copy.count("orders", "amount = 7777"), 3);
        copy.sql("call dolt_add('orders')");
        pair.changes_nothing(4, "not committed", &["pull"]);
        copy.ok(&["reset", "--hard"]);
        // Nothing that dolt ignores is lost either: it counts as work.
        assert_eq!(copy.sql(scratch), "id\n4\n");
        pair.changes_nothing(4, "`dolt stash --all`", &["pull"]);
        copy.ok(&["stash", "--all"]);
        pair.done("Updating ", &["pull"]);
        copy.ok(&["stash", "pop"]);
        assert_eq!(copy.sql(scratch), "id\n4\n");
        assert_eq!(copy.log(), pair.owner.log());
        assert_follows(copy, &pair.owner);
    });
}
