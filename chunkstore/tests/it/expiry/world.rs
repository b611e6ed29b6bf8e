//! A store and servers on it whose time a test moves.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectUpload,
    SignedAddress,
};
use holdfast_chunkstore::repo::verify::{Stage, VerifyProgress};
use holdfast_chunkstore::repo::{
    Committed, FileKind, Parts, Proposal, ReadChunks as _, Repository, StoredFile,
};
use holdfast_chunkstore::testing::generate::{Made, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

use crate::forward::Forward;

/// How long retired files stay, here.
pub(super) const KEEP: Duration = Duration::from_hours(56);

/// The store, whose clock is the servers' as long as nothing else is said.
pub(super) struct World {
    pub(super) objects: Arc<Unwilling>,
    clock: Arc<Forward>,
    scratch: TempDir,
}

struct Silent;

impl VerifyProgress for Silent {
    fn done(&self, _: Stage, _: u64, _: u64) {}
}

/// A leaf and a root over it.
pub(super) fn tree(salt: u64) -> (Made, RootAddress) {
    let leaf = format!("leaf {salt}").into_bytes();
    let root = parent(salt, &[hash_chunk(&leaf)]);
    let address = root_of(&root);
    (table_file_of(vec![leaf, root]), address)
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(Forward::default());
        let shared: Arc<dyn Clock> = Arc::<Forward>::clone(&clock);
        Self {
            objects: Arc::new(Unwilling {
                inner: MemoryStore::new(shared),
                refuses: AtomicBool::new(false),
            }),
            clock,
            scratch: TempDir::new().unwrap(),
        }
    }

    /// The parts of one more server.
    pub(super) fn parts(&self, seed: u64) -> Parts {
        let spool = self.scratch.path().join(seed.to_string());
        let objects: Arc<dyn ObjectStore> = Arc::<Unwilling>::clone(&self.objects);
        Parts {
            clock: Arc::<Forward>::clone(&self.clock),
            ..parts(objects, &spool, seed)
        }
    }

    pub(super) async fn server(&self, seed: u64) -> Repository {
        acme(self.parts(seed)).await
    }

    pub(super) fn pass(&self, time: Duration) {
        self.clock.jump(time);
    }

    pub(super) fn refuse_deletions(&self, refuses: bool) {
        self.objects.refuses.store(refuses, Ordering::SeqCst);
    }

    pub(super) async fn keys(&self, prefix: &str) -> BTreeSet<String> {
        let listed = self.objects.list_all(prefix).await.unwrap();
        listed
            .into_iter()
            .map(|meta| meta.key.to_string())
            .collect()
    }

    pub(super) async fn has(&self, key: &ObjectKey) -> bool {
        self.objects.head(key).await.is_ok()
    }

    pub(super) async fn push(&self, server: &Repository, salts: Range<u64>) -> Vec<StoredFile> {
        let mut files = Vec::new();
        for salt in salts {
            let (made, current) = tree(salt);
            files.push(upload(server, &made, FileKind::Table).await.unwrap());
            let proposal = Proposal {
                last: server.state().await.unwrap().root,
                current,
                files: vec![named(&made)],
                actor: actor(),
            };
            let committed = server.commit(&proposal).await.unwrap();
            assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
        }
        files
    }

    /// All that was pushed is there, also what no root reaches, and `verify` finds nothing wrong.
    pub(super) async fn assert_whole(&self, server: &Repository, pushes: u64) {
        for salt in 0..pushes {
            let made = tree(salt).0;
            let addresses: Vec<_> = made.chunks.iter().map(|(address, _)| *address).collect();
            let read = server.read_chunks(&addresses).await.unwrap();
            let chunks = made.chunks.iter().map(|(_, chunk)| chunk);
            for (read, chunk) in read.iter().zip(chunks) {
                assert_eq!(read.as_deref(), Some(chunk.as_slice()), "push {salt}");
            }
        }
        let report = server.verify(&Silent).await;
        assert_eq!(report.damages, 0, "{report:?}");
    }
}

/// A store that deletes nothing when it is told so.
#[derive(Debug)]
pub(super) struct Unwilling {
    inner: MemoryStore,
    refuses: AtomicBool,
}

#[async_trait]
impl ObjectStore for Unwilling {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.inner.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.create(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        self.inner.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(ObjectError::Failed {
                action: "delete",
                key: key.clone(),
                source: "the test asked for it".into(),
            });
        }
        self.inner.delete(key).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.inner.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }
}
