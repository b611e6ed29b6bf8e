//! What a later version wrote is refused by its version, whatever else is in it.

use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::{FileKind, Proposal, Repositories, RepositoryError};
use holdfast_chunkstore::testing::generate;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

/// A store after a push, and a file that was uploaded and is not added yet.
struct Store {
    objects: Arc<dyn ObjectStore>,
    waiting: Proposal,
}

impl Store {
    async fn new() -> Self {
        let objects: Arc<dyn ObjectStore> =
            Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
        let scratch = TempDir::new().unwrap();
        let parts = parts(Arc::clone(&objects), scratch.path(), 7);
        let repositories = Repositories::open(parts.clone()).await.unwrap();
        repositories.secret("data-addresses").await.unwrap();
        let repository = acme(parts).await;
        let mut roots = [RootAddress::ZERO; 2];
        let mut proposal = None;
        for salt in 1..=2 {
            let root = parent(salt, &[]);
            roots = [roots[1], root_of(&root)];
            let made = generate::table_file_of(vec![root]);
            upload(&repository, &made, FileKind::Table).await.unwrap();
            let before = proposal.replace(Proposal {
                last: roots[0],
                current: roots[1],
                files: vec![named(&made)],
                actor: actor(),
            });
            if let Some(before) = before {
                repository.commit(&before).await.unwrap();
            }
        }
        Self {
            objects,
            waiting: proposal.unwrap(),
        }
    }

    /// Puts something of a later version in the place of each object whose key has `part` in it.
    async fn make_newer(&self, part: &str) {
        let mut count = 0;
        for meta in self.objects.list_all("").await.unwrap() {
            if meta.key.as_str().contains(part) {
                let newer = Bytes::from_static(br#"{"version": 9, "something": "else"}"#);
                self.objects.overwrite(&meta.key, newer).await.unwrap();
                count += 1;
            }
        }
        assert!(count > 0, "nothing is kept under {part}");
    }

    /// What another server does with it, from its start to a push.
    async fn use_it(&self) -> Result<(), RepositoryError> {
        let scratch = TempDir::new().unwrap();
        let parts = parts(Arc::clone(&self.objects), scratch.path(), 8);
        let repositories = Repositories::open(parts).await?;
        repositories.secret("data-addresses").await?;
        let name = "acme/prod".parse().unwrap();
        let repository = repositories.find(&name).await?.unwrap();
        repository.state().await?;
        repository.commit(&self.waiting).await?;
        Ok(())
    }
}

fn described(error: &RepositoryError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

#[tokio::test]
async fn objects_of_a_later_version_are_refused_by_their_version() {
    Store::new().await.use_it().await.unwrap();
    for part in [
        "forge.json",
        "keys/",
        "catalog/names/",
        "/uploads/",
        "/log/",
    ] {
        let store = Store::new().await;
        store.make_newer(part).await;
        let before = store.objects.list_all("").await.unwrap();
        let error = store.use_it().await.unwrap_err();
        let told = described(&error);
        assert!(
            told.contains("version 9; this Holdfast reads up to"),
            "{part}: {told}"
        );
        assert_eq!(error.kind(), ErrorKind::Refused, "{part}: {told}");
        // Nothing was put beside it, and nothing in its place.
        let after = store.objects.list_all("").await.unwrap();
        let keys = |all: Vec<ObjectMeta>| all.into_iter().map(|meta| meta.key);
        assert!(keys(before).eq(keys(after)), "{part}");
    }
}
