//! Backups: of everything a database holds, uncommitted work included.

use crate::world::{BRANCHES, Contents, Side};

use super::Scene;

pub fn a_backup_is_synced_twice_and_restored(scene: &Scene) {
    let owner = scene.published("owner", "prod");
    let url = scene.url("backup");

    owner.ok(&["backup", "sync-url", &url]);
    let restored = scene.workshop().restore(&url, "first");
    assert_eq!(
        Contents::of(&restored, Side::Local, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );

    owner.sql(
        "update customers set name = 'changed' where id % 9 = 2;
         call dolt_commit('-am', 'after the first sync');
         insert into orders values (900001, 1, 'not committed', 1);",
    );
    owner.ok(&["backup", "sync-url", &url]);
    owner.ok(&["backup", "sync-url", &url]);

    let restored = scene.workshop().restore(&url, "second");
    assert_eq!(
        Contents::of(&restored, Side::Local, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
    assert_eq!(
        Contents::of(&restored, Side::Origin, &BRANCHES),
        Contents::of(&owner, Side::Origin, &BRANCHES),
        "remote branches are backed up too"
    );

    assert_eq!(
        restored.count("orders", "article = 'not committed'"),
        1,
        "uncommitted rows are backed up too"
    );
}
