//! Fetches: of new commits, branches and tags, of one branch, and of nothing.

use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn a_fetch_brings_commits_branches_and_tags(scene: &Scene) {
    let owner = scene.published("owner", "prod");
    let reader = scene
        .workshop()
        .clone_from(&scene.url("prod"), "reader", &[]);
    owner.sql(
        "update customers set note = concat(note, ' seen again') where id % 7 = 0;
         call dolt_commit('-am', 'a change on main');
         call dolt_tag('-m', 'the third', 'v3', 'main');
         call dolt_checkout('-b', 'east', 'north');
         insert into orders select customer + 100000, number, article, amount from orders;
         call dolt_commit('-am', 'a change on east');
         call dolt_push('origin', 'main');
         call dolt_push('origin', 'east');
         call dolt_push('origin', 'v3');",
    );

    reader.fetch(&["origin", "main"]);
    let only_main = Contents::of(&reader, Side::Origin, &["main"]);
    assert!(
        !only_main.refs.contains("east"),
        "a fetch of main brings no other branch: {}",
        only_main.refs
    );
    assert_eq!(
        only_main.rows,
        Contents::of(&owner, Side::Local, &["main"]).rows
    );

    reader.fetch(&[]);
    let branches: Vec<&str> = BRANCHES.into_iter().chain(["east"]).collect();
    let there = Contents::of(&owner, Side::Local, &branches);
    assert_eq!(Contents::of(&reader, Side::Origin, &branches), there);
    assert!(there.refs.contains("v3"));

    reader.fetch(&[]);
    assert_eq!(
        Contents::of(&reader, Side::Origin, &branches),
        there,
        "a fetch of nothing changes nothing"
    );
    reader.fsck();
}
