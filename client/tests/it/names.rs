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
use crate::scene::{cloned, published, state, workshop};

/// A remote in a directory, whose refs somebody changes who is not asked to follow any rules.
struct Lawless {
    workshop: Workshop,
    directory: PathBuf,
    url: String,
    /// A clone from before.
    copy: Database,
}

type Refs = BTreeMap<Bytes, ChunkAddress>;

impl Lawless {
    fn start() -> Option<Self> {
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

    /// Changes the dataset map by hand.
    fn change(&self, change: impl FnOnce(&mut Refs)) {
        let pool = BlockingPool::new(1);
        let writer = StoreWriter::open(&self.directory).unwrap();
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

    /// Gives another name to where a ref is, too.
    fn add(&self, name: &str, like: &str) {
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.change(|refs| {
            let address = refs[like.as_bytes()];
            refs.insert(name, address);
        });
    }

    fn remove(&self, name: &str) {
        self.change(|refs| {
            refs.remove(name.as_bytes());
        });
    }

    /// Runs a command that must be refused, with the name as one can read it and the next step.
    #[track_caller]
    fn refused(&self, folder: &Path, arguments: &[&str], shown: &str) {
        let refused = holdfast(&self.workshop, folder, arguments).expect_code(6);
        for words in [
            &*self.directory.to_string_lossy(),
            shown,
            "hint: whoever runs it can remove that ref",
        ] {
            assert!(refused.contains(words), "{arguments:?}: {refused}");
        }
        let is_order = |character: char| character.is_control() && character != '\n';
        assert!(!refused.contains(is_order), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn a_name_that_is_none_is_refused_where_it_would_come_in() {
    let Some(lawless) = Lawless::start() else {
        return;
    };
    let (copy, folder) = (&lawless.copy, lawless.workshop.folder());
    let url = lawless.url.as_str();
    let before = state(copy);
    for (name, like, shown) in [
        ("refs/heads/a*b", "refs/heads/main", r#""refs/heads/a*b""#),
        (
            "refs/heads/a/../b",
            "refs/heads/main",
            r#""refs/heads/a/../b""#,
        ),
        (
            "refs/heads/a\u{1b}[2Jb",
            "refs/heads/main",
            r#""refs/heads/a\u{1b}[2Jb""#,
        ),
        ("refs/tags/a//b", "refs/tags/v1", r#""refs/tags/a//b""#),
    ] {
        lawless.add(name, like);
        for arguments in [
            &["clone", url, "new"][..],
            &["clone", "--bare", url, "new"],
            &["backup", "restore", url, "new"],
            &["mirror", url, "./new"],
        ] {
            lawless.refused(folder, arguments, shown);
            assert!(!folder.join("new").exists(), "{arguments:?}");
        }
        for arguments in [&["fetch"][..], &["pull"], &["fetch", "--dry-run"]] {
            lawless.refused(copy.folder(), arguments, shown);
        }
        assert!(!copy.folder().join(".dolt/holdfast").exists());
        let is_tag = name.starts_with("refs/tags");
        for arguments in [
            &["clone", "--branch", "main", "--single-branch", url, "one"][..],
            &["move-out", url, "moved", "--branch", "main"],
            &["backup", "restore", url, "restored", "--branch", "main"],
        ] {
            // What does not come in is in nobody's way.
            match is_tag {
                true => lawless.refused(folder, arguments, shown),
                false => drop(holdfast(&lawless.workshop, folder, arguments).expect_success()),
            }
        }
        for made in ["one", "moved", "moved.inventory", "restored"] {
            let made = folder.join(made);
            assert_eq!(made.exists(), !is_tag, "{}", made.display());
            drop(std::fs::remove_dir_all(&made));
            drop(std::fs::remove_file(&made));
        }
        lawless.remove(name);
    }
    ours(copy, &["fetch"]).expect_success();
    assert_eq!(state(copy), before);
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
