//! Data files that are lost, cut short or changed under a server: noticed, told as damage, and sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::verify::{Damage, Report, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{
    Committed, DAMAGE_STAYS, FileKind, NamedFile, Parts, Proposal, ReadChunks as _, Repository,
    RepositoryError, StoredFile, View, layout,
};
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of, table_file_of};
use holdfast_chunkstore::testing::worlds::{
    acme, actor, declared, named, parent, parts, root_of, upload,
};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

use crate::forward::Forward;

struct World {
    objects: Arc<dyn ObjectStore>,
    clock: Arc<Forward>,
    scratch: TempDir,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(Forward::default());
        let shared: Arc<dyn Clock> = Arc::<Forward>::clone(&clock);
        Self {
            objects: Arc::new(MemoryStore::new(shared)),
            clock,
            scratch: TempDir::new().unwrap(),
        }
    }

    /// One more server, which has seen nothing yet and whose index is empty.
    async fn server(&self, seed: u64) -> Repository {
        let spool = self.scratch.path().join(seed.to_string());
        let parts = Parts {
            clock: Arc::<Forward>::clone(&self.clock),
            ..parts(Arc::clone(&self.objects), &spool, seed)
        };
        acme(parts).await
    }

    async fn bytes(&self, repository: &Repository, file: &StoredFile) -> Vec<u8> {
        let key = layout::file(repository.pool(), file);
        let bytes = self.objects.read(&key, None, 1 << 20).await.unwrap();
        bytes.to_vec()
    }

    async fn put(&self, repository: &Repository, file: &StoredFile, bytes: Vec<u8>) {
        let key = layout::file(repository.pool(), file);
        self.objects.overwrite(&key, bytes.into()).await.unwrap();
    }

    async fn lose(&self, repository: &Repository, file: &StoredFile) {
        let key = layout::file(repository.pool(), file);
        self.objects.delete(&key).await.unwrap();
    }

    async fn cut(&self, repository: &Repository, file: &StoredFile) {
        let mut bytes = self.bytes(repository, file).await;
        bytes.truncate(bytes.len() - 7);
        self.put(repository, file, bytes).await;
    }

    /// Changes a byte of the data.
    async fn flip(&self, repository: &Repository, file: &StoredFile) {
        let mut bytes = self.bytes(repository, file).await;
        bytes[2] ^= 1;
        self.put(repository, file, bytes).await;
    }
}

/// Leaves in one file, and the root over them in another.
struct Pushed {
    leaves: Made,
    top: Made,
    files: [StoredFile; 2],
}

impl Pushed {
    fn addresses(made: &Made) -> Vec<ChunkAddress> {
        made.chunks.iter().map(|(address, _)| *address).collect()
    }
}

async fn push(repository: &Repository, salt: u64) -> Pushed {
    let leaves: Vec<Vec<u8>> = (0..4)
        .map(|leaf| format!("leaf {salt} {leaf}").into_bytes())
        .collect();
    let children: Vec<ChunkAddress> = leaves.iter().map(|leaf| hash_chunk(leaf)).collect();
    let root = parent(salt, &children);
    let (leaves, top) = (table_file_of(leaves), table_file_of(vec![root.clone()]));
    let mut files = Vec::new();
    for made in [&leaves, &top] {
        files.push(upload(repository, made, FileKind::Table).await.unwrap());
    }
    move_root(repository, &root, &[named(&leaves), named(&top)]).await;
    Pushed {
        leaves,
        top,
        files: files.try_into().unwrap(),
    }
}

async fn move_root(repository: &Repository, root: &[u8], files: &[NamedFile]) {
    let proposal = Proposal {
        last: repository.state().await.unwrap().root,
        current: root_of(root),
        files: files.to_vec(),
        actor: actor(),
    };
    let committed = repository.commit(&proposal).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

struct Silent;

impl VerifyProgress for Silent {
    fn done(&self, _: Stage, _: u64, _: u64) {}
}

async fn verified(repository: &Repository) -> Report {
    repository.verify(&Silent).await
}

fn assert_damage<T: std::fmt::Debug>(answer: Result<T, RepositoryError>, file: &StoredFile) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    let told = error.to_string();
    assert!(told.contains(&file.id.to_string()), "{told}");
    assert!(told.contains("holdfast push --repair"), "{told}");
}

/// All are absent for who sends, and cannot be read or listed.
async fn assert_lost(repository: &Repository, file: &StoredFile, addresses: &[ChunkAddress]) {
    let absent = repository.absent(addresses).await.unwrap();
    assert!(absent.iter().all(|absent| *absent), "{absent:?}");
    assert_damage(repository.locate(addresses, View::Current).await, file);
    assert_damage(repository.read_chunks(addresses).await, file);
    assert_damage(repository.listing(View::Current).await, file);
}

async fn assert_whole(repository: &Repository, pushed: &Pushed) {
    for made in [&pushed.leaves, &pushed.top] {
        let addresses = Pushed::addresses(made);
        assert_eq!(
            repository.absent(&addresses).await.unwrap(),
            vec![false; addresses.len()]
        );
        let read = repository.read_chunks(&addresses).await.unwrap();
        let chunks = made.chunks.iter().map(|(_, chunk)| chunk);
        for (read, chunk) in read.iter().zip(chunks) {
            assert_eq!(read.as_deref(), Some(&chunk[..]));
        }
    }
    repository.listing(View::Current).await.unwrap();
    assert_eq!(verified(repository).await.findings, []);
}

#[tokio::test]
async fn what_lies_in_a_file_that_is_lost_or_short_is_absent_until_it_comes_again() {
    for (seed, is_cut) in [(10, false), (20, true)] {
        let world = World::new();
        let pushed = push(&world.server(seed).await, 1).await;
        let server = world.server(seed + 1).await;
        let lost = &pushed.files[0];
        match is_cut {
            true => world.cut(&server, lost).await,
            false => world.lose(&server, lost).await,
        }
        assert_eq!(server.look_for_damage().await.unwrap(), 1);
        assert_lost(&server, lost, &Pushed::addresses(&pushed.leaves)).await;
        let top = Pushed::addresses(&pushed.top);
        assert_eq!(server.absent(&top).await.unwrap(), [false]);
        assert_eq!(server.release_damaged().await.unwrap(), 0);

        // The very file is taken again, and takes the place of the damaged one.
        let again = declared(&pushed.leaves, FileKind::Table);
        assert!(!server.knows(&again).await.unwrap());
        upload(&server, &pushed.leaves, FileKind::Table)
            .await
            .unwrap();
        let added = server.add(&[named(&pushed.leaves)], &actor()).await;
        added.unwrap();
        assert!(server.knows(&again).await.unwrap());
        assert_whole(&server, &pushed).await;
        assert_whole(&world.server(seed + 2).await, &pushed).await;
    }
}

#[tokio::test]
async fn a_lost_file_is_noticed_where_the_index_is_lost_too() {
    let world = World::new();
    let pushed = push(&world.server(1).await, 1).await;
    let server = world.server(2).await;
    world.lose(&server, &pushed.files[0]).await;
    // Nobody looked: the index of this server is empty, and the file cannot be read into it.
    assert_lost(
        &server,
        &pushed.files[0],
        &Pushed::addresses(&pushed.leaves),
    )
    .await;
    assert_eq!(server.look_for_damage().await.unwrap(), 1);
}

#[tokio::test]
async fn a_file_whose_bytes_changed_is_noticed_when_it_is_read() {
    let world = World::new();
    let server = world.server(1).await;
    let pushed = push(&server, 1).await;
    world.flip(&server, &pushed.files[0]).await;
    assert_eq!(server.look_for_damage().await.unwrap(), 0);
    let addresses = Pushed::addresses(&pushed.leaves);
    assert_damage(server.read_chunks(&addresses).await, &pushed.files[0]);
    assert_lost(&server, &pushed.files[0], &addresses).await;

    // The same chunks in other files, as a client packs them that does not know how they lay.
    for chunks in pushed.leaves.chunks.chunks(2) {
        let chunks = chunks.iter().map(|(_, chunk)| chunk.to_vec()).collect();
        let made = archive_of(chunks, Compression::Snappy);
        upload(&server, &made, FileKind::Archive).await.unwrap();
        server.add(&[named(&made)], &actor()).await.unwrap();
    }
    server.listing(View::Current).await.unwrap();
    assert!(server.has_damage().await);
    assert_eq!(server.release_damaged().await.unwrap(), 1);
    assert!(!server.has_damage().await);
    assert_whole(&server, &pushed).await;
    assert_whole(&world.server(2).await, &pushed).await;
}

#[tokio::test]
async fn a_chunk_that_lies_in_a_sound_file_too_is_read_from_there() {
    let world = World::new();
    let server = world.server(1).await;
    let pushed = push(&server, 1).await;
    // A larger file with the same chunks: it is read first.
    let mut chunks: Vec<Vec<u8>> = pushed
        .leaves
        .chunks
        .iter()
        .map(|(_, c)| c.to_vec())
        .collect();
    chunks.push(b"another leaf".to_vec());
    let larger = table_file_of(chunks);
    let stored = upload(&server, &larger, FileKind::Table).await.unwrap();
    server.add(&[named(&larger)], &actor()).await.unwrap();
    world.flip(&server, &stored).await;
    let addresses = Pushed::addresses(&pushed.leaves);
    let read = server.read_chunks(&addresses).await.unwrap();
    assert!(read.iter().all(Option::is_some));
    assert_eq!(server.absent(&addresses).await.unwrap(), [false; 4]);
    let other = hash_chunk(b"another leaf");
    assert_eq!(server.absent(&[other]).await.unwrap(), [true]);
    // Nothing needs the file.
    server.listing(View::Current).await.unwrap();
    assert_eq!(
        server.release_damaged().await.unwrap(),
        1,
        "it was asked for"
    );
    assert_whole(&server, &pushed).await;
}

#[tokio::test]
async fn chunks_of_damaged_files_do_not_count_as_there_for_what_refers_to_them() {
    let world = World::new();
    let server = world.server(1).await;
    let pushed = push(&server, 1).await;
    world.lose(&server, &pushed.files[0]).await;
    server.look_for_damage().await.unwrap();
    let children = Pushed::addresses(&pushed.leaves);
    let made = table_file_of(vec![parent(2, &children)]);
    upload(&server, &made, FileKind::Table).await.unwrap();
    let refused = server.add(&[named(&made)], &actor()).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::Dangling { count: 4, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_only_an_old_root_needs_keeps_a_damaged_file_named_and_hinders_nobody() {
    let world = World::new();
    let server = world.server(1).await;
    let old = push(&server, 1).await;
    let new = push(&server, 2).await;
    world.lose(&server, &old.files[0]).await;
    server.look_for_damage().await.unwrap();
    // All below the root of today is there; the root of yesterday, in a file that counts, refers to what is lost.
    let listing = server.listing(View::Current).await.unwrap();
    assert_eq!(listing.files.len(), 3);
    assert_eq!(server.release_damaged().await.unwrap(), 0);
    assert!(server.has_damage().await);
    let found = verified(&server).await.findings;
    let kinds: Vec<Damage> = found.iter().map(|finding| finding.damage).collect();
    assert!(kinds.contains(&Damage::FileMissing), "{kinds:?}");
    assert!(kinds.contains(&Damage::DanglingReference), "{kinds:?}");
    // With the old root's own file lost too, nothing refers to either.
    world.lose(&server, &old.files[1]).await;
    assert_eq!(server.look_for_damage().await.unwrap(), 2);
    world.clock.jump(DAMAGE_STAYS);
    assert_eq!(server.release_damaged().await.unwrap(), 2);
    assert_whole(&server, &new).await;
}

/// What refers to the first leaf of `pushed` and to nothing else.
fn referring(salt: u64, pushed: &Pushed) -> Made {
    let (leaf, _) = pushed.leaves.chunks[0];
    table_file_of(vec![parent(salt, &[leaf])])
}

#[track_caller]
fn assert_dangling(added: Result<(), RepositoryError>) {
    let refused = added.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::Dangling { count: 1, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_an_upload_refers_to_is_looked_up_again_after_a_release() {
    let world = World::new();
    let server = world.server(1).await;
    let old = push(&server, 1).await;
    push(&server, 2).await;
    let made = referring(3, &old);
    upload(&server, &made, FileKind::Table).await.unwrap();
    for file in &old.files {
        world.lose(&server, file).await;
    }
    assert_eq!(server.look_for_damage().await.unwrap(), 2);
    world.clock.jump(DAMAGE_STAYS);
    assert_eq!(server.release_damaged().await.unwrap(), 2);
    assert_dangling(server.add(&[named(&made)], &actor()).await);
    // Another server finds the same in the note.
    let other = world.server(2).await;
    assert_dangling(other.add(&[named(&made)], &actor()).await);
    // What came after the release is looked up once.
    let sound = table_file_of(vec![b"refers to nothing".to_vec()]);
    upload(&server, &sound, FileKind::Table).await.unwrap();
    server.add(&[named(&sound)], &actor()).await.unwrap();
    assert_eq!(verified(&server).await.findings, []);
}

#[tokio::test]
async fn what_a_server_found_in_a_state_before_a_release_is_looked_up_again() {
    let world = World::new();
    let (first, second) = (world.server(1).await, world.server(2).await);
    let old = push(&first, 1).await;
    push(&first, 2).await;
    let leaves = Pushed::addresses(&old.leaves);
    assert_eq!(second.absent(&leaves).await.unwrap(), [false; 4]);
    for file in &old.files {
        world.lose(&first, file).await;
    }
    assert_eq!(first.look_for_damage().await.unwrap(), 2);
    world.clock.jump(DAMAGE_STAYS);
    second.state().await.unwrap();
    assert_eq!(first.release_damaged().await.unwrap(), 2);
    // The second server has not heard of it.
    assert_eq!(second.absent(&leaves).await.unwrap(), [false; 4]);
    let made = referring(3, &old);
    upload(&second, &made, FileKind::Table).await.unwrap();
    assert_dangling(second.add(&[named(&made)], &actor()).await);
    assert_dangling(first.add(&[named(&made)], &actor()).await);
    assert_eq!(verified(&second).await.findings, []);
}

#[tokio::test]
async fn a_file_that_only_history_needs_is_released_when_it_has_been_gone_for_long() {
    let world = World::new();
    let server = world.server(1).await;
    let old = push(&server, 1).await;
    push(&server, 2).await;
    let mut bytes = Vec::new();
    for file in &old.files {
        bytes.push(world.bytes(&server, file).await);
        world.lose(&server, file).await;
    }
    assert_eq!(server.look_for_damage().await.unwrap(), 2);
    assert_eq!(
        server.release_damaged().await.unwrap(),
        0,
        "it may come back"
    );
    world.clock.jump(DAMAGE_STAYS - Duration::from_mins(1));
    assert_eq!(server.release_damaged().await.unwrap(), 0);
    world.clock.jump(Duration::from_mins(1));
    // It did just now, and no one has looked since.
    world.put(&server, &old.files[0], bytes[0].clone()).await;
    world.put(&server, &old.files[1], bytes[1].clone()).await;
    assert_eq!(server.release_damaged().await.unwrap(), 0);
    assert!(!server.has_damage().await);
    assert_whole(&server, &old).await;
}

#[tokio::test]
async fn each_server_notices_for_itself_and_follows_the_record_that_releases() {
    let world = World::new();
    let (first, second) = (world.server(1).await, world.server(2).await);
    let pushed = push(&first, 1).await;
    let addresses = Pushed::addresses(&pushed.leaves);
    assert_eq!(second.absent(&addresses).await.unwrap(), [false; 4]);
    world.lose(&first, &pushed.files[0]).await;
    for server in [&first, &second] {
        assert_eq!(server.look_for_damage().await.unwrap(), 1);
    }
    assert_eq!(first.release_damaged().await.unwrap(), 0, "it is needed");
    let again = archive_of(
        pushed
            .leaves
            .chunks
            .iter()
            .map(|(_, c)| c.to_vec())
            .collect(),
        Compression::Snappy,
    );
    upload(&first, &again, FileKind::Archive).await.unwrap();
    first.add(&[named(&again)], &actor()).await.unwrap();
    assert_eq!(first.release_damaged().await.unwrap(), 1);
    assert_whole(&second, &pushed).await;
    assert!(!second.has_damage().await);
    assert_eq!(second.release_damaged().await.unwrap(), 0);
}

#[tokio::test]
async fn a_page_of_the_list_ends_anywhere() {
    let world = World::new();
    let server = world.server(1).await;
    let mut files = Vec::new();
    for number in 0..1003_u64 {
        let made = table_file_of(vec![number.to_be_bytes().to_vec()]);
        files.push(upload(&server, &made, FileKind::Table).await.unwrap());
        server.add(&[named(&made)], &actor()).await.unwrap();
    }
    assert_eq!(server.look_for_damage().await.unwrap(), 0);
    files.sort_by_key(|file| layout::file(server.pool(), file));
    for at in [0, 500, 999, 1000, 1002] {
        world.lose(&server, &files[at]).await;
    }
    world
        .put(&server, &files[700], Bytes::from_static(b"short").to_vec())
        .await;
    assert_eq!(server.look_for_damage().await.unwrap(), 6);
    assert_eq!(server.state().await.unwrap().root, RootAddress::ZERO);
}

#[tokio::test]
async fn a_file_that_is_put_right_counts_again() {
    let world = World::new();
    let repository = world.server(1).await;
    let pushed = push(&repository, 1).await;
    let [leaves, _] = &pushed.files;
    let bytes = world.bytes(&repository, leaves).await;
    world.lose(&repository, leaves).await;
    assert_eq!(repository.look_for_damage().await.unwrap(), 1);
    assert_eq!(
        repository.look_again().await.unwrap(),
        0,
        "it is lost still"
    );
    // One of the same length is another file, also where it was stored in the same moment as the next.
    world.put(&repository, leaves, vec![9; bytes.len()]).await;
    assert_eq!(repository.look_again().await.unwrap(), 0);
    assert_eq!(repository.look_again().await.unwrap(), 0);
    let refused = repository.listing(View::Current).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(repository.has_damage().await);

    world.put(&repository, leaves, bytes).await;
    assert_eq!(repository.look_again().await.unwrap(), 1);
    assert!(!repository.has_damage().await);
    assert_eq!(
        repository.listing(View::Current).await.unwrap().files.len(),
        2
    );
    let addresses = Pushed::addresses(&pushed.leaves);
    assert_eq!(repository.absent(&addresses).await.unwrap(), [false; 4]);
}
