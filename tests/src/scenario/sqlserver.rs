//! Remotes as used from inside a running `dolt sql-server`.

use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn a_running_sql_server_pushes_pulls_and_backs_up(scene: &Scene) {
    let owner = scene.unpublished("owner", "prod");
    let server = owner.serve();

    server.sql("call dolt_push('origin', 'main'); call dolt_push('--all', 'origin');");
    let other = scene
        .workshop()
        .clone_from(&scene.url("prod"), "other", &[]);
    other.commit(
        "from outside",
        "insert into orders values (900001, 1, 'outside', 1)",
    );
    other.push(&["origin", "main"]);

    let counted = server.sql(
        "call dolt_fetch('origin');
         call dolt_pull('origin', 'main');
         select count(*) from orders where article = 'outside';",
    );
    assert!(counted.ends_with("1\n"), "{counted}");
    server.sql(
        "insert into orders values (900002, 1, 'inside', 1);
         call dolt_commit('-am', 'from inside');
         call dolt_push('origin', 'main');",
    );
    server.sql(&format!(
        "call dolt_backup('sync-url', '{}');",
        scene.url("backup")
    ));
    drop(server);

    other.pull(&[]);
    assert_eq!(
        Contents::of(&other, Side::Origin, &BRANCHES).rows,
        Contents::of(&owner, Side::Local, &BRANCHES).rows
    );
    let restored = scene.workshop().restore(&scene.url("backup"), "restored");
    assert_eq!(
        Contents::of(&restored, Side::Local, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
}
