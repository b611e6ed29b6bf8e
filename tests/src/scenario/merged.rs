//! Many small pushes: the server makes one file of what they left, and real dolts read it.

use std::fmt::Write as _;

use crate::dolt::{Database, Dolt};
use crate::peer::Peer;
use crate::wait;
use crate::world::{BRANCHES, Contents, Side, World};

use super::Scene;

/// Each leaves a file.
const PUSHES: usize = 40;
/// Where there are so many small files, they become one.
const MERGED_FROM: usize = 32;
/// Reads no archives of the version that today's dolt writes.
const OLD_DOLT: &str = "1.50.0";

/// Fetches and clones after the merge find what it retired nowhere but in the merged file, which an old dolt gets as
/// its classic twin.
pub fn what_many_small_pushes_left_is_merged_and_read(scene: &Scene) {
    let owner = scene.publish(World::FOR_OLD_DOLTS, "owner", "prod");
    let mut scenes = vec![scene.clone()];
    scenes.extend(Dolt::find_version(OLD_DOLT).map(|old| scene.using(&old)));
    let clone = |scene: &Scene, when: &str| -> Database {
        let name = format!("{when}-{}", scene.workshop().dolt().version());
        scene.workshop().clone_from(&scene.url("prod"), &name, &[])
    };
    let earlier: Vec<Database> = scenes.iter().map(|scene| clone(scene, "before")).collect();

    let mut pushes = String::new();
    for number in 0..PUSHES {
        let _ = writeln!(
            pushes,
            "update customers set balance = balance + 1 where id = {number};
             call dolt_commit('-am', 'small push {number}');
             call dolt_push('origin', 'main');"
        );
    }
    owner.sql(&pushes);
    wait_until_merged(scene, "prod");

    let there = Contents::of(&owner, Side::Local, &BRANCHES);
    for (scene, earlier) in scenes.iter().zip(&earlier) {
        earlier.fetch(&[]);
        earlier.fsck();
        assert_eq!(Contents::of(earlier, Side::Origin, &BRANCHES), there);
        let later = clone(scene, "after");
        assert_eq!(Contents::of(&later, Side::Origin, &BRANCHES), there);
    }
}

/// Waits until a repository has fewer files than are left alone.
fn wait_until_merged(scene: &Scene, repository: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let peer = runtime.block_on(async { Peer::new(&scene.wire_url, &scene.path(repository)) });
    wait::until("small files to be merged", || {
        let listing = runtime.block_on(peer.files()).unwrap();
        let files = listing.table_file_info.len();
        assert!(files > 0, "a repository with a root has files");
        files < MERGED_FROM
    });
}
