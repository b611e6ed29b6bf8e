//! Statements 74 to 79: missing repositories, and whole flows of a real dolt.

use std::time::{Duration, Instant};

use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::Dolt;
use holdfast_tests::scenario;
use tonic::Code;

use crate::Setup;
use crate::transport::closed;

pub(crate) async fn s74_an_unknown_repository_looks_empty_to_who_may_create_it(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/unheard-of");
    assert_eq!(peer.root().await.unwrap(), RootAddress::ZERO);
    assert_eq!(peer.metadata().await.unwrap().storage_size, 0);
    let listing = peer.files().await.unwrap();
    assert!(listing.table_file_info.is_empty());
    assert_eq!(listing.root_hash[..], [0; 20]);
    crate::with_dolt(&forge, scenario::clone::a_clone_of_nothing_says_so);
    assert_eq!(forge.repositories(), [""; 0], "looking makes no repository");

    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;
    assert_eq!(forge.repositories(), ["acme/unheard-of"], "a push makes it");
    forge.finish();
}

pub(crate) async fn s75_an_unknown_repository_is_refused_at_once_to_who_may_not_create_it(
    setup: Setup,
) {
    let forge = setup.start(closed);
    let started = Instant::now();
    let stranger = forge.peer("acme/unheard-of");
    for refused in [
        stranger.metadata().await.unwrap_err(),
        stranger.root().await.unwrap_err(),
    ] {
        assert!(
            [Code::NotFound, Code::PermissionDenied].contains(&refused.code()),
            "{refused}"
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        started.elapsed()
    );
    crate::with_dolt(
        &forge,
        scenario::clone::a_clone_of_what_is_refused_ends_at_once,
    );
    forge.finish();
}

pub(crate) async fn s76_every_push_passes_with_old_and_new_dolts(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(&forge, |scene| {
        scenario::push::branches_are_made_moved_rejected_forced_and_deleted(scene);
    });
    crate::with_dolt(&forge, |scene| {
        scenario::push::all_branches_and_tags_go_to_a_new_repository(scene);
    });
    for old in Dolt::find_old() {
        crate::with_this_dolt(&forge, &old, scenario::push::an_old_dolt_pushes_everything);
    }
    forge.finish();
}

pub(crate) async fn s77_a_forced_push_leaves_its_working_set_in_the_root(setup: Setup) {
    let forge = setup.start(|_| {});
    let mut repository = String::new();
    crate::with_dolt(&forge, |scene| {
        repository = scenario::push::a_forced_push(scene);
    });
    if !repository.is_empty() {
        let peer = forge.peer(&repository);
        let names = crate::datasets::names(&peer).await;
        assert!(names.contains("workingSets/heads/main"), "{names:?}");
        assert!(names.contains("refs/heads/main"), "{names:?}");
    }
    forge.finish();
}

pub(crate) async fn s78_backups_are_synced_and_restored(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(
        &forge,
        scenario::backup::a_backup_is_synced_twice_and_restored,
    );
    forge.finish();
}

pub(crate) async fn s79_shallow_clones_fetch_and_push(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(
        &forge,
        scenario::shallow::a_clone_of_depth_1_fetches_and_pushes,
    );
    crate::with_dolt(
        &forge,
        scenario::shallow::a_clone_of_depth_2_fetches_and_pushes,
    );
    crate::with_dolt(
        &forge,
        scenario::shallow::a_clone_of_depth_5_fetches_and_pushes,
    );
    forge.finish();
}
