//! Clones: of everything, of one branch, of nothing.

use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn a_whole_clone_is_equal_and_clean(scene: &Scene) {
    let owner = scene.published("owner", "prod");

    let copy = scene.workshop().clone_from(&scene.url("prod"), "copy", &[]);

    assert_eq!(
        Contents::of(&copy, Side::Origin, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
    assert_eq!(copy.log(), owner.log());
}

pub fn a_single_branch_clone_has_one_branch(scene: &Scene) {
    let owner = scene.published("owner", "prod");

    let copy = scene.workshop().clone_from(
        &scene.url("prod"),
        "copy",
        &["--single-branch", "--branch", "north"],
    );

    let branches =
        copy.sql("select name from dolt_branches;\nselect name from dolt_remote_branches;");
    assert_eq!(
        branches.split_whitespace().collect::<Vec<_>>(),
        ["name", "north", "name", "remotes/origin/north"]
    );
    let rows = |database, side| Contents::of(database, side, &["north"]).rows;
    assert_eq!(rows(&copy, Side::Origin), rows(&owner, Side::Local));
}

pub fn a_clone_of_nothing_says_so(scene: &Scene) {
    let refused = scene
        .workshop()
        .try_clone_from(&scene.url("nothing"), "copy", &[])
        .expect_failure();

    assert!(
        refused.contains("remote at that url contains no Dolt data"),
        "{refused}"
    );
    assert!(
        !scene.workshop().folder().join("copy/.dolt").exists(),
        "a failed clone leaves no database"
    );
}

pub fn an_encoded_address_is_the_same_repository(scene: &Scene) {
    let owner = scene.workshop().init("owner");
    owner.commit("one", "create table t (id int primary key)");
    owner.ok(&["remote", "add", "origin", &scene.url("prod")]);
    owner.push(&["origin", "main"]);
    let encoded = scene.url("prod").replace("/acme", "/ac%6De");
    assert_ne!(encoded, scene.url("prod"));

    let copy = scene.workshop().clone_from(&encoded, "copy", &[]);
    assert_eq!(copy.log(), owner.log());

    copy.commit("two", "insert into t values (1)");
    copy.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);
    assert_eq!(owner.log(), copy.log());
}

pub fn a_clone_of_what_is_refused_ends_at_once(scene: &Scene) {
    let refused = scene
        .workshop()
        .try_clone_from(&scene.url("secret"), "copy", &[])
        .expect_failure();

    // Only these codes are not asked for again and again.
    assert!(
        refused.contains("code = NotFound") || refused.contains("code = PermissionDenied"),
        "{refused}"
    );
}
