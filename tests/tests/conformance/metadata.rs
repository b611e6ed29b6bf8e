//! Statements 19 to 26: metadata and root.

use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{Feature, PushConcurrencyControl, RebaseRequest, RootRequest};
use holdfast_tests::forge::FinishedRequest;
use holdfast_tests::peer::{self, Peer};
use holdfast_tests::wait;
use tonic::Code;

use crate::Setup;

pub(crate) async fn s19_manifest_versions_4_and_5_are_echoed_and_others_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    for nbs in ["4", "5"] {
        let answer = peer
            .metadata_for(Some(peer::format("__DOLT__", nbs)))
            .await
            .unwrap();
        assert_eq!(answer.nbs_version, nbs);
    }
    let refused = [
        ("__DOLT__", "3"),
        ("__DOLT__", "6"),
        ("__DOLT__", ""),
        ("__LD_1__", "5"),
        ("", "5"),
    ];
    for format in refused
        .map(|(nbf, nbs)| Some(peer::format(nbf, nbs)))
        .into_iter()
        .chain([None])
    {
        let shown = format!("{format:?}");
        let status = peer.metadata_for(format).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status}");
    }
    forge.finish();
}

pub(crate) async fn s20_the_format_of_values_is_always_dolt(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    assert_eq!(
        peer.metadata().await.unwrap().nbf_version,
        "__DOLT__",
        "of an empty repository"
    );
    push_one(&peer).await;
    assert_eq!(peer.metadata().await.unwrap().nbf_version, "__DOLT__");
    forge.finish();
}

pub(crate) async fn s21_the_size_is_zero_only_without_a_root(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    assert_eq!(peer.metadata().await.unwrap().storage_size, 0);
    push_one(&peer).await;
    assert!(peer.metadata().await.unwrap().storage_size > 0);
    forge.finish();
}

pub(crate) async fn s22_pushes_ignore_working_sets_and_the_stream_is_offered(setup: Setup) {
    let forge = setup.start(|_| {});
    let metadata = forge.peer("acme/prod").metadata().await.unwrap();
    assert_eq!(
        metadata.push_concurrency_control(),
        PushConcurrencyControl::IgnoreWorkingSet
    );
    assert_eq!(
        metadata.features().collect::<Vec<_>>(),
        [Feature::StreamChunkLocations]
    );
    forge.finish();
}

pub(crate) async fn s23_without_the_feature_all_goes_over_the_legacy_stream(setup: Setup) {
    let forge = setup.start(|plan| plan.stream_chunk_locations = false);
    assert_eq!(
        forge.peer("acme/prod").metadata().await.unwrap().features,
        [0; 0]
    );
    let calls = |method: &str| {
        let requests = forge.logs().requests();
        let of_method = |one: &&FinishedRequest| one.path.ends_with(method);
        requests.iter().filter(of_method).count()
    };
    let mut before = 0;
    let mut went_over_the_legacy_stream = |what: &str| {
        wait::until(&format!("the legacy stream of a {what}"), || {
            calls("/StreamDownloadLocations") > before
        });
        before = calls("/StreamDownloadLocations");
    };
    crate::with_dolt(&forge, |scene| {
        let owner = scene.published("owner", "prod");
        went_over_the_legacy_stream("push");
        let shop = scene.workshop();
        let copy = shop.clone_from(&scene.url("prod"), "copy", &[]);
        went_over_the_legacy_stream("clone");
        owner.commit("forward", "update orders set amount = 9 where customer = 1");
        owner.push(&["origin", "main"]);
        went_over_the_legacy_stream("fast-forward");
        copy.pull(&[]);
        went_over_the_legacy_stream("pull");
        assert_eq!(copy.log(), owner.log());
        let shallow = shop.try_clone_from(&scene.url("prod"), "shallow", &["--depth", "2"]);
        shallow.expect_success();
        went_over_the_legacy_stream("shallow clone");
        assert_eq!(shop.database("shallow").log(), owner.log()[..2]);

        let backup = scene.url("backup");
        owner.ok(&["backup", "sync-url", &backup]);
        let restored = shop.command(shop.folder(), &["backup", "restore", &backup, "restored"]);
        restored.expect_success();
        assert_eq!(shop.database("restored").log(), owner.log());
    });
    assert_eq!(calls("/StreamChunkLocations"), 0, "it was not offered");
    forge.finish();
}

pub(crate) async fn s24_the_root_of_nothing_is_20_zero_bytes(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let root_bytes = async || {
        let message = RootRequest {
            repo_path: peer.path(),
            ..RootRequest::default()
        };
        peer.rpc()
            .root(message)
            .await
            .unwrap()
            .into_inner()
            .root_hash
    };
    assert_eq!(root_bytes().await, [0; 20][..]);
    let database = push_one(&peer).await;
    assert_eq!(root_bytes().await, database.root().as_bytes()[..]);
    forge.finish();
}

pub(crate) async fn s25_a_root_that_was_moved_is_seen_at_once_by_every_server(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    for step in 0..10 {
        let fresh = database.commit("main", &format!("step {step}"));
        peer.push(&database, &fresh).await;
        for url in forge.server_urls() {
            assert_eq!(
                Peer::new(&url, "acme/prod").root().await.unwrap(),
                database.root(),
                "step {step} at {url}"
            );
        }
    }
    forge.finish();
}

pub(crate) async fn s26_rebase_is_answered(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let rebase = || RebaseRequest {
        repo_path: peer.path(),
        ..RebaseRequest::default()
    };
    assert!(
        peer.rpc().rebase(rebase()).await.is_ok(),
        "of an empty repository"
    );
    let database = push_one(&peer).await;
    assert!(peer.rpc().rebase(rebase()).await.is_ok());
    assert_eq!(peer.root().await.unwrap(), database.root());
    assert_ne!(database.root(), RootAddress::ZERO);
    forge.finish();
}

async fn push_one(peer: &Peer) -> TinyDb {
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;
    database
}
