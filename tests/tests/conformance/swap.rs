//! Statements 65 to 71: adding files and moving the root.

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::peer::{Peer, info};
use holdfast_tests::scenario;
use holdfast_tests::table::TableFile;
use tonic::Code;

use crate::Setup;
use crate::presence::numbered;

pub(crate) async fn s65_unknown_files_and_no_chunks_are_refused_and_a_repeat_succeeds(
    setup: Setup,
) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let file = TableFile::classic(&TinyDb::new().commit("main", "one"));
    let other = TableFile::classic(&TinyDb::new().commit("main", "two"));

    let refused = peer.add(&[&file]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "never uploaded: {refused}"
    );
    peer.store(&file).await;
    let refused = peer.add(&[&file, &other]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "one of two: {refused}"
    );
    assert_eq!(
        peer.metadata().await.unwrap().storage_size,
        0,
        "and then none is added"
    );
    for (what, code, count) in [
        ("no chunks", Code::InvalidArgument, 0),
        ("another count", Code::FailedPrecondition, file.chunks + 1),
    ] {
        let mut info = info(&file);
        info.chunk_count = count;
        let refused = peer.add_infos(vec![info]).await.unwrap_err();
        assert_eq!(refused.code(), code, "{what}: {refused}");
    }
    let mut short = info(&file);
    short.hash = short.hash.slice(..19);
    assert_eq!(
        peer.add_infos(vec![short]).await.unwrap_err().code(),
        Code::InvalidArgument,
        "19 bytes"
    );
    for _ in 0..3 {
        assert!(peer.add(&[&file]).await.unwrap().success);
    }
    assert_eq!(peer.files().await.unwrap().table_file_info.len(), 1);
    forge.finish();
}

pub(crate) async fn s66_a_dangling_reference_is_refused_also_on_the_first_push(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    for step in 0..2 {
        let fresh = database.commit_with(
            "main",
            "one",
            &[("table", &numbered(vec![b'x'; 20_000 + step]))],
        );
        let head = database.head("main").unwrap();
        let without_a_leaf = fresh.iter().skip(1);
        let file = TableFile::classic(without_a_leaf);
        peer.store(&file).await;

        let refused = peer.add(&[&file]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "step {step}: {refused}"
        );
        assert_eq!(peer.has(&[head]).await, [false], "step {step}");
        let before = peer.root().await.unwrap();
        let refused = peer
            .commit(database.root(), before, &[&file])
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "step {step}: {refused}"
        );
        assert_eq!(peer.root().await.unwrap(), before, "step {step}");

        // What is missing may come in the same batch.
        let rest = TableFile::classic(&fresh[..1]);
        peer.store(&rest).await;
        assert!(
            peer.add(&[&file, &rest]).await.unwrap().success,
            "step {step}"
        );
        assert!(
            peer.commit(database.root(), before, &[]).await.unwrap(),
            "step {step}"
        );
    }
    forge.finish();
}

pub(crate) async fn s67_adding_files_leaves_the_root(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    for step in 0..3 {
        let before = database.root();
        let fresh = database.commit("main", &format!("step {step}"));
        let file = TableFile::classic(&fresh);
        peer.store(&file).await;
        peer.add(&[&file]).await.unwrap();
        for url in forge.server_urls() {
            assert_eq!(
                Peer::new(&url, "acme/prod").root().await.unwrap(),
                before,
                "step {step}"
            );
        }
        assert!(peer.commit(database.root(), before, &[]).await.unwrap());
    }
    forge.finish();
}

pub(crate) async fn s68_a_stale_commit_is_false_and_adds_only_its_files(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;
    let first = database.root();
    let mut rival = database.clone();
    let fresh = database.commit("main", "two");
    peer.push(&database, &fresh).await;

    let fresh = rival.commit("main", "beside two");
    let file = TableFile::classic(&fresh);
    peer.store(&file).await;
    assert!(
        !peer.commit(rival.root(), first, &[&file]).await.unwrap(),
        "the root is no longer `last`"
    );

    let root = peer.root().await.unwrap();
    assert_eq!(root, database.root(), "the root stays");
    assert_ne!(
        root, first,
        "and is not the `last` that was refused, or clients would spin"
    );
    assert_eq!(
        peer.has(&[rival.head("main").unwrap()]).await,
        [true],
        "the files are added"
    );
    let listed = peer.files().await.unwrap();
    assert_eq!(listed.root_hash[..], root.as_bytes()[..]);
    assert!(
        peer.commit(rival.root(), root, &[]).await.unwrap(),
        "and can be committed without a new upload"
    );
    forge.finish();
}

pub(crate) async fn s69_a_replayed_commit_is_true(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let file = TableFile::classic(&fresh);
    peer.store(&file).await;
    for _ in 0..3 {
        assert!(
            peer.commit(database.root(), RootAddress::ZERO, &[&file])
                .await
                .unwrap()
        );
    }
    let (one, last) = (database.root(), database.root());
    assert!(
        peer.commit(one, last, &[]).await.unwrap(),
        "current and last are the same"
    );

    // Also when somebody moved on in between: the reply was lost, the push was not.
    let fresh = database.commit("main", "two");
    peer.push(&database, &fresh).await;
    assert!(peer.commit(one, RootAddress::ZERO, &[&file]).await.unwrap());
    assert_eq!(
        peer.root().await.unwrap(),
        database.root(),
        "and the replay moves nothing back"
    );
    forge.finish();
}

pub(crate) async fn s70_a_root_that_is_not_there_is_refused(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let absent = RootAddress::from(ChunkAddress::new([0xee; 20]));
    let refused = peer
        .commit(absent, RootAddress::ZERO, &[])
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "of an empty repository: {refused}"
    );

    peer.push(&database, &fresh).await;
    let refused = peer.commit(absent, database.root(), &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let commit = RootAddress::from(database.head("main").unwrap());
    let refused = peer.commit(commit, database.root(), &[]).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "a commit is no store root: {refused}"
    );
    assert_eq!(peer.root().await.unwrap(), database.root());
    forge.finish();
}

pub(crate) async fn s71_two_clients_at_once(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(&forge, |scene| {
        scenario::concurrent::two_writers_to_two_branches_both_win(scene);
    });
    crate::with_dolt(&forge, |scene| {
        scenario::concurrent::of_two_writers_to_one_branch_one_is_rejected(scene);
    });
    forge.finish();
}
