//! `holdfast move-out`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_client::database::{Database, DatabaseError, StoreSource};
use holdfast_client::inventory::{self, Header, Listing, Subject};
use holdfast_client::remote::{Remote, RemoteSource};
use holdfast_client::transfer::{
    self, CloneRequest, Extent, Force, Form, Observer, PushRef, PushRequest, Scope, SetUpstream,
    TransferError,
};
use holdfast_doltdb::{ChunkSource, RefName, Refs};
use serde_json::json;

use super::remotes::{Speaker, open_database};
use super::{Complaint, pool, push};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn move_out(
    arguments: args::MoveOut,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::new(arguments.user.clone(), environment)?;
    let request = CloneRequest {
        remote: speaker.open(&arguments.from).await?,
        remote_name: REMOTE.to_owned(),
        branch: None,
        default_branch: None,
        scope: Scope::Branches(arguments.branch.clone()),
        form: Form::Database,
        extent: Extent::Whole,
        identity: speaker.identity(),
    };
    let target = match arguments.to.contains("://") {
        true => Some(speaker.open(&arguments.to).await?),
        false => None,
    };
    let way = Way::choose(&arguments, &speaker, &request, target.as_deref())?;
    let inventory = arguments.inventory.clone();
    let inventory = inventory.unwrap_or_else(|| beside(&arguments.to, target.is_some()));
    let mover = Mover {
        request,
        way,
        inventory,
        speaker: &speaker,
        output,
    };
    match mover.run(&arguments.to, target).await {
        Ok(()) => mover.way.clear(),
        Err(error) => Err(mover.way.keep(error)),
    }
}

/// What the place that the branches come from is called in the new database.
const REMOTE: &str = "origin";

/// A move that did not come to its end.
#[derive(Debug)]
struct Kept {
    directory: PathBuf,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        write!(
            f,
            "move the branches: the same command goes on with what is kept in {directory}"
        )
    }
}

/// Where the branches are gathered.
enum Way {
    /// Where they are to be: a new database.
    Target(PathBuf),
    /// In a directory that the user named, where they stay.
    Via(PathBuf),
    /// Where the same command finds them again, until they arrived.
    Cache(Cache),
}

impl Way {
    fn choose(
        arguments: &args::MoveOut,
        speaker: &Speaker<'_>,
        request: &CloneRequest,
        target: Option<&dyn Remote>,
    ) -> anyhow::Result<Self> {
        Ok(match (target, &arguments.via) {
            (None, _) => Self::Target(PathBuf::from(&arguments.to)),
            (Some(_), Some(via)) => Self::Via(via.clone()),
            (Some(target), None) => {
                let (from, to) = (request.remote.address(), target.address());
                let branches = arguments.branch.join("\n");
                let told = format!("move-out\n{from}\n{to}\n{branches}");
                Self::Cache(Cache::take(speaker.kept(None, &told))?)
            }
        })
    }

    fn directory(&self) -> &Path {
        match self {
            Self::Target(directory) | Self::Via(directory) => directory,
            Self::Cache(cache) => &cache.database,
        }
    }

    /// Says where what came lies when it did not come to its end, unless the user said where.
    fn keep(&self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Target(_) | Self::Via(_) => error,
            Self::Cache(cache) if cache.database.exists() => error.context(Kept {
                directory: cache.database.clone(),
            }),
            Self::Cache(cache) => {
                // What is left of nothing is in nobody's way.
                drop(cache.clear());
                error
            }
        }
    }

    /// Removes what was needed on the way alone.
    fn clear(&self) -> anyhow::Result<()> {
        match self {
            Self::Target(_) | Self::Via(_) => Ok(()),
            Self::Cache(cache) => cache.clear(),
        }
    }
}

/// A folder that the same command finds again, for one run at a time.
struct Cache {
    folder: PathBuf,
    /// Where the branches are gathered.
    database: PathBuf,
    _lock: File,
}

impl Cache {
    /// How often it is tried to take a folder that runs remove which come to their end.
    const ATTEMPTS: usize = 5;

    fn take(folder: PathBuf) -> anyhow::Result<Self> {
        for _ in 0..Self::ATTEMPTS {
            let path = lock_in(&folder);
            durable::create_root(&folder).with_context(|| format!("make {}", folder.display()))?;
            let taken = try_lock(&path).with_context(|| format!("lock {}", path.display()))?;
            match taken {
                Taken::Held => break,
                Taken::Gone => {}
                Taken::Ours(lock) => {
                    return Ok(Self {
                        database: folder.join("database"),
                        folder,
                        _lock: lock,
                    });
                }
            }
        }
        Err(Complaint::Underway { directory: folder }.into())
    }

    /// Removes what was gathered.
    fn empty(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("remove {}", self.database.display())),
        }
    }

    /// Removes all of it, the lock after what it stands for.
    fn clear(&self) -> anyhow::Result<()> {
        self.empty()?;
        let path = lock_in(&self.folder);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        match std::fs::remove_dir(&self.folder) {
            // Another run begins there, or began and ended.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            removed => removed.with_context(|| format!("remove {}", self.folder.display())),
        }
    }
}

fn lock_in(folder: &Path) -> PathBuf {
    folder.join("LOCK")
}

/// What came of an attempt to take a lock.
enum Taken {
    Ours(File),
    /// Another process holds it.
    Held,
    /// Whoever held it removed it.
    Gone,
}

fn try_lock(path: &Path) -> io::Result<Taken> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Taken::Held),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // It may have been removed before it was ours, and be another one's by now.
    match std::fs::metadata(path) {
        Ok(named) if named.ino() == file.metadata()?.ino() => Ok(Taken::Ours(file)),
        Ok(_) => Ok(Taken::Gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::Gone),
        Err(error) => Err(error),
    }
}

/// The branches and tags that are moved, and where they are.
struct Moving {
    branches: BTreeMap<String, ChunkAddress>,
    tags: BTreeMap<String, ChunkAddress>,
}

impl Moving {
    async fn read(source: &dyn ChunkSource, root: RootAddress) -> anyhow::Result<Self> {
        let mut refs = Refs::open(source, root).await?;
        let (mut branches, mut tags) = (BTreeMap::new(), BTreeMap::new());
        while let Some((name, address)) = refs.next().await? {
            match name {
                RefName::Branch(branch) => drop(branches.insert(branch, address)),
                RefName::Tag(tag) => drop(tags.insert(tag, address)),
                _ => {}
            }
        }
        Ok(Self { branches, tags })
    }

    /// What they stand at.
    fn heads(&self) -> Vec<ChunkAddress> {
        let all = self.branches.values().chain(self.tags.values());
        all.copied().collect()
    }

    /// All of them as they are pushed.
    fn refs(&self) -> Vec<PushRef> {
        let branches = self.branches.keys().cloned().map(RefName::Branch);
        let names = branches.chain(self.tags.keys().cloned().map(RefName::Tag));
        let same = |name: RefName| PushRef {
            source: Some(name.clone()),
            destination: name,
        };
        names.map(same).collect()
    }
}

struct Mover<'a> {
    request: CloneRequest,
    way: Way,
    /// Where the inventory goes.
    inventory: PathBuf,
    speaker: &'a Speaker<'a>,
    output: Output,
}

impl Mover<'_> {
    async fn run(&self, to: &str, target: Option<Arc<dyn Remote>>) -> anyhow::Result<()> {
        self.gather().await?;
        let (database, source) = open_database(self.way.directory()).await?;
        let moving = Moving::read(&source, database.store().root()).await?;
        let listing = match &target {
            None => Listing::Whole,
            Some(_) => Listing::Below {
                heads: moving.heads(),
            },
        };
        let header = self.write_inventory(&database, listing, &moving).await?;
        let pushed = match target {
            None => None,
            Some(target) => Some(self.push(target, &moving).await?),
        };
        match self.output.format {
            Format::Text => ui::print(&format!(
                "moved to {to}: {} branches, {} tags, {} chunks, listed in {}",
                moving.branches.len(),
                moving.tags.len(),
                header.chunks,
                self.inventory.display(),
            )),
            Format::Json => ui::print(
                &json!({
                    "to": to,
                    "inventory": self.inventory,
                    "branches": moving.branches,
                    "tags": moving.tags,
                    "chunks": header.chunks,
                    "tree": header.tree,
                    "pushed": pushed,
                })
                .to_string(),
            ),
        }
    }

    /// Gathers the branches, or finds that an earlier run did so.
    async fn gather(&self) -> anyhow::Result<()> {
        let error = match self.clone().await {
            Err(error @ TransferError::Occupied { .. }) => error,
            cloned => return Ok(cloned?),
        };
        match (self.is_gathered().await?, &self.way) {
            (true, Way::Via(_) | Way::Cache(_)) => Ok(()),
            (true, Way::Target(_)) if !self.inventory.exists() => Ok(()),
            (false, Way::Cache(cache)) => {
                ui::say(&format!(
                    "what an earlier run left in {} is not what is there now: gathering anew",
                    cache.database.display()
                ));
                cache.empty()?;
                Ok(self.clone().await?)
            }
            _ => Err(error.into()),
        }
    }

    async fn clone(&self) -> Result<(), TransferError> {
        let progress = Arc::new(Progress::new(self.output.quiet));
        let observer = Arc::clone(&progress) as Arc<dyn Observer>;
        let (directory, clock) = (self.way.directory(), &self.speaker.clock);
        let cloned = transfer::clone(&self.request, directory, &pool(), clock, observer).await;
        progress.finish();
        cloned.map(drop)
    }

    /// Whether all of the branches is there, of the same place, and they are there where they are in that place.
    async fn is_gathered(&self) -> anyhow::Result<bool> {
        let pool = pool();
        let database = match Database::open(self.way.directory(), &pool).await {
            Err(DatabaseError::None { .. }) => return Ok(false),
            opened => opened?,
        };
        let here = StoreSource::new(Arc::clone(database.store()), pool);
        let here = Moving::read(&here, database.store().root()).await?;
        let remote = &self.request.remote;
        let there = RemoteSource::new(Arc::clone(remote));
        let mut there = Moving::read(&there, remote.root().await?).await?;
        if let Scope::Branches(branches) = &self.request.scope {
            there.branches.retain(|branch, _| branches.contains(branch));
        }
        let known = database.repo_state().remotes.get(REMOTE);
        Ok(known.is_some_and(|known| known.url == remote.address())
            && here.branches == there.branches)
    }

    async fn write_inventory(
        &self,
        database: &Database,
        listing: Listing,
        moving: &Moving,
    ) -> anyhow::Result<Header> {
        let subject = Subject {
            from: self.request.remote.address(),
            branches: moving.branches.clone(),
            made_at: jiff::Timestamp::now().to_string(),
        };
        let key = self.speaker.user.key()?;
        let (store, path) = (Arc::clone(database.store()), self.inventory.clone());
        let write = move || inventory::write(&store, &listing, subject, key.as_ref(), &path);
        Ok(pool().run(write).await?)
    }

    /// Pushes to where they go, and returns what programs are told of it.
    async fn push(
        &self,
        remote: Arc<dyn Remote>,
        moving: &Moving,
    ) -> anyhow::Result<serde_json::Value> {
        let request = PushRequest {
            remote,
            remote_name: None,
            refs: moving.refs(),
            force: Force::No,
            upstream: SetUpstream::Unchanged,
            extent: Extent::Whole,
            identity: self.speaker.identity(),
        };
        let progress = Arc::new(Progress::new(self.output.quiet));
        let observer = Arc::clone(&progress) as Arc<dyn Observer>;
        let (directory, clock) = (self.way.directory(), &self.speaker.clock);
        let pushed = transfer::push(&request, directory, &pool(), clock, observer).await;
        progress.finish();
        let pushed = pushed?;
        if self.output.format == Format::Text {
            push::print(&request, &pushed)?;
        }
        push::check(&pushed)?;
        Ok(push::told(&request, &pushed))
    }
}

/// The inventory of a new database stands beside it, so that it is not part of it.
fn beside(to: &str, is_remote: bool) -> PathBuf {
    let trimmed = to.trim_end_matches('/');
    match is_remote {
        false => PathBuf::from(format!("{trimmed}.inventory")),
        true => {
            let name = trimmed.rsplit('/').next().unwrap_or("database");
            PathBuf::from(format!("{name}.inventory"))
        }
    }
}
