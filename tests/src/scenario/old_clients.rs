//! Old versions of dolt beside today's.

use super::Scene;
use crate::dolt::Dolt;
use crate::world::{Contents, Side};

/// The first version that reads what today's dolt writes at all: before it, Dolt itself refuses the database.
const READS_TODAYS_DATA: (u32, u32, u32) = (1, 42, 0);

/// Each installed old dolt pushes everything it can, into a repository of its own.
pub fn every_old_dolt_pushes(scene: &Scene) {
    for dolt in Dolt::find_old() {
        super::push::an_old_dolt_pushes_everything(&scene.alone_with(&dolt));
    }
}

/// Each installed old dolt clones what today's pushed, and fetches what today's pushes then.
pub fn every_old_dolt_clones_and_fetches_what_todays_pushed(scene: &Scene) {
    let old_dolts = Dolt::find_old();
    let owner = scene.published("owner", "prod");
    let mut readers = Vec::new();
    for dolt in &old_dolts {
        let old = scene.using(dolt);
        let name = format!("copy-{}", dolt.version());
        if dolt.version_parts() < READS_TODAYS_DATA {
            let refused = old
                .workshop()
                .try_clone_from(&scene.url("prod"), &name, &[])
                .expect_failure();
            assert!(
                refused.contains("is out of date and must upgrade"),
                "dolt {}: {refused}",
                dolt.version()
            );
            eprintln!(
                "dolt {} says by itself that it cannot read what today's writes",
                dolt.version()
            );
            continue;
        }
        readers.push(old.workshop().clone_from(&scene.url("prod"), &name, &[]));
    }
    let rows = |database, side| Contents::of(database, side, &["main", "north"]).rows;
    for reader in &readers {
        assert_eq!(
            rows(reader, Side::Origin),
            rows(&owner, Side::Local),
            "{}",
            reader.folder().display()
        );
    }
    owner.sql(
        "update customers set note = concat(note, ' seen again') where id % 3 = 0;
         call dolt_commit('-am', 'after the clones');
         call dolt_push('origin', 'main');",
    );
    for reader in &readers {
        reader.fetch(&[]);
        assert_eq!(
            rows(reader, Side::Origin),
            rows(&owner, Side::Local),
            "{}",
            reader.folder().display()
        );
    }
}
