//! A disk that forgets what was not synced, when a test lets the machine crash.
//!
//! The files lie in a directory of the machine, which stands for the page cache: everything that is read comes from
//! there. Beside it is noted what was made durable: of each file its bytes at its last sync, of each directory its
//! names at its last sync. A crash writes into another directory what a real disk may have kept: what was durable,
//! and of what was not any part of it, name by name and file by file. Nothing is durable by accident: the sync of a
//! file does not keep its name, that of a directory neither the bytes in it nor its own name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::objects::disk::{Disk, Site, SystemDisk};
use crate::testing::faults::Break;

/// Which calls to a [`ForgetfulDisk`] fail, and which sync does nothing.
#[derive(Debug, Clone, Default)]
pub struct DiskPlan {
    /// The numbers of the calls that fail, counted from 0.
    pub fails: Range<usize>,
    /// Where they fail; before their effect if nothing is said.
    pub at: Option<Break>,
    /// They do not fail: the process is killed before them.
    pub is_kill: bool,
    /// The sync that says that it succeeded and does nothing, by file and line of its call.
    pub left_out: Option<(&'static str, u32)>,
}

/// What a crash keeps of what was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// Nothing.
    Nothing,
    /// Every change of a name, and no bytes.
    Names,
    /// Some of both.
    Some(u64),
}

/// A disk that forgets.
#[derive(Debug)]
pub struct ForgetfulDisk {
    base: PathBuf,
    plan: DiskPlan,
    noted: Mutex<Noted>,
}

/// What is durable, and what was called.
#[derive(Debug, Default)]
struct Noted {
    names: BTreeMap<PathBuf, BTreeMap<OsString, Entry>>,
    bytes: HashMap<FileKey, Arc<[u8]>>,
    /// Files whose sync failed: the system has told it, and knows nothing of it any more.
    spoiled: HashSet<FileKey>,
    calls: usize,
    sites: BTreeSet<(&'static str, u32)>,
}

/// A file, whatever its names. Numbers of removed files are used again, so the time counts too.
type FileKey = (u64, Option<SystemTime>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(FileKey),
    Directory,
}

fn key_of(metadata: &Metadata) -> FileKey {
    (metadata.ino(), metadata.created().ok())
}

fn entries(directory: &Path) -> io::Result<BTreeMap<OsString, Entry>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Temporary files come and go.
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        let kept = match metadata.is_dir() {
            true => Entry::Directory,
            false => Entry::File(key_of(&metadata)),
        };
        entries.insert(entry.file_name(), kept);
    }
    Ok(entries)
}

fn injected() -> io::Error {
    io::Error::other("a fault that the test asked for")
}

impl ForgetfulDisk {
    /// A disk whose files lie in `base`; what is there is durable.
    ///
    /// # Panics
    /// When the directory cannot be read.
    pub fn new(base: &Path, plan: DiskPlan) -> Arc<Self> {
        let base = base.canonicalize().expect("the base is a directory");
        let mut noted = Noted::default();
        keep_all(&base, &mut noted).expect("the base can be read");
        Arc::new(Self {
            base,
            plan,
            noted: Mutex::new(noted),
        })
    }

    /// The same disk with another plan, as a machine that was not switched off has it.
    pub fn with(&self, plan: DiskPlan) -> Arc<Self> {
        let noted = self.noted.lock();
        Arc::new(Self {
            base: self.base.clone(),
            plan,
            noted: Mutex::new(Noted {
                names: noted.names.clone(),
                bytes: noted.bytes.clone(),
                spoiled: noted.spoiled.clone(),
                ..Noted::default()
            }),
        })
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.noted.lock().calls
    }

    /// From where syncs were called, by file and line.
    pub fn sites(&self) -> BTreeSet<(&'static str, u32)> {
        self.noted.lock().sites.clone()
    }

    /// Writes into the empty directory `into` what a crash at this moment may leave.
    ///
    /// # Panics
    /// When that fails.
    pub fn crash(&self, into: &Path, fate: Fate) {
        let noted = self.noted.lock();
        let seed = match fate {
            Fate::Some(seed) => seed,
            Fate::Nothing | Fate::Names => 0,
        };
        let mut random = StdRng::seed_from_u64(seed);
        leave(&noted, &self.base, into, fate, &mut random).expect("the crash can be written down");
    }

    /// Counts a call and makes it, unless it is to fail.
    fn call(&self, work: impl FnOnce(&mut Noted) -> io::Result<()>) -> io::Result<()> {
        let mut noted = self.noted.lock();
        let number = noted.calls;
        noted.calls += 1;
        if !self.plan.fails.contains(&number) {
            return work(&mut noted);
        }
        if self.plan.at == Some(Break::AfterEffect) {
            drop(work(&mut noted));
        }
        Err(injected())
    }

    fn sync(&self, site: Site, work: impl FnOnce(&mut Noted) -> io::Result<()>) -> io::Result<()> {
        let site = (site.file(), site.line());
        self.call(|noted| {
            noted.sites.insert(site);
            match self.plan.left_out == Some(site) {
                true => Ok(()),
                false => work(noted),
            }
        })
    }

    fn sync_bytes(&self, file: &File, site: Site) -> io::Result<()> {
        let metadata = file.metadata()?;
        let key = key_of(&metadata);
        let synced = self.sync(site, |noted| {
            if !noted.spoiled.contains(&key) {
                noted.bytes.insert(key, read(file, metadata.len())?);
            }
            Ok(())
        });
        if synced.is_err() && !self.plan.is_kill {
            self.noted.lock().spoiled.insert(key);
        }
        synced
    }
}

fn read(file: &File, len: u64) -> io::Result<Arc<[u8]>> {
    use std::os::unix::fs::FileExt as _;
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}

/// Notes that all below a directory is durable, except what a failed sync has spoiled.
fn keep_all(directory: &Path, noted: &mut Noted) -> io::Result<()> {
    let entries = entries(directory)?;
    for (name, entry) in &entries {
        let path = directory.join(name);
        match entry {
            Entry::Directory => keep_all(&path, noted)?,
            Entry::File(key) if noted.spoiled.contains(key) => {}
            Entry::File(key) => {
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                let len = file.metadata()?.len();
                noted.bytes.insert(*key, read(&file, len)?);
            }
        }
    }
    noted.names.insert(directory.to_owned(), entries);
    Ok(())
}

/// Leaves of a directory what is durable, and of the rest what fate has it.
fn leave(
    noted: &Noted,
    directory: &Path,
    into: &Path,
    fate: Fate,
    random: &mut StdRng,
) -> io::Result<()> {
    let durable = noted.names.get(directory).cloned().unwrap_or_default();
    let current = match entries(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        current => current?,
    };
    let names: BTreeSet<&OsString> = durable.keys().chain(current.keys()).collect();
    for name in names {
        let (durable, current) = (durable.get(name), current.get(name));
        let keeps_current = match fate {
            Fate::Nothing => false,
            Fate::Names => true,
            Fate::Some(_) => random.random_range(0..2) == 1,
        };
        let kept = if keeps_current { current } else { durable };
        let (path, target) = (directory.join(name), into.join(name));
        match kept {
            None => {}
            Some(Entry::Directory) => {
                fs::create_dir(&target)?;
                leave(noted, &path, &target, fate, random)?;
            }
            Some(Entry::File(key)) => {
                let mut bytes = noted.bytes.get(key).cloned().unwrap_or_default();
                if matches!(fate, Fate::Some(_)) && !noted.spoiled.contains(key) {
                    bytes = some_of(*key, &path, bytes, random)?;
                }
                write(&target, &bytes)?;
            }
        }
    }
    Ok(())
}

/// The durable bytes of a file, or those that it has now, or the first half of them.
fn some_of(
    key: FileKey,
    path: &Path,
    durable: Arc<[u8]>,
    random: &mut StdRng,
) -> io::Result<Arc<[u8]>> {
    let Ok(file) = File::open(path) else {
        return Ok(durable);
    };
    let metadata = file.metadata()?;
    if key_of(&metadata) != key || !metadata.is_file() {
        return Ok(durable);
    }
    let current = read(&file, metadata.len())?;
    if current == durable {
        return Ok(durable);
    }
    Ok(match random.random_range(0..3) {
        0 => durable,
        1 => current,
        _ => current[..current.len() / 2].into(),
    })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    file.write_all(bytes)
}

impl Disk for ForgetfulDisk {
    fn make_directories(&self, directory: &Path) -> io::Result<()> {
        self.call(|_| SystemDisk.make_directories(directory))
    }

    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.call(|_| SystemDisk.hard_link(file, name))
    }

    fn rename(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.call(|_| SystemDisk.rename(file, name))
    }

    fn remove_file(&self, name: &Path) -> io::Result<()> {
        self.call(|_| SystemDisk.remove_file(name))
    }

    fn sync_file(&self, file: &File, site: Site) -> io::Result<()> {
        self.sync_bytes(file, site)
    }

    fn sync_data(&self, file: &File, site: Site) -> io::Result<()> {
        self.sync_bytes(file, site)
    }

    fn sync_directory(&self, directory: &Path, site: Site) -> io::Result<()> {
        self.sync(site, |noted| {
            let current = entries(directory)?;
            noted.names.insert(directory.canonicalize()?, current);
            Ok(())
        })
    }

    fn sync_file_system(&self, _root: &Path, site: Site) -> io::Result<()> {
        self.sync(site, |noted| keep_all(&self.base, noted))
    }
}
