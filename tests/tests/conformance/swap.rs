//! Statements 65 to 71: adding files and moving the root.

use std::collections::BTreeSet;

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::Database;
use holdfast_tests::forge::Forge;
use holdfast_tests::peer::{Peer, info};
use holdfast_tests::process::Finished;
use holdfast_tests::scenario::Scene;
use holdfast_tests::table::TableFile;
use tonic::Code;

use crate::Setup;
use crate::gate::Gate;
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

    let before = names_of(&peer).await;
    let refs = crate::datasets::names(&peer).await;
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
    let mut after = names_of(&peer).await;
    assert!(after.remove(&file.name()), "its file is added");
    assert_eq!(after, before, "and nothing else");
    assert_eq!(crate::datasets::names(&peer).await, refs);
    let listed = peer.files().await.unwrap();
    assert_eq!(listed.root_hash[..], root.as_bytes()[..]);
    assert!(
        peer.commit(rival.root(), root, &[]).await.unwrap(),
        "and can be committed without a new upload"
    );
    forge.finish();
}

async fn names_of(peer: &Peer) -> BTreeSet<String> {
    let listed = peer.files().await.unwrap().table_file_info;
    listed.into_iter().map(|listed| listed.file_id).collect()
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
    peer.store(&TableFile::classic(&fresh)).await;
    let refused = peer
        .commit(database.root(), RootAddress::ZERO, &[])
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "uploaded is not there: {refused}"
    );
    assert_eq!(peer.root().await.unwrap(), RootAddress::ZERO);

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
    of_two_who_know_the_same_root_one_wins(&forge).await;
    let gate = Gate::start(forge.base_url()).await;
    crate::with_dolt_at(&gate.base_url(), &forge, |scene| {
        two_branches(scene, &gate);
        one_branch(scene, &gate);
    });
    forge.finish();
}

/// Without a dolt: each has read the root and uploaded all before either of them commits.
async fn of_two_who_know_the_same_root_one_wins(forge: &Forge) {
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;
    let last = database.root();
    let mut writers = Vec::new();
    for branch in ["north", "south"] {
        let mut database = database.clone();
        let file = TableFile::classic(&database.commit(branch, branch));
        let peer = forge.peer("acme/prod");
        peer.store(&file).await;
        assert!(peer.add(&[&file]).await.unwrap().success);
        writers.push((peer, database, branch));
    }
    let [one, other] = [0, 1].map(|index: usize| {
        let (peer, database, _) = &writers[index];
        peer.commit(database.root(), last, &[])
    });
    let (one, other) = futures::join!(one, other);
    let won = [one.unwrap(), other.unwrap()];
    assert_eq!(
        won.iter().filter(|won| **won).count(),
        1,
        "exactly one wins: {won:?}"
    );
    let (winner, loser) = if won[0] { (0, 1) } else { (1, 0) };

    // Another branch has moved: the loser puts his own on top of it.
    let mut database = writers[winner].1.clone();
    let (peer, _, branch) = &writers[loser];
    assert_eq!(peer.root().await.unwrap(), database.root());
    let last = database.root();
    let file = TableFile::classic(&database.commit(branch, "on top"));
    peer.store(&file).await;
    assert!(peer.commit(database.root(), last, &[&file]).await.unwrap());
    let names = crate::datasets::names(peer).await;
    for branch in ["main", "north", "south"] {
        assert!(names.contains(&format!("refs/heads/{branch}")), "{names:?}");
    }
}

/// Two databases that hold what is pushed, and the pushes of both, held back until both are about to commit.
fn at_once(gate: &Gate, writers: [&Database; 2], branches: [&str; 2]) -> [Finished; 2] {
    gate.take_commits();
    gate.hold_commits(2);
    let results = std::thread::scope(|scope| {
        let push = |index: usize| writers[index].run(&["push", "origin", branches[index]]);
        let one = scope.spawn(move || push(0));
        let other = push(1);
        [one.join().unwrap(), other]
    });
    assert_eq!(
        gate.came_together(),
        2,
        "both were about to commit: {results:#?}"
    );
    results
}

fn writers(scene: &Scene, repository: &str) -> [Database; 2] {
    scene.published(&format!("{repository}-owner"), repository);
    ["one", "other"].map(|name| {
        let name = format!("{repository}-{name}");
        let cloned = scene
            .workshop()
            .try_clone_from(&scene.url(repository), &name, &[]);
        cloned.expect_success();
        scene.workshop().database(&name)
    })
}

fn two_branches(scene: &Scene, gate: &Gate) {
    let [one, other] = writers(scene, "two-branches");
    one.sql("call dolt_checkout('north'); insert into orders values (900001, 1, 'one', 1); call dolt_commit('-am', 'one');");
    other.sql("call dolt_checkout('south'); insert into orders values (900002, 1, 'two', 2); call dolt_commit('-am', 'two');");

    let results = at_once(gate, [&one, &other], ["north", "south"]);

    for result in results {
        result.expect_success();
    }
    assert_eq!(
        gate.take_commits(),
        [2, 1],
        "one lost, and then both branches were moved"
    );
    let heads = |database: &Database, prefix: &str| {
        database.sql(&format!(
            "select hashof('{prefix}north'), hashof('{prefix}south');"
        ))
    };
    one.fetch(&[]);
    other.fetch(&[]);
    assert_eq!(heads(&one, "origin/"), heads(&other, "origin/"));
    let own = |database: &Database, branch: &str| {
        database
            .sql(&format!(
                "select hashof('{branch}') = hashof('origin/{branch}');"
            ))
            .contains("true")
    };
    assert!(own(&one, "north") && own(&other, "south"));
}

fn one_branch(scene: &Scene, gate: &Gate) {
    let [one, other] = writers(scene, "one-branch");
    one.commit("one", "insert into orders values (900001, 1, 'one', 1)");
    other.commit("two", "insert into orders values (900002, 1, 'two', 2)");

    let results = at_once(gate, [&one, &other], ["main", "main"]);

    assert_eq!(gate.take_commits(), [1, 1], "one won and one lost");
    let [winner, loser] = match results.each_ref().map(|result| result.success) {
        [true, false] => [&one, &other],
        [false, true] => [&other, &one],
        both => panic!("exactly one must win, {both:?}: {results:#?}"),
    };
    let rejected = results
        .iter()
        .find(|result| !result.success)
        .unwrap()
        .text();
    assert!(rejected.contains("! [rejected]"), "{rejected}");
    loser.pull(&["origin", "main"]);
    loser.push(&["origin", "main"]);
    winner.pull(&["origin", "main"]);
    assert_eq!(winner.log(), loser.log());
    assert_eq!(winner.count("orders", "customer > 900000"), 2);
}
