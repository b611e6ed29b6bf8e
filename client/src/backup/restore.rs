//! A database made of a backup: its branches, tags and working sets as they were.
//!
//! * Whole: the files of the backup's record, as they are; where one of them was joined with others since, all files.
//! * Some branches: what these reach, chunk by chunk, and not a byte of anything else.
//! * Order and crash: as with a clone. `repo_state.json` comes last; the same call goes on with what is there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::noms_dir::{NomsDir, StoreWriter};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_doltdb::RefName;
use holdfast_doltdb::history::History;
use holdfast_doltdb::write::NewChunk;

use super::error::BackupError;
use super::listing::Catalog;
use super::record::{BackupId, BackupRecord};
use crate::database::{DatabasePaths, RepoState, StoreSource};
use crate::remote::{ListedFiles, Reach, Remote, RemoteSource, Shelf};
use crate::transfer::clone::{Form, Place, lock_unfinished};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::fetch::{TagReader, UnknownTag};
use crate::transfer::gather::Gather;
use crate::transfer::refs::RemoteRefs;
use crate::transfer::usable::{Usable, passed_over};
use crate::transfer::{Observer, TransferError};

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Where the backups are.
    pub target: Arc<dyn Remote>,
    /// Which of them.
    pub which: Which,
    /// The branches; everything if there are none.
    pub branches: Vec<String>,
}

/// Which backup is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The latest one.
    Latest,
    /// The one of that number, forgotten or not.
    Id(BackupId),
    /// The newest one that is not later.
    At(Timestamp),
    /// The oldest one with a branch that has the commit.
    Having(ChunkAddress),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The number of the backup, where numbers are kept.
    pub id: Option<BackupId>,
    /// The root that was backed up.
    pub root: RootAddress,
    /// The branch that is checked out.
    pub branch: String,
    /// How many branches there are.
    pub branches: usize,
    /// How many chunks came and were checked.
    pub chunks: u64,
}

/// What a backup holds.
pub(super) struct Chosen {
    pub(super) id: Option<BackupId>,
    pub(super) root: RootAddress,
    /// The files that hold it; nothing where that is not written down.
    pub(super) files: Option<HashSet<TableFileId>>,
}

impl Chosen {
    fn of(record: &BackupRecord) -> Self {
        Self {
            id: Some(record.id),
            root: record.root,
            files: Some(record.files.iter().map(|file| file.id).collect()),
        }
    }

    /// What is left of a list of files; all of it where one of the backup's own is missing.
    pub(super) fn files_of(&self, mut listed: ListedFiles) -> ListedFiles {
        let there: HashSet<_> = listed.files.iter().map(|file| file.id).collect();
        if let Some(own) = &self.files
            && own.is_subset(&there)
        {
            listed.files.retain(|file| own.contains(&file.id));
        }
        listed
    }
}

/// Finds a backup.
pub(super) async fn choose(target: &Arc<dyn Remote>, which: Which) -> Result<Chosen, BackupError> {
    let Some(shelf) = target.shelf() else {
        return match which {
            Which::Latest => unrecorded(target).await,
            _ => Err(BackupError::NoRecords {
                target: target.address(),
            }),
        };
    };
    let catalog = Catalog::read(shelf).await?;
    let found = match which {
        // What Dolt sees may be older than the last record, or made by Dolt itself.
        Which::Latest if catalog.newest_first().next().is_none() => {
            return unrecorded(target).await;
        }
        Which::Latest => catalog.listed().next(),
        Which::Id(id) => Some(id).filter(|id| catalog.contains(*id)),
        Which::At(time) => not_later(shelf, &catalog, time).await?,
        Which::Having(commit) => having(target, shelf, &catalog, commit).await?,
    };
    match (found, which) {
        (Some(id), _) => Ok(Chosen::of(&catalog.load(shelf, id).await?.record)),
        (None, Which::Id(id)) => Err(BackupError::NoBackup {
            id,
            target: target.address(),
        }),
        (None, _) => Err(BackupError::NoneFits {
            target: target.address(),
        }),
    }
}

async fn unrecorded(target: &Arc<dyn Remote>) -> Result<Chosen, BackupError> {
    let root = target.root().await?;
    match root.is_zero() {
        true => Err(BackupError::Empty {
            target: target.address(),
        }),
        false => Ok(Chosen {
            id: None,
            root,
            files: None,
        }),
    }
}

async fn not_later(
    shelf: &dyn Shelf,
    catalog: &Catalog,
    time: Timestamp,
) -> Result<Option<BackupId>, BackupError> {
    for id in catalog.listed() {
        if catalog.load(shelf, id).await?.record.at <= time {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

async fn having(
    target: &Arc<dyn Remote>,
    shelf: &dyn Shelf,
    catalog: &Catalog,
    commit: ChunkAddress,
) -> Result<Option<BackupId>, BackupError> {
    if !target.absent(&[commit]).await?.is_empty() {
        return Ok(None);
    }
    let (source, ghosts) = (RemoteSource::new(Arc::clone(target)), HashSet::new());
    let history = History::new(&source, &ghosts);
    let mut known: HashSet<ChunkAddress> = HashSet::new();
    let mut ids: Vec<_> = catalog.listed().collect();
    ids.reverse();
    for id in ids {
        let record = catalog.load(shelf, id).await?.record;
        let datasets = Datasets::read(&source, record.root).await?;
        let is_branch = |name: &RefName, _| matches!(name, RefName::Branch(_));
        let usable = Usable::by_kind(&source, datasets, is_branch).await?;
        let refs = RemoteRefs::among(&usable.datasets);
        for head in refs.branches.into_values() {
            if known.insert(head) && (head == commit || history.is_ancestor(commit, head).await?) {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// Restores a backup into `directory`, which must be missing, empty, or of an unfinished restore of the same. It is locked
/// from beginning to end.
pub async fn restore(
    request: &RestoreRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Restored, BackupError> {
    let paths = DatabasePaths::new(directory);
    let lock = pool.run(move || lock_unfinished(&paths)).await?;
    let restored = restore_locked(request, directory, pool, clock, observer).await;
    // What an error left running writes there.
    pool.quiet().await;
    drop(lock);
    restored
}

async fn restore_locked(
    request: &RestoreRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Restored, BackupError> {
    let chosen = choose(&request.target, request.which).await?;
    let source = RemoteSource::new(Arc::clone(&request.target));
    let all = Datasets::read(&source, chosen.root).await?;
    let part = Part::of(request, &source, &all, &*observer).await?;
    let restorer = Restorer {
        request,
        chosen: &chosen,
        place: Place {
            paths: DatabasePaths::new(directory),
            form: Form::Database,
            origin: format!(
                "{}#{} {}",
                request.target.address(),
                chosen.root,
                request.branches.join(" ")
            ),
            is_move: false,
        },
        pool,
        clock,
        observer,
    };
    let place = restorer.place.clone();
    pool.run(move || place.prepare()).await?;
    let chunks = match part {
        None => restorer.take_files().await?,
        Some(part) => restorer.gather(part).await?,
    };
    restorer.finish(chunks).await
}

/// What of a backup is restored.
struct Part {
    /// The branches with their working sets.
    kept: Datasets,
    /// What these reach is taken.
    roots: Vec<ChunkAddress>,
    /// The tags of the backup; those of what is taken come along.
    tags: Vec<UnknownTag>,
}

impl Part {
    /// What the request wants of the datasets of a backup; nothing where it wants everything. A branch that is wanted
    /// and that Dolt could not use is refused before anything is written.
    async fn of(
        request: &RestoreRequest,
        source: &RemoteSource,
        all: &Datasets,
        observer: &dyn Observer,
    ) -> Result<Option<Self>, BackupError> {
        let address = request.target.address();
        if request.branches.is_empty() {
            return Ok(None);
        }
        let is_wanted = |name: &RefName, _| match name {
            RefName::Branch(branch) | RefName::WorkingSet(branch) => {
                request.branches.contains(branch)
            }
            _ => false,
        };
        let usable = Usable::by_kind(source, all.clone(), is_wanted).await?;
        for branch in &request.branches {
            usable.check_asked(&address, &RefName::Branch(branch.clone()))?;
        }
        usable.warn_of_tags(&address, observer);
        let all = &usable.datasets;
        let mut part = Self {
            kept: Datasets::default(),
            roots: Vec::new(),
            tags: Vec::new(),
        };
        for branch in &request.branches {
            let name = RefName::Branch(branch.clone());
            let head = all.get(&name).ok_or_else(|| no_branch(branch, all))?;
            let working_set = RefName::WorkingSet(branch.clone());
            for (name, address) in [
                (name, Some(head)),
                (working_set.clone(), all.get(&working_set)),
            ] {
                part.kept.set(&name, address);
                part.roots.extend(address);
            }
        }
        let tags = TagReader {
            of: &address,
            observer,
        };
        part.tags = tags.unknown(source, all, &Datasets::default()).await?;
        Ok(Some(part))
    }
}

struct Restorer<'a> {
    request: &'a RestoreRequest,
    chosen: &'a Chosen,
    place: Place,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Restorer<'_> {
    /// Takes the files of the backup, and returns how many chunks are in them.
    async fn take_files(&self) -> Result<u64, BackupError> {
        let target = &self.request.target;
        let listed = self.chosen.files_of(target.list_files().await?);
        let folders = Folders {
            parts: self.place.parts(),
            store: self.place.store(),
        };
        let downloader = Downloader::new(target, folders, self.pool, self.clock, &self.observer);
        let (_, files) = downloader.take_all(listed).await?;
        let chunks = files.iter().map(|file| u64::from(file.chunks)).sum();
        let (place, root) = (self.place.clone(), self.chosen.root);
        let begin = move || place.begin_store(root, files);
        self.pool.run(begin).await?;
        Ok(chunks)
    }

    /// Gathers what some branches and their working sets reach, and the tags among it.
    async fn gather(&self, part: Part) -> Result<u64, BackupError> {
        let Part {
            mut kept,
            roots,
            tags,
        } = part;
        let place = self.place.clone();
        self.pool.run(move || place.take_back()).await?;
        let gather = Gather {
            remote: Arc::clone(&self.request.target),
            reach: Reach::Exact,
            known: None,
            left_out: HashSet::new(),
            folder: self.place.incoming(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
        };
        let gathered = gather.run(roots).await?;
        let mut chunks: Vec<NewChunk> = Vec::new();
        let sort_out = move || gathered.reached(tags).map(|tags| (gathered, tags));
        let (gathered, tags) = self.pool.run(sort_out).await?;
        for tag in tags {
            kept.set(&tag.name, Some(tag.chunk.address));
            chunks.push(tag.chunk);
        }
        let count = gathered.chunks + chunks.len() as u64;
        let written = kept.write().map_err(TransferError::from)?;
        chunks.extend(written.chunks);
        let (place, now) = (self.place.clone(), self.clock.now().seconds());
        let land = move || {
            let files = gathered.land(&place.store())?;
            place.begin_store(RootAddress::ZERO, files)?;
            StoreWriter::open(&place.store())?.commit(written.root, &[], &pairs(&chunks), now)
        };
        self.pool.run(land).await?;
        Ok(count)
    }

    /// Makes a database of the store.
    async fn finish(&self, chunks: u64) -> Result<Restored, BackupError> {
        let (store, place) = (self.place.store(), self.place.clone());
        let open = move || NomsDir::open(&store);
        let store = Arc::new(self.pool.run(open).await?);
        let root = store.root();
        let source = StoreSource::new(store, self.pool.clone());
        let datasets = Datasets::read(&source, root).await?;
        let usable = Usable::by_kind(&source, datasets, |_, _| true).await?;
        self.leave_out(&usable).await?;
        let refs = RemoteRefs::among(&usable.datasets);
        let branch = match self.request.branches.first() {
            Some(first) => first.clone(),
            None => refs.choose(None, None)?.to_owned(),
        };
        let repo_state = RepoState::alone(&branch);
        self.pool.run(move || place.finish(&repo_state)).await?;
        Ok(Restored {
            id: self.chosen.id,
            root: self.chosen.root,
            branch,
            branches: refs.branches.len(),
            chunks,
        })
    }
}

impl Restorer<'_> {
    /// Moves the root of the new store to one without the refs that Dolt could not use, and says so.
    async fn leave_out(&self, usable: &Usable) -> Result<(), BackupError> {
        if usable.passed_over.is_empty() {
            return Ok(());
        }
        let of = self.request.target.address();
        for (_, fault) in &usable.passed_over {
            self.observer.warn(&passed_over(&of, fault));
        }
        let written = usable.datasets.write().map_err(TransferError::from)?;
        let (store, now) = (self.place.store(), self.clock.now().seconds());
        let commit = move || {
            StoreWriter::open(&store)?.commit(written.root, &[], &pairs(&written.chunks), now)
        };
        self.pool.run(commit).await?;
        Ok(())
    }
}

fn no_branch(branch: &str, all: &Datasets) -> TransferError {
    TransferError::NoBranch {
        branch: branch.to_owned(),
        known: all.known(&RefName::Branch(branch.to_owned())),
    }
}
