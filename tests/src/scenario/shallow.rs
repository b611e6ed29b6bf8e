//! Clones of limited depth, and what is done with them afterwards.

use crate::world::{Contents, MAIN_COMMITS, Side};

use super::Scene;

pub fn a_clone_of_depth_1_fetches_and_pushes(scene: &Scene) {
    of_depth(scene, 1);
}

pub fn a_clone_of_depth_2_fetches_and_pushes(scene: &Scene) {
    of_depth(scene, 2);
}

pub fn a_clone_of_depth_5_fetches_and_pushes(scene: &Scene) {
    of_depth(scene, 5);
}

fn of_depth(scene: &Scene, depth: usize) {
    let owner = scene.published("owner", "prod");
    assert!(
        depth < MAIN_COMMITS,
        "a depth that cuts nothing off shows nothing"
    );

    let shallow = scene
        .workshop()
        .clone_shallow(&scene.url("prod"), "shallow", depth);

    let rows = |database| Contents::of(database, Side::Local, &["main"]).rows;
    assert_eq!(rows(&shallow), rows(&owner));
    assert_eq!(shallow.log(), owner.log()[..depth]);

    owner.sql(
        "update customers set name = 'after the clone' where id % 30 = 4;
         call dolt_commit('-am', 'after the clone');
         call dolt_push('origin', 'main');",
    );
    shallow.pull(&[]);
    assert_eq!(rows(&shallow), rows(&owner));

    shallow.commit(
        "from the shallow one",
        "insert into orders values (900001, 1, 'shallow', 1)",
    );
    shallow.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);
    assert_eq!(rows(&shallow), rows(&owner));
    assert!(owner.log().starts_with(&[
        "from the shallow one".to_owned(),
        "after the clone".to_owned()
    ]));
}
