//! What the local store and the durable module acknowledged, or let be seen, is there after a crash of the machine:
//! whatever failed before, and whatever part of the unsynced the disk kept. And each of their syncs is needed for it.

#![expect(
    clippy::disallowed_methods,
    reason = "what is not durable is written here on purpose"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::objects::disk::Disk;
use holdfast_chunkstore::objects::local::{LocalOptions, LocalStore};
use holdfast_chunkstore::objects::{ObjectError, ObjectKey, ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::testing::faults::Break;
use holdfast_chunkstore::testing::forgetful_disk::{DiskPlan, Fate, ForgetfulDisk};
use tempfile::TempDir;

/// How often a caller makes a call of which up to three steps fail.
const TRIES: usize = 4;
/// Where the store lies.
const STORE: &str = "data/store";
/// The source of the syncs that are tried.
const SOURCES: [&str; 2] = [
    include_str!("../../src/objects/durable.rs"),
    include_str!("../../src/objects/local/directory.rs"),
];

/// What is promised: by path, the bytes, or that there is nothing.
type Promises = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Upload,
    LongUpload,
    Overwrite,
    Delete,
    Link,
    WriteOver,
    Rename,
    Remove,
    Root,
}

const DEEDS: [Deed; 9] = [
    Deed::Create,
    Deed::Upload,
    Deed::Overwrite,
    Deed::Delete,
    Deed::Link,
    Deed::WriteOver,
    Deed::Rename,
    Deed::Remove,
    Deed::Root,
];

fn key() -> ObjectKey {
    ObjectKey::parse("some/deep/folder/object").unwrap()
}

fn object_path() -> PathBuf {
    Path::new(STORE).join(key().as_str())
}

impl Deed {
    fn is_of_a_store(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Upload | Self::LongUpload | Self::Overwrite | Self::Delete
        )
    }

    /// Makes what was there long before.
    async fn prepare(self, base: &Path) {
        let before = b"before".as_slice();
        match self {
            Self::Overwrite | Self::Delete => {
                let disk = ForgetfulDisk::new(base, DiskPlan::default());
                let store = open(&disk, base, 1).await.unwrap();
                store.create(&key(), before.into()).await.unwrap();
            }
            Self::Remove => std::fs::write(base.join("name"), before).unwrap(),
            _ => {}
        }
    }

    fn bytes(self) -> Vec<u8> {
        let len = if self == Self::LongUpload {
            17 << 20
        } else {
            1000
        };
        (0..=250).cycle().take(len).collect()
    }

    /// Does it, as often as `tries`, and notes what is promised.
    async fn play(self, disk: &Arc<ForgetfulDisk>, base: &Path, tries: usize, said: &mut Promises) {
        if self.is_of_a_store() {
            let Some(store) = open(disk, base, tries).await else {
                return;
            };
            for attempt in 0..tries {
                let done = self.store(&store, base, attempt).await;
                if self == Self::Delete {
                    said.remove(&object_path());
                }
                if done {
                    let is = (self != Self::Delete).then(|| self.bytes());
                    said.insert(object_path(), is);
                    return;
                }
                look(&store, said).await;
            }
        } else {
            let disk: Arc<dyn Disk> = Arc::<ForgetfulDisk>::clone(disk);
            for attempt in 0..tries {
                let (name, done) = self.name(&*disk, base, attempt);
                match done {
                    Ok(()) => {
                        said.insert(name, (self != Self::Remove).then(|| self.bytes()));
                        return;
                    }
                    // It may have been done.
                    Err(_) => drop(said.remove(&name)),
                }
            }
        }
    }

    /// Whether the store says that it is done.
    async fn store(self, store: &LocalStore, base: &Path, attempt: usize) -> bool {
        let body = Bytes::from(self.bytes());
        let done = match self {
            Self::Create => store.create(&key(), body).await,
            Self::Overwrite => store.overwrite(&key(), body).await,
            Self::Delete => store.delete(&key()).await,
            _ => upload(store, &base.join(format!("spool-{attempt}")), body).await,
        };
        // The bytes are the caller's own: it takes what is there for them.
        matches!(done, Ok(()) | Err(ObjectError::AlreadyExists { .. }))
    }

    fn name(self, disk: &dyn Disk, base: &Path, attempt: usize) -> (PathBuf, io::Result<()>) {
        let bytes = self.bytes();
        let below = match self {
            Self::Link => "folder/name",
            Self::Root => "above/root/name",
            _ => "name",
        };
        let (name, part) = (base.join(below), base.join(format!("part-{attempt}")));
        let expected = |kind| {
            move |error: io::Error| match error.kind() == kind {
                true => Ok(()),
                false => Err(error),
            }
        };
        let done = match self {
            Self::Link => disk
                .create_directories(base, &base.join("folder"))
                .and_then(|()| disk.write_temporary(base, &bytes))
                .and_then(|file| disk.link(file.path(), &name))
                .or_else(expected(io::ErrorKind::AlreadyExists)),
            Self::Rename => {
                std::fs::write(&part, &bytes).unwrap();
                disk.rename_durably(&part, &name, 0o600)
            }
            Self::Remove => disk
                .remove(&name)
                .or_else(expected(io::ErrorKind::NotFound)),
            Self::Root => disk
                .create_root(&base.join("above/root"))
                .and_then(|()| disk.write_over(&name, "part-", 0o600, &bytes)),
            _ => disk.write_over(&name, "part-", 0o600, &bytes),
        };
        (PathBuf::from(below), done)
    }
}

async fn open(disk: &Arc<ForgetfulDisk>, base: &Path, tries: usize) -> Option<LocalStore> {
    for _ in 0..tries {
        let disk: Arc<dyn Disk> = Arc::<ForgetfulDisk>::clone(disk);
        let options = LocalOptions::default();
        if let Ok(store) = LocalStore::open_on(disk, &base.join(STORE), options).await {
            return Some(store);
        }
    }
    None
}

async fn upload(store: &LocalStore, spool: &Path, body: Bytes) -> Result<(), ObjectError> {
    std::fs::write(spool, &body).unwrap();
    let mut upload = store.upload(&key(), spool).await?;
    for piece in 0..body.len().div_ceil(1 << 20) {
        let end = body.len().min((piece + 1) << 20);
        upload.write(body.slice(piece << 20..end)).await?;
    }
    upload.complete().await
}

/// Whatever a reader sees is promised too.
async fn look(store: &LocalStore, said: &mut Promises) {
    for meta in store.list_all("").await.unwrap_or_default() {
        if let Ok(body) = store.read(&meta.key, None, 1 << 30).await {
            said.insert(
                Path::new(STORE).join(meta.key.as_str()),
                Some(body.to_vec()),
            );
        }
    }
}

/// What a run is.
#[derive(Debug, Clone)]
struct Run {
    deed: Deed,
    plan: DiskPlan,
}

impl Run {
    /// Does the deed under its plan, and lets the machine crash. Tells which promise was broken. After more than one
    /// fault a caller may also have gone away: what others saw meanwhile counts.
    async fn go(&self, fates: &[Fate]) -> Result<Arc<ForgetfulDisk>, String> {
        if self.plan.is_kill {
            return self.attempt(fates, 1).await;
        }
        if self.plan.fails.len() > 1 {
            self.attempt(fates, 1).await?;
        }
        self.attempt(fates, TRIES).await
    }

    async fn attempt(&self, fates: &[Fate], tries: usize) -> Result<Arc<ForgetfulDisk>, String> {
        let folder = TempDir::new().unwrap();
        let base = folder.path();
        self.deed.prepare(base).await;
        let mut disk = ForgetfulDisk::new(base, self.plan.clone());
        let mut said = Promises::new();
        self.deed.play(&disk, base, tries, &mut said).await;
        if self.plan.is_kill {
            // Another process goes on.
            disk = disk.with(DiskPlan {
                fails: 0..0,
                ..self.plan.clone()
            });
            if self.deed.is_of_a_store() {
                let store = open(&disk, base, 1).await.unwrap();
                look(&store, &mut said).await;
            }
            let mut later = said.clone();
            self.check(&disk, &said, fates)?;
            self.deed.play(&disk, base, 1, &mut later).await;
            said = later;
        }
        let is_done = tries > 1 || self.plan.is_kill;
        assert!(
            !is_done || !said.is_empty(),
            "nothing was promised: {self:?}"
        );
        self.check(&disk, &said, fates)?;
        Ok(disk)
    }

    fn check(&self, disk: &ForgetfulDisk, said: &Promises, fates: &[Fate]) -> Result<(), String> {
        for fate in fates {
            let left = TempDir::new().unwrap();
            disk.crash(left.path(), *fate);
            for (path, bytes) in said {
                let found = std::fs::read(left.path().join(path)).ok();
                if found != *bytes {
                    let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
                    let (found, bytes) = (len(&found), len(bytes));
                    let path = path.display();
                    return Err(format!(
                        "{path} has {found:?} bytes, not {bytes:?}: {self:?}, {fate:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

const FATES: [Fate; 4] = [Fate::Nothing, Fate::Names, Fate::Some(1), Fate::Some(2)];

/// All faults of a deed of so many calls.
fn plans(calls: usize, left_out: Option<(&'static str, u32)>) -> Vec<DiskPlan> {
    let plan = |fails: Range<usize>, at| DiskPlan {
        is_kill: fails.end == usize::MAX,
        fails,
        at: Some(at),
        left_out,
    };
    let mut plans = vec![plan(0..0, Break::BeforeEffect)];
    for number in 0..calls {
        for width in 1..=3 {
            for at in [Break::BeforeEffect, Break::AfterEffect] {
                plans.push(plan(number..number + width, at));
            }
        }
        plans.push(plan(number..usize::MAX, Break::BeforeEffect));
    }
    plans
}

async fn calls_of(deed: Deed) -> (usize, BTreeSet<(&'static str, u32)>) {
    let plan = DiskPlan::default();
    let run = Run { deed, plan };
    let disk = run.go(&FATES).await.unwrap();
    (disk.calls(), disk.sites())
}

#[tokio::test]
async fn what_was_acknowledged_or_seen_survives_a_crash_whatever_failed_before() {
    for deed in DEEDS {
        let (calls, _) = calls_of(deed).await;
        for plan in plans(calls, None) {
            Run { deed, plan }.go(&FATES).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_disk_could_not_write_beside_a_long_upload_is_not_acknowledged() {
    let fates = [Fate::Nothing];
    let run = |fails| Run {
        deed: Deed::LongUpload,
        plan: DiskPlan {
            fails,
            ..DiskPlan::default()
        },
    };
    let calls = run(0..0).go(&fates).await.unwrap().calls();
    for number in 0..calls {
        run(number..number + 1).go(&fates).await.unwrap();
    }
}

/// Every sync that a deed calls, and a run that keeps no promise without it.
#[tokio::test]
#[ignore = "long: some thousand crashes, a minute"]
async fn without_any_one_sync_a_promise_is_broken() {
    let mut sites: BTreeMap<(&str, u32), Option<String>> = BTreeMap::new();
    for deed in DEEDS {
        let (calls, _) = calls_of(deed).await;
        let mut found = BTreeSet::new();
        for plan in plans(calls, None) {
            let run = Run { deed, plan };
            found.extend(run.go(&[]).await.unwrap().sites());
        }
        for site in found {
            let broken = sites.entry(site).or_default();
            for plan in plans(calls, Some(site)) {
                if broken.is_some() {
                    break;
                }
                *broken = Run { deed, plan }.go(&FATES).await.err();
            }
        }
    }
    for ((file, line), broken) in &sites {
        let broken = broken.as_deref().unwrap_or("NOTHING IS LOST");
        eprintln!("without the sync at {file}:{line}: {broken}");
    }
    assert!(sites.values().all(Option::is_some), "a sync is not needed");
    let in_source: usize = SOURCES
        .iter()
        .map(|source| source.matches("Location::caller()").count())
        .sum();
    // Two are not among them: the one that only begins early to write a long upload, whose failure is tried above; and
    // that of `durable::sync_directory`, which is nothing but the call.
    assert_eq!(sites.len(), in_source - 2, "{sites:?}");
}
