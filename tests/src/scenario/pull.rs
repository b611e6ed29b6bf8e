//! Pulls: a fast-forward, and a merge of what both sides changed.

use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn a_pull_fast_forwards_and_merges(scene: &Scene) {
    let owner = scene.published("owner", "prod");
    let other = scene
        .workshop()
        .clone_from(&scene.url("prod"), "other", &[]);
    owner.sql(
        "update customers set name = 'renamed by the owner' where id = 3;
         call dolt_commit('-am', 'the owner goes on');
         call dolt_push('origin', 'main');",
    );

    let printed = other.pull(&[]);
    assert!(printed.contains("Fast-forward"), "{printed}");
    let rows = |database| Contents::of(database, Side::Local, &["main"]).rows;
    assert_eq!(rows(&other), rows(&owner));

    owner.sql(
        "update customers set balance = 1 where id = 11;
         call dolt_commit('-am', 'one side');
         call dolt_push('origin', 'main');",
    );
    other.commit(
        "the other side",
        "update customers set balance = 2 where id = 12",
    );
    other.pull(&[]);
    assert!(
        other.log()[0].starts_with("Merge branch"),
        "{:?}",
        other.log()
    );
    other.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);

    assert_eq!(
        Contents::of(&other, Side::Origin, &BRANCHES).refs,
        Contents::of(&owner, Side::Local, &BRANCHES).refs
    );
    let both = Contents::of(&owner, Side::Local, &["main"]).rows;
    assert_eq!(rows(&other), both);
    other.fsck();
}
