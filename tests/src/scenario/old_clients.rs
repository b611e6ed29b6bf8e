//! Old versions of dolt beside today's: each reads what today's pushed, and pushes what today's reads.

use super::{Scene, push};
use crate::dolt::{Database, Dolt};
use crate::say;
use crate::world::{BRANCHES, Contents, Side, World};

/// The first of these versions that reads what today's dolt writes at all: what is before it refuses the database by
/// itself.
const READS_TODAYS_DATA: (u32, u32, u32) = (1, 36, 0);

/// What a dolt says that refuses a database for its version.
const REFUSAL: &str = "is out of date and must upgrade";

/// The first version that understands how today's dolt describes columns of long values.
const READS_LONG_VALUES: (u32, u32, u32) = (2, 0, 0);

/// Versions before this one end with an error at the first commit that a shallow clone leaves out of its log.
const SHOWS_SHALLOW_LOGS: (u32, u32, u32) = (2, 0, 0);

/// What a dolt says that finds more in a table's description than it knows.
const LONG_VALUES_REFUSAL: &str = "table has unknown fields";

pub fn dolt_1_20_0_reads_what_todays_pushed(scene: &Scene) {
    reads("1.20.0", scene);
}

pub fn dolt_1_36_0_reads_what_todays_pushed(scene: &Scene) {
    reads("1.36.0", scene);
}

pub fn dolt_1_42_0_reads_what_todays_pushed(scene: &Scene) {
    reads("1.42.0", scene);
}

pub fn dolt_1_50_0_reads_what_todays_pushed(scene: &Scene) {
    reads("1.50.0", scene);
}

pub fn dolt_1_59_20_reads_what_todays_pushed(scene: &Scene) {
    reads("1.59.20", scene);
}

pub fn dolt_2_2_0_reads_what_todays_pushed(scene: &Scene) {
    reads("2.2.0", scene);
}

pub fn dolt_1_20_0_pushes_what_todays_reads(scene: &Scene) {
    pushes("1.20.0", scene);
}

pub fn dolt_1_36_0_pushes_what_todays_reads(scene: &Scene) {
    pushes("1.36.0", scene);
}

pub fn dolt_1_42_0_pushes_what_todays_reads(scene: &Scene) {
    pushes("1.42.0", scene);
}

pub fn dolt_1_50_0_pushes_what_todays_reads(scene: &Scene) {
    pushes("1.50.0", scene);
}

pub fn dolt_1_59_20_pushes_what_todays_reads(scene: &Scene) {
    pushes("1.59.20", scene);
}

pub fn dolt_2_2_0_pushes_what_todays_reads(scene: &Scene) {
    pushes("2.2.0", scene);
}

/// An old dolt, and a database that today's dolt has published as `prod`, with values that the old one understands.
/// Without the old one the database is published all the same, so that the scenario has begun.
fn an_old_dolt_and_an_owner(version: &str, scene: &Scene) -> Option<(Dolt, Database)> {
    let dolt = Dolt::find_version(version);
    let world = match &dolt {
        Some(old) if reads_todays_data(old) && old.version_parts() < READS_LONG_VALUES => {
            World::FOR_OLD_DOLTS
        }
        _ => World::SMALL,
    };
    let owner = scene.publish(world, "owner", "prod");
    dolt.map(|dolt| (dolt, owner))
}

fn reads_todays_data(dolt: &Dolt) -> bool {
    dolt.version_parts() >= READS_TODAYS_DATA
}

fn rows(database: &Database, side: Side, branches: &[&str]) -> String {
    Contents::of(database, side, branches).rows
}

/// The old dolt clones, whole and in part, restores, fetches and pulls.
fn reads(version: &str, scene: &Scene) {
    let Some((dolt, owner)) = an_old_dolt_and_an_owner(version, scene) else {
        return;
    };
    owner.ok(&["backup", "sync-url", &scene.url("backup")]);
    let old = scene.using(&dolt);
    if !reads_todays_data(&dolt) {
        let refused = old
            .workshop()
            .try_clone_from(&scene.url("prod"), "refused", &[])
            .expect_failure();
        assert!(refused.contains(REFUSAL), "dolt {version}: {refused}");
        say::line(format_args!(
            "dolt {version} says by itself that it cannot read what today's writes"
        ));
        return;
    }

    if dolt.version_parts() < READS_LONG_VALUES {
        let url = scene.url("long");
        drop(scene.published("long", "long"));
        old.workshop()
            .try_clone_from(&url, "old-long", &[])
            .expect_success();
        let refused =
            old.workshop()
                .database("old-long")
                .refused(&["sql", "-q", "select * from customers"]);
        assert!(refused.contains(LONG_VALUES_REFUSAL), "{refused}");
    }
    let whole = old
        .workshop()
        .clone_from(&scene.url("prod"), "old-whole", &[]);
    assert_eq!(
        Contents::of(&whole, Side::Origin, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );
    let parts = reads_parts(&old, &owner);
    let restored = old.workshop().restore(&scene.url("backup"), "old-restored");
    assert_eq!(
        Contents::of(&restored, Side::Local, &BRANCHES),
        Contents::of(&owner, Side::Local, &BRANCHES)
    );

    owner.sql(
        "update customers set note = concat(note, ' seen again') where id % 3 = 0;
         call dolt_commit('-am', 'after the clones');
         call dolt_push('origin', 'main');
         call dolt_checkout('north');
         insert into orders values (900001, 1, 'after the clones', 1);
         call dolt_commit('-am', 'north goes on');
         call dolt_push('origin', 'north');",
    );
    whole.fetch(&[]);
    assert_eq!(
        rows(&whole, Side::Origin, &BRANCHES),
        rows(&owner, Side::Local, &BRANCHES)
    );
    for copy in parts.iter().chain([&whole]) {
        copy.pull(&[]);
        assert_eq!(
            rows(copy, Side::Local, &["main"]),
            rows(&owner, Side::Local, &["main"]),
            "{}",
            copy.folder().display()
        );
    }
    assert_eq!(whole.log()[0], "after the clones");
    if dolt.has_fsck() {
        whole.fsck();
    }
}

/// The old dolt clones one branch, and limited depths, of which those of `main` are returned.
fn reads_parts(old: &Scene, owner: &Database) -> Vec<Database> {
    let (shop, url) = (old.workshop(), old.url("prod"));
    assert!(
        shop.dolt().has_partial_clones(),
        "such a dolt reads nothing"
    );
    let north = shop.clone_from(&url, "old-north", &["--single-branch", "--branch", "north"]);
    assert_eq!(
        rows(&north, Side::Origin, &["north"]),
        rows(owner, Side::Local, &["north"])
    );
    let of_depth = |depth: usize| {
        let shallow = shop.clone_shallow(&url, &format!("old-depth-{depth}"), depth);
        assert_eq!(
            rows(&shallow, Side::Local, &["main"]),
            rows(owner, Side::Local, &["main"])
        );
        if shop.dolt().version_parts() >= SHOWS_SHALLOW_LOGS {
            assert_eq!(shallow.log(), owner.log()[..depth]);
        }
        shallow
    };
    vec![of_depth(1), of_depth(2)]
}

/// The old dolt pushes and backs up a database of its own, which today's dolt clones, restores and goes on with; and
/// it pushes into a repository of today's.
fn pushes(version: &str, scene: &Scene) {
    let Some((dolt, owner)) = an_old_dolt_and_an_owner(version, scene) else {
        return;
    };
    let alone = scene.alone_with(&dolt);
    let pushed = push::all_that_an_old_dolt_can(&alone);
    backs_up(&alone, scene, &pushed);

    let todays = scene
        .workshop()
        .clone_from(&alone.url("prod"), "todays-copy", &[]);
    assert_eq!(table(&todays), table(&pushed));
    todays.commit("by today", "insert into t values (10, 'ten')");
    todays.push(&["origin", "main"]);
    if reads_todays_data(&dolt) {
        pushed.pull(&["origin", "main"]);
        assert_eq!(table(&pushed), table(&todays));
        pushes_to_todays(&scene.using(&dolt), &owner);
    } else {
        let refused = pushed.refused(&["pull", "origin", "main"]);
        assert!(refused.contains(REFUSAL), "dolt {version}: {refused}");
    }
}

fn table(database: &Database) -> String {
    database.sql("select * from t order by id;")
}

/// Backs up twice; the second backup is restored by the old dolt and by today's.
fn backs_up(old: &Scene, todays: &Scene, database: &Database) {
    let url = old.url("backup");
    database.ok(&["backup", "sync-url", &url]);
    database.commit("after a backup", "insert into t values (9, 'nine')");
    database.ok(&["backup", "sync-url", &url]);
    for (scene, name) in [(old, "old-restored"), (todays, "todays-restored")] {
        let restored = scene.workshop().restore(&url, name);
        assert_eq!(table(&restored), table(database), "{name}");
    }
    database.push(&["origin", "main"]);
}

/// The old dolt clones what today's pushed, and pushes a commit, a branch and a tag on top.
fn pushes_to_todays(old: &Scene, owner: &Database) {
    let copy = old.workshop().clone_from(&old.url("prod"), "old-copy", &[]);
    copy.sql(
        "insert into orders values (900001, 1, 'old', 1);
         call dolt_commit('-am', 'by the old one');
         call dolt_tag('-m', 'old', 'v0', 'main');
         call dolt_branch('west', 'main');",
    );
    for name in ["main", "west", "v0"] {
        copy.push(&["origin", name]);
    }
    owner.pull(&["origin", "main"]);
    assert_eq!(
        rows(owner, Side::Local, &["main"]),
        rows(&copy, Side::Local, &["main"])
    );
    owner.fetch(&[]);
    let refs = Contents::of(owner, Side::Origin, &["west"]).refs;
    assert!(refs.contains("west") && refs.contains("v0"), "{refs}");
    owner.fsck();
}
