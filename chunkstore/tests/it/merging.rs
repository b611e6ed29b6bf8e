//! Merges of small files: what cannot be merged, what is merged twice, and what is tried again when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{
    Committed, FileKind, Meaning, MovesError, Parts, Proposal, ReadChunks, RefMove, Repository,
    StoredFile, layout,
};
use holdfast_chunkstore::testing::faults::{Break, FaultPlan, FaultyStore};
use holdfast_chunkstore::testing::generate::{Made, table_file_of};
use holdfast_chunkstore::testing::worlds::{
    TestMeaning, acme, actor, named, parent, parts, root_of, upload,
};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use tempfile::TempDir;

use crate::forward::Forward;
use crate::gated::Gated;

struct World {
    objects: Arc<dyn ObjectStore>,
    scratch: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            objects: Arc::new(MemoryStore::new(Arc::new(SystemClock::new()))),
            scratch: TempDir::new().unwrap(),
        }
    }

    /// The parts of one more server.
    fn server(&self, seed: u64) -> Parts {
        let spool = self.scratch.path().join(seed.to_string());
        parts(Arc::clone(&self.objects), &spool, seed)
    }

    /// How many objects there are under a prefix.
    async fn count(&self, prefix: &str) -> usize {
        self.objects.list_all(prefix).await.unwrap().len()
    }
}

fn tree(salt: u64) -> (Made, RootAddress) {
    let leaf = format!("leaf {salt}").into_bytes();
    let root = parent(salt, &[hash_chunk(&leaf)]);
    let address = root_of(&root);
    (table_file_of(vec![leaf, root]), address)
}

/// Pushes so many small files and returns them.
async fn push(repository: &Repository, count: u64) -> Vec<StoredFile> {
    let mut last = RootAddress::ZERO;
    let mut files = Vec::new();
    for salt in 0..count {
        let (made, current) = tree(salt);
        files.push(upload(repository, &made, FileKind::Table).await.unwrap());
        let proposal = Proposal {
            last,
            current,
            files: vec![named(&made)],
            actor: actor(),
        };
        let committed = repository.commit(&proposal).await.unwrap();
        assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
        last = current;
    }
    files
}

#[tokio::test]
async fn damaged_and_lost_files_are_left_out_and_the_others_are_merged() {
    let world = World::new();
    let repository = acme(world.server(1)).await;
    let files = push(&repository, 35).await;
    let key = |file| layout::file(repository.pool(), file);
    // A chunk, the index, and the whole of a file.
    let damages = [(0, 0), (1, files[1].split_offset)];
    for (file, at) in damages {
        let mut bytes = world
            .objects
            .read(&key(&files[file]), None, 1 << 20)
            .await
            .unwrap()
            .to_vec();
        bytes[usize::try_from(at).unwrap() + 2] ^= 1;
        world
            .objects
            .overwrite(&key(&files[file]), bytes.into())
            .await
            .unwrap();
    }
    world.objects.delete(&key(&files[2])).await.unwrap();

    for _ in 0..3 {
        repository.merge().await.unwrap_err();
    }
    let merged = repository.merge().await.unwrap().unwrap();
    assert_eq!(merged.parts, 32);
    let state = repository.state().await.unwrap();
    for file in &files {
        let is_left = files[..3].contains(file);
        assert_eq!(state.files.contains_key(&file.upload), is_left);
    }
}

/// Refuses every chunk once it is told to.
#[derive(Debug)]
struct Stricter(AtomicBool);

impl FindChildren for Stricter {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        if self.0.load(Ordering::SeqCst) {
            return Err(ChildrenRefused {
                kind: ErrorKind::Refused,
                message: "not any more".to_owned(),
            });
        }
        TestMeaning.children(chunk, visit)
    }
}

#[async_trait]
impl Meaning for Stricter {
    async fn moves(
        &self,
        chunks: &dyn ReadChunks,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        TestMeaning.moves(chunks, old, new).await
    }
}

#[tokio::test]
async fn what_was_accepted_once_is_merged_whatever_would_be_accepted_now() {
    let world = World::new();
    let meaning = Arc::new(Stricter(AtomicBool::new(false)));
    let mut server = world.server(1);
    server.meaning = Arc::<Stricter>::clone(&meaning);
    let repository = acme(server).await;
    push(&repository, 32).await;
    meaning.0.store(true, Ordering::SeqCst);
    let merged = repository.merge().await.unwrap().unwrap();
    assert_eq!(merged.parts, 32);
}

#[tokio::test]
async fn after_a_failure_the_next_merge_waits() {
    let mut first_read = None;
    // The first time, to see which call reads a file.
    for _ in 0..2 {
        let world = World::new();
        push(&acme(world.server(1)).await, 32).await;
        let plan = match first_read {
            None => FaultPlan::count_only(),
            Some(number) => FaultPlan::fail_at(number, Break::BeforeEffect),
        };
        let clock = Arc::new(Forward::default());
        let mut server = world.server(2);
        server.objects = Arc::new(FaultyStore::new(
            Arc::clone(&world.objects),
            Arc::clone(&plan),
        ));
        server.clock = Arc::<Forward>::clone(&clock);
        let repository = acme(server).await;
        assert!(repository.is_merge_due().await);
        let merged = repository.merge().await;
        if first_read.is_none() {
            merged.unwrap().unwrap();
            let calls = plan.calls();
            first_read = calls.iter().position(|call| call.key.contains("/files/"));
            continue;
        }
        assert_eq!(merged.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!repository.is_merge_due().await);
        clock.jump(Duration::from_mins(1));
        assert!(repository.is_merge_due().await);
        assert_eq!(repository.merge().await.unwrap().unwrap().parts, 32);
    }
}

#[tokio::test]
async fn of_two_servers_that_merge_the_same_files_one_leaves_nothing() {
    let world = World::new();
    let first = acme(world.server(1)).await;
    push(&first, 32).await;
    let gated = Gated::new(&world.objects, "/files/");
    let mut server = world.server(2);
    server.objects = Arc::<Gated>::clone(&gated);
    let second = acme(server).await;
    let faster = async {
        gated.until_waiting(1).await;
        first.merge().await.unwrap().unwrap();
        gated.open(1);
    };
    let (slower, ()) = tokio::join!(second.merge(), faster);
    assert_eq!(slower.unwrap(), None);
    assert_eq!(second.merge().await.unwrap(), None);
    let files = format!("pools/{}/files/", first.pool());
    assert_eq!(world.count(&files).await, 33);
    assert_eq!(world.count(&layout::uploads(first.id())).await, 33);
}
