//! What is not deleted: what is not old enough by both clocks, and what nothing else may hold.

use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::address::ChunkAddress;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::objects::{ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::repo::log::{Appended, Deletions, Draft, Log};
use holdfast_chunkstore::repo::{
    Act, FileKind, Parts, ReadChunks as _, Repository, StoredFile, layout,
};
use holdfast_chunkstore::testing::generate::{Compression, archive_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, upload};

use super::world::{KEEP, World, tree};

/// A clock that is wrong by as much as is said.
#[derive(Debug)]
struct Wrong {
    right: Arc<dyn Clock>,
    ahead: Duration,
    behind: Duration,
}

#[async_trait::async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let now = self.right.now().plus(self.ahead);
        Timestamp(now.0 - u64::try_from(self.behind.as_millis()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.right.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.right.sleep(duration).await;
    }
}

fn wrong(parts: Parts, ahead: Duration, behind: Duration) -> Parts {
    let right = Arc::clone(&parts.clock);
    let clock = Arc::new(Wrong {
        right,
        ahead,
        behind,
    });
    Parts { clock, ..parts }
}

async fn released(server: &Repository) -> usize {
    server.release_retired(KEEP).await.unwrap().released
}

#[tokio::test]
async fn a_server_whose_clock_is_ahead_of_the_stores_deletes_nothing() {
    let world = World::new();
    let ahead = wrong(world.parts(1), KEEP, Duration::ZERO);
    let server = acme(ahead).await;
    world.push(&acme(world.parts(2)).await, 0..32).await;
    acme(world.parts(3)).await.merge().await.unwrap().unwrap();
    let before = world.keys("").await;
    assert_eq!(released(&server).await, 0);
    let after = world.keys("").await;
    let new: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(new.iter().all(|key| key.ends_with("/hint")), "{new:?}");

    world.pass(KEEP);
    let far = wrong(world.parts(5), Duration::from_mins(6), Duration::ZERO);
    assert_eq!(
        released(&acme(far).await).await,
        0,
        "one of the two is wrong"
    );
    let slightly = wrong(world.parts(4), Duration::from_mins(4), Duration::ZERO);
    assert_eq!(released(&acme(slightly).await).await, 32);
}

#[tokio::test]
async fn what_a_server_with_a_slow_clock_retired_is_as_old_as_the_store_says() {
    let world = World::new();
    let slow = wrong(world.parts(1), Duration::ZERO, 2 * KEEP);
    let slow = acme(slow).await;
    world.push(&slow, 0..32).await;
    slow.merge().await.unwrap().unwrap();
    let right = world.server(2).await;
    assert_eq!(right.until_release(KEEP).await, Some(Duration::ZERO));
    assert_eq!(released(&right).await, 0, "they were retired just now");
    world.pass(KEEP);
    assert_eq!(released(&right).await, 32);
    world.assert_whole(&right, 32).await;
}

#[tokio::test]
async fn parts_stay_while_the_merged_file_is_damaged() {
    let world = World::new();
    let server = world.server(1).await;
    world.push(&server, 0..32).await;
    let merged = server.merge().await.unwrap().unwrap().file;
    let key = layout::file(server.pool(), &merged);
    let whole = world.objects.read(&key, None, 1 << 20).await.unwrap();
    let mut changed = whole.to_vec();
    changed[40] ^= 1;
    world.objects.overwrite(&key, changed.into()).await.unwrap();
    world.pass(KEEP);
    assert_eq!(released(&server).await, 0);
    assert!(server.has_damage().await, "it was noticed");
    assert_eq!(server.state().await.unwrap().retired.len(), 32);

    world.objects.overwrite(&key, whole).await.unwrap();
    let server = world.server(2).await;
    assert_eq!(released(&server).await, 32);
    world.assert_whole(&server, 32).await;
}

/// Appends a record that retires files without a word of where their chunks are.
async fn retire(world: &World, server: &Repository, files: &[&StoredFile]) {
    let parts = world.parts(99);
    let log = Log::new(parts.objects, parts.clock, server.id());
    let state = log.load().await.unwrap();
    let draft = Draft {
        act: Act::Merge,
        actor: actor(),
        new_root: state.root,
        refs: Vec::new(),
        added: Vec::new(),
        retired: files.iter().map(|file| file.upload).collect(),
        released: Vec::new(),
        deletions: Deletions::default(),
    };
    let appended = log.append(&state, &draft, parts.ids.stamp()).await;
    assert!(matches!(appended.unwrap(), Appended::Won(_)));
}

#[tokio::test]
async fn a_file_of_which_nothing_else_holds_a_chunk_stays() {
    let world = World::new();
    let server = world.server(1).await;
    let files = world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let lone = world.push(&server, 32..33).await;
    retire(&world, &server, &[&lone[0]]).await;
    world.pass(KEEP);
    assert_eq!(released(&server).await, 32);
    let state = server.state().await.unwrap();
    assert_eq!(state.retired.keys().collect::<Vec<_>>(), [&lone[0].upload]);
    assert!(world.has(&layout::file(server.pool(), &lone[0])).await);
    assert!(!world.has(&layout::file(server.pool(), &files[0])).await);
}

#[tokio::test]
async fn what_the_index_says_is_not_believed() {
    let world = World::new();
    let server = world.server(1).await;
    let files = world.push(&server, 0..2).await;
    retire(&world, &server, &[&files[0]]).await;
    // The index claims that the other file holds it all.
    let state = server.state().await.unwrap();
    let lone = tree(0).0;
    let mut entries: Vec<_> = lone
        .chunks
        .iter()
        .map(|(address, _)| *address)
        .collect::<Vec<ChunkAddress>>();
    entries.sort_unstable();
    let span = holdfast_chunkstore::index::ChunkSpan {
        data: holdfast_chunkstore::index::ByteSpan { offset: 0, len: 9 },
        dictionary: None,
    };
    let entries = entries
        .into_iter()
        .map(move |address| Ok(holdfast_chunkstore::index::ChunkEntry { address, span }));
    let parts = world.parts(2);
    let count = lone.chunks.len() as u64;
    let claimed = parts
        .index
        .add_file(server.pool(), files[1].upload, count, Box::new(entries));
    claimed.await.unwrap();
    assert_eq!(state.files.len(), 1);
    let liar = acme(parts).await;
    world.pass(KEEP);
    assert_eq!(released(&liar).await, 0);
    assert_eq!(liar.state().await.unwrap().retired.len(), 1);
    assert!(world.has(&layout::file(server.pool(), &files[0])).await);
}

#[tokio::test]
async fn the_twins_of_an_archive_and_a_list_beside_a_note_go_with_it() {
    let world = World::new();
    let server = world.server(1).await;
    // A root over many chunks that come in another file: what leaves it stands beside its note.
    let leaves: Vec<Vec<u8>> = (0..1500)
        .map(|leaf| format!("leaf {leaf}").into_bytes())
        .collect();
    let children: Vec<ChunkAddress> = leaves
        .iter()
        .map(|leaf| holdfast_chunkstore::hash::hash_chunk(leaf))
        .collect();
    let root = parent(1, &children);
    let top = archive_of(vec![root.clone()], Compression::Snappy);
    let below = holdfast_chunkstore::testing::generate::table_file_of(leaves);
    let archive = upload(&server, &top, FileKind::Archive).await.unwrap();
    upload(&server, &below, FileKind::Table).await.unwrap();
    server
        .add(&[named(&top), named(&below)], &actor())
        .await
        .unwrap();
    server
        .listing(holdfast_chunkstore::repo::View::Classic)
        .await
        .unwrap();
    world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let (side, derived) = (
        format!("repos/{}/side/", server.id()),
        layout::derived(server.pool()),
    );
    assert_eq!(world.keys(&side).await.len(), 1);
    assert_eq!(world.keys(&derived).await.len(), 2);
    world.pass(KEEP);
    assert_eq!(released(&server).await, 34);
    assert!(!world.has(&layout::file(server.pool(), &archive)).await);
    assert_eq!(world.keys(&side).await.len(), 0);
    assert_eq!(world.keys(&derived).await.len(), 0);
    world.assert_whole(&server, 32).await;
    let read = server.read_chunks(&children).await.unwrap();
    assert!(read.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_damaged_file_that_was_sent_again_is_deleted_when_no_address_of_it_is_good() {
    let world = World::new();
    let server = world.server(1).await;
    let files = world.push(&server, 0..3).await;
    let key = layout::file(server.pool(), &files[1]);
    let mut bytes = world
        .objects
        .read(&key, None, 1 << 20)
        .await
        .unwrap()
        .to_vec();
    bytes[2] ^= 1;
    world.objects.overwrite(&key, bytes.into()).await.unwrap();
    assert!(server.check_bytes(key.name()).await.unwrap().is_some());
    let made = tree(1).0;
    upload(&server, &made, FileKind::Table).await.unwrap();
    server.add(&[named(&made)], &actor()).await.unwrap();
    server.release_damaged().await.unwrap();
    let state = server.state().await.unwrap();
    assert_eq!((state.files.len(), state.released.len()), (3, 1));
    world.pass(KEEP - Duration::from_hours(2));
    server.release_retired(KEEP).await.unwrap();
    assert!(world.has(&key).await);
    world.pass(Duration::from_hours(2));
    let expired = server.release_retired(KEEP).await.unwrap();
    assert_eq!((expired.released, expired.deleted), (0, 1));
    assert!(!world.has(&key).await);
    world.assert_whole(&server, 3).await;
}
