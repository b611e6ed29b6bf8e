//! Statements 74 to 79: missing repositories, and whole flows of a real dolt.

use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::Dolt;
use holdfast_tests::remote::Remote as _;
use holdfast_tests::say;
use holdfast_tests::scenario::{self, Scene};
use tonic::Code;

use crate::Setup;
use crate::calls::{self, Naming};
use crate::gate::Gate;
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
    let stranger = forge.peer("acme/unheard-of");
    let calls = calls::reads(&stranger, &Naming::of(&stranger), &"v".repeat(32)).await;
    for (call, result) in calls {
        let refused = result.expect_err(call);
        assert!(
            [Code::NotFound, Code::PermissionDenied].contains(&refused.code()),
            "{call}: {refused}"
        );
    }
    let before = forge.logs().requests().len();
    crate::with_dolt(&forge, |scene| {
        scenario::clone::a_clone_of_what_is_refused_ends_at_once(scene);
        let requests = forge.logs().requests().split_off(before);
        // Who repeats what failed makes six calls of the first one.
        assert!(
            (1..=2).contains(&requests.len()),
            "it asked {} times: {requests:#?}",
            requests.len()
        );
    });
    forge.finish();
}

/// Today's dolt, and every old one that is here: a branch, a tag, a forced push, a deletion, and `--all` where the
/// version has it.
pub(crate) async fn s76_every_push_passes_with_old_and_new_dolts(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(&forge, |scene| {
        scenario::push::branches_are_made_moved_rejected_forced_and_deleted(scene);
    });
    crate::with_dolt(&forge, |scene| {
        scenario::push::all_branches_and_tags_go_to_a_new_repository(scene);
    });
    let gate = Gate::start(forge.base_url()).await;
    let old_ones = Dolt::find_old();
    if old_ones.is_empty() {
        say::skipped("s76: no old dolt at all, so none has pushed; today's has, if there is one");
    }
    for old in old_ones {
        let scene = Scene::new(&old, &forge.dolt_settings(), &gate.base_url());
        scenario::push::an_old_dolt_pushes_everything(&scene);
        let agent = format!("dolt_cli {} ", old.version());
        let calls = gate.agents();
        let calls = calls.iter().filter(|one| one.starts_with(&agent)).count();
        assert!(calls > 20, "dolt {} made {calls} calls", old.version());
        let all = if old.has_push_all() {
            "--all too"
        } else {
            "but for --all, which it has not"
        };
        say::line(format_args!(
            "s76: dolt {} pushed everything, {all}, with {calls} calls",
            old.version()
        ));
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
