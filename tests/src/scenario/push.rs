//! Pushes: everything that can happen to a branch or a tag.

use crate::dolt::Database;
use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn branches_are_made_moved_rejected_forced_and_deleted(scene: &Scene) {
    let owner = scene.unpublished("owner", "prod");

    let printed = owner.push(&["--set-upstream", "origin", "main"]);
    assert!(
        printed.contains("* [new branch]"),
        "into a new repository: {printed}"
    );
    let printed = owner.push(&["origin", "north"]);
    assert!(
        printed.contains("* [new branch]"),
        "beside another branch: {printed}"
    );
    let rival = scene
        .workshop()
        .clone_from(&scene.url("prod"), "rival", &[]);

    let heads = "select hashof('main') = hashof('origin/main');";
    owner.commit("forward", "update orders set amount = 9 where customer = 1");
    assert!(owner.sql(heads).contains("false"));
    owner.push(&[]);
    owner.fetch(&[]);
    assert!(
        owner.sql(heads).contains("true"),
        "a fast-forward moves the branch"
    );
    let printed = owner.push(&[]);
    assert!(printed.contains("Everything up-to-date"), "{printed}");

    rival.commit(
        "sideways",
        "update orders set amount = 8 where customer = 2",
    );
    let printed = rival.refused(&["push", "origin", "main"]);
    assert!(printed.contains("! [rejected]"), "{printed}");
    assert!(
        printed.contains("tip of your current branch is behind"),
        "{printed}"
    );
    owner.fetch(&[]);
    assert!(
        owner.sql(heads).contains("true"),
        "a rejected push moves nothing"
    );

    rival.push(&["--force", "origin", "main"]);
    owner.fetch(&[]);
    assert!(
        owner.sql(heads).contains("false"),
        "a forced push moves the branch"
    );
    let rows = |database, side| Contents::of(database, side, &["main"]).rows;
    assert_eq!(rows(&owner, Side::Origin), rows(&rival, Side::Local));

    let printed = owner.push(&["origin", ":north"]);
    assert!(printed.contains("[deleted]"), "{printed}");
    let last = scene.workshop().clone_from(&scene.url("prod"), "last", &[]);
    let refs = Contents::of(&last, Side::Origin, &["main"]).refs;
    assert!(refs.contains("main") && !refs.contains("north"), "{refs}");
    assert_eq!(rows(&last, Side::Local), rows(&rival, Side::Local));
}

pub fn all_branches_and_tags_go_to_a_new_repository(scene: &Scene) {
    let owner = scene.unpublished("owner", "prod");

    let printed = owner.push(&["--all", "origin"]);
    assert_eq!(
        printed.matches("* [new branch]").count(),
        BRANCHES.len(),
        "{printed}"
    );
    owner.push(&["origin", "v1"]);
    owner.push(&["origin", "v2"]);

    let copy = scene.workshop().clone_from(&scene.url("prod"), "copy", &[]);
    assert_eq!(
        Contents::of(&copy, Side::Origin, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
    let printed = owner.push(&["--all", "origin"]);
    assert!(
        !printed.contains("new branch"),
        "a second push of all has nothing new: {printed}"
    );
}

/// Forces a push over another one's and returns the repository's name in two parts.
pub fn a_forced_push(scene: &Scene) -> String {
    let owner = scene.published("owner", "prod");
    let rival = scene
        .workshop()
        .clone_from(&scene.url("prod"), "rival", &[]);
    owner.commit("forward", "update orders set amount = 9 where customer = 1");
    owner.push(&["origin", "main"]);
    rival.commit(
        "sideways",
        "update orders set amount = 8 where customer = 2",
    );
    rival.push(&["--force", "origin", "main"]);
    scene.path("prod")
}

/// What an old dolt can push: a new repository, a branch, a fast-forward, a tag, a forced push, a deletion, and all
/// branches at once where it can.
pub fn an_old_dolt_pushes_everything(scene: &Scene) {
    all_that_an_old_dolt_can(scene);
}

/// The same, and returns the database whose `main` the remote has.
pub(super) fn all_that_an_old_dolt_can(scene: &Scene) -> Database {
    let owner = scene.workshop().init("old");
    owner.ok(&["remote", "add", "origin", &scene.url("prod")]);
    owner.commit(
        "one",
        "create table t (id int primary key, v varchar(20)); insert into t values (1, 'one')",
    );
    owner.push(&["origin", "main"]);
    owner.ok(&["tag", "v1", "-m", "the first"]);
    owner.ok(&["branch", "north"]);
    owner.push(&["origin", "north"]);
    owner.push(&["origin", "v1"]);
    owner.commit("two", "insert into t values (2, 'two')");
    owner.push(&["origin", "main"]);
    let rival = scene
        .workshop()
        .clone_from(&scene.url("prod"), "rival", &[]);
    owner.commit("three", "insert into t values (3, 'three')");
    owner.push(&["origin", "main"]);
    rival.commit("beside three", "insert into t values (4, 'four')");
    let printed = rival.refused(&["push", "origin", "main"]);
    // 1.20 says why, but not that word.
    assert!(
        printed.contains("rejected") || printed.contains("tip of your current branch is behind"),
        "{printed}"
    );
    rival.push(&["--force", "origin", "main"]);
    rival.push(&["origin", ":north"]);

    let copy = scene.workshop().clone_from(&scene.url("prod"), "copy", &[]);
    assert_eq!(
        copy.sql("select * from t order by id;"),
        rival.sql("select * from t order by id;")
    );
    assert_eq!(copy.ok(&["branch", "-a"]).matches("north").count(), 0);
    assert!(copy.ok(&["tag"]).contains("v1"));
    if scene.workshop().dolt().has_push_all() {
        all_branches_at_once(scene, &owner);
    }
    rival
}

/// An old dolt pushes `main` and `north` to a new repository by one command.
fn all_branches_at_once(scene: &Scene, owner: &Database) {
    owner.ok(&["remote", "add", "another", &scene.url("another")]);
    let printed = owner.push(&["--all", "another"]);
    assert_eq!(printed.matches("[new branch]").count(), 2, "{printed}");
    let shop = scene.workshop();
    shop.try_clone_from(&scene.url("another"), "another", &[])
        .expect_success();
    let seen = shop.database("another").sql(
        "select name from dolt_remote_branches order by name;
         select v from t order by id;",
    );
    let seen: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(
        seen,
        [
            "name",
            "remotes/origin/main",
            "remotes/origin/north",
            "v",
            "one",
            "two",
            "three"
        ]
    );
}
