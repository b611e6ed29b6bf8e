//! Pushes: everything that can happen to a branch or a tag.

use holdfast_tests::world::{BRANCHES, Contents, Side};

use crate::scene::Scene;

pub(crate) fn branches_are_made_moved_rejected_forced_and_deleted(scene: &Scene) {
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
    last.fsck();
}

pub(crate) fn all_branches_and_tags_go_to_a_new_repository(scene: &Scene) {
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
