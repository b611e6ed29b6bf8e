//! Merged files of which no address is good any more: released, deleted, and nothing else with them.

mod checkpoints;
mod kept;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::repo::expiry::OFFERED;
use holdfast_chunkstore::repo::{FileKind, layout};
use holdfast_chunkstore::testing::worlds::{actor, named, upload};

use self::world::{KEEP, World, tree};

#[tokio::test]
async fn merged_files_are_deleted_after_a_while_and_nothing_else_is() {
    let world = World::new();
    let server = world.server(1).await;
    let files = world.push(&server, 0..33).await;
    server.merge().await.unwrap().unwrap();
    world.push(&server, 33..35).await;
    let before = world.keys("").await;

    let until = server.until_release(KEEP).await.unwrap();
    assert!(
        until <= KEEP && until > KEEP - Duration::from_mins(1),
        "{until:?}"
    );
    world.pass(KEEP - Duration::from_mins(1));
    let early = server.release_retired(KEEP).await.unwrap();
    assert_eq!((early.released, early.deleted), (0, 0));
    assert_eq!(world.keys("").await, before);

    world.pass(Duration::from_hours(1));
    assert_eq!(server.until_release(KEEP).await, Some(Duration::ZERO));
    let expired = server.release_retired(KEEP).await.unwrap();
    assert_eq!((expired.released, expired.deleted), (33, 33));
    assert_eq!(server.until_release(KEEP).await, None);

    let after = world.keys("").await;
    let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
    let key = |file| layout::file(server.pool(), file).to_string();
    let note = |file: &holdfast_chunkstore::repo::StoredFile| {
        layout::upload(server.id(), file.id, file.upload).to_string()
    };
    let expected = files.iter().map(key).chain(files.iter().map(note));
    assert_eq!(gone, expected.collect());
    let new = after.difference(&before);
    let new: Vec<&String> = new.collect();
    assert!(
        new.iter()
            .all(|key| key.contains("/log/") || key.ends_with("/hint")),
        "{new:?}"
    );

    world.assert_whole(&server, 35).await;
    let other = world.server(2).await;
    let state = other.state().await.unwrap();
    assert_eq!(state.files.len(), 3);
    assert!(state.retired.is_empty() && state.released.is_empty());
    world.assert_whole(&other, 35).await;
}

#[tokio::test]
async fn addresses_are_given_out_for_a_day_and_what_has_one_is_read_until_the_end() {
    let world = World::new();
    let server = world.server(1).await;
    let files = world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let key = layout::file(server.pool(), &files[7]);
    world.pass(OFFERED - Duration::from_secs(1));
    let served = server.served(key.name()).await.unwrap();
    assert_eq!(served.unwrap().file, files[7]);
    world.pass(Duration::from_secs(1));
    assert_eq!(server.served(key.name()).await.unwrap(), None);
    world.pass(KEEP - OFFERED - Duration::from_secs(1));
    server.release_retired(KEEP).await.unwrap();
    assert!(world.has(&key).await, "a clone may be reading it");
    world.pass(Duration::from_hours(2));
    server.release_retired(KEEP).await.unwrap();
    assert!(!world.has(&key).await);
}

#[tokio::test]
async fn a_server_that_saw_nothing_of_it_goes_on_with_what_is_there() {
    let world = World::new();
    let [first, second] = [world.server(1).await, world.server(2).await];
    let files = world.push(&first, 0..32).await;
    second.state().await.unwrap();
    first.merge().await.unwrap().unwrap();
    world.pass(KEEP);
    first.release_retired(KEEP).await.unwrap();
    // What it saw last is old: it asks before it says anything of a file.
    let key = layout::file(second.pool(), &files[0]);
    assert_eq!(second.served(key.name()).await.unwrap(), None);
    world.assert_whole(&second, 32).await;
    world.push(&second, 32..34).await;
    world.assert_whole(&first, 34).await;
}

#[tokio::test]
async fn two_servers_that_release_at_once_do_it_once() {
    let world = World::new();
    let [first, second] = [world.server(1).await, world.server(2).await];
    world.push(&first, 0..40).await;
    first.merge().await.unwrap().unwrap();
    second.state().await.unwrap();
    world.pass(KEEP);
    let (one, other) = tokio::join!(first.release_retired(KEEP), second.release_retired(KEEP));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.released + other.released, 40, "{one:?} {other:?}");
    assert_eq!(one.deleted + other.deleted, 40, "{one:?} {other:?}");
    let files = format!("pools/{}/files/", first.pool());
    assert_eq!(world.keys(&files).await.len(), 1);
    for server in [first, second] {
        world.assert_whole(&server, 40).await;
    }
}

#[tokio::test]
async fn what_is_pushed_again_is_taken_anew_and_never_from_a_file_that_is_going() {
    let world = World::new();
    let server = world.server(1).await;
    world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let made = tree(5).0;
    // Merged away, it need not be named again.
    server.add(&[named(&made)], &actor()).await.unwrap();
    world.pass(KEEP);
    // The objects stay: the server dies before it deletes the first.
    world.refuse_deletions(true);
    server.release_retired(KEEP).await.unwrap_err();
    for server in [&server, &world.server(2).await] {
        let state = server.state().await.unwrap();
        assert_eq!((state.retired.len(), state.released.len()), (0, 32));
        let error = server.add(&[named(&made)], &actor()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Dangling, "{error:?}");
        let declared = holdfast_chunkstore::testing::worlds::declared(&made, FileKind::Table);
        assert!(!server.knows(&declared).await.unwrap(), "it must be sent");
    }
    let again = upload(&server, &made, FileKind::Table).await.unwrap();
    server.add(&[named(&made)], &actor()).await.unwrap();
    world.refuse_deletions(false);
    world.pass(Duration::from_hours(1));
    let expired = server.release_retired(KEEP).await.unwrap();
    assert_eq!((expired.released, expired.deleted), (0, 32));
    let state = server.state().await.unwrap();
    assert!(state.released.is_empty() && state.files.contains_key(&again.upload));
    world.assert_whole(&server, 32).await;
}

#[tokio::test]
async fn a_client_that_was_told_that_a_file_is_known_can_name_it_for_long() {
    let world = World::new();
    let server = world.server(1).await;
    world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let made = tree(5).0;
    let declared = holdfast_chunkstore::testing::worlds::declared(&made, FileKind::Table);
    world.pass(Duration::from_hours(11));
    assert!(server.knows(&declared).await.unwrap());
    world.pass(Duration::from_hours(2));
    assert!(
        !server.knows(&declared).await.unwrap(),
        "later it is sent again"
    );
    world.pass(KEEP - Duration::from_hours(14));
    server.release_retired(KEEP).await.unwrap();
    server.add(&[named(&made)], &actor()).await.unwrap();
}
