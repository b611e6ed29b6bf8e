//! Refs of a remote whose names are none, or that Dolt would no longer give.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::database::StoreSource;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::write::store_root;
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::world::World;
use tokio::runtime::Runtime;

use crate::holdfast::{holdfast, ours};
use crate::scene::{cloned, published, workshop};

/// A remote in a directory, whose refs somebody changes who is not asked to follow any rules.
pub(crate) struct Lawless {
    pub(crate) workshop: Workshop,
    directory: PathBuf,
    pub(crate) url: String,
    /// A clone from before.
    pub(crate) copy: Database,
}

type Refs = BTreeMap<Bytes, ChunkAddress>;

impl Lawless {
    pub(crate) fn start() -> Option<Self> {
        let workshop = workshop()?;
        let directory = workshop.folder().join("remote");
        let url = format!("file://{}", directory.display());
        published(&workshop, World::SMALL, &url);
        Some(Self {
            copy: cloned(&workshop, &url, &[]),
            workshop,
            directory,
            url,
        })
    }

    /// Gives another name to where a ref is, too.
    pub(crate) fn add(&self, name: &str, like: &str) {
        add(&self.directory, name, like);
    }

    /// Puts a commit onto its main branch.
    pub(crate) fn commit_there(&self) {
        let worker = self.workshop.database("owner");
        worker.commit("there", "create table there (id int primary key)");
        ours(&worker, &["push", "origin", "main"]).expect_success();
    }
}

/// Gives another name to where a ref of a store is, too.
pub(crate) fn add(store: &Path, name: &str, like: &str) {
    let name = Bytes::copy_from_slice(name.as_bytes());
    change(store, |refs| {
        let address = refs[like.as_bytes()];
        refs.insert(name, address);
    });
}

/// Changes the dataset map of a store by hand.
fn change(store: &Path, change: impl FnOnce(&mut Refs)) {
    let pool = BlockingPool::new(1);
    let writer = StoreWriter::open(store).unwrap();
    let source = StoreSource::new(Arc::clone(writer.store()), pool);
    let root = writer.store().root();
    let mut refs = Refs::new();
    Runtime::new().unwrap().block_on(async {
        let map = AddressMap::open(&source, root).await.unwrap();
        let mut entries = map.entries();
        while let Some(entry) = entries.next().await.unwrap() {
            refs.insert(entry.name, entry.address);
        }
    });
    change(&mut refs);
    let written = store_root(&refs).unwrap();
    let chunks = written.chunks.into_iter();
    let chunks: Vec<_> = chunks.map(|chunk| (chunk.address, chunk.bytes)).collect();
    writer.commit(written.root, &[], &chunks, 0).unwrap();
}

#[test]
fn names_that_dolt_gave_once_are_taken() {
    let Some(lawless) = Lawless::start() else {
        return;
    };
    let long = "v".repeat(32);
    let too_long = "x/".repeat(3000) + "x";
    let names = ["HEAD", "-", "@", &long, &too_long];
    for name in names {
        lawless.add(&format!("refs/heads/{name}"), "refs/heads/main");
    }
    ours(&lawless.copy, &["fetch"]).expect_success();
    let clone = ["clone", &lawless.url, "new"];
    holdfast(&lawless.workshop, lawless.workshop.folder(), &clone).expect_success();
    for database in [&lawless.copy, &lawless.workshop.database("new")] {
        let refs = ours(database, &["refs"]).expect_success();
        for name in names {
            let name = format!("refs/remotes/origin/{name}\n");
            assert!(refs.contains(&name), "{refs}");
        }
    }
}
