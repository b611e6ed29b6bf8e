//! A database made of a backup: its branches, tags and working sets as they were.
//!
//! * Whole: the files of the backup's record, as they are: what was there when it was made, and nothing newer. Where one
//!   of them was joined with others since, what the root of the backup reaches, chunk by chunk.
//! * Some branches: what these reach, chunk by chunk, and not a byte of anything else.
//! * Order and crash: as with a clone. `repo_state.json` comes last; the same call goes on with what is there.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreWriter};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::RefName;
use holdfast_doltdb::write::NewChunk;

use super::backup_id::BackupId;
use super::chosen::{Chosen, Which, choose};
use super::error::BackupError;
use crate::database::{DatabasePaths, RepoState, StoreSource};
use crate::remote::{ListedFiles, Reach, Remote, RemoteSource};
use crate::transfer::clone::{Form, Place, lock_unfinished};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::fetch::{TagReader, UnknownTag};
use crate::transfer::gather::{Gather, Gathered};
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
        None => restorer.take_all().await?,
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
    /// Takes everything, and returns how many chunks came. Where nothing is written down there are only the files.
    async fn take_all(&self) -> Result<u64, BackupError> {
        if let Some(fault) = &self.chosen.fault {
            let of = self.request.target.address();
            let warning = format!("{of}: {fault}; what the root of the backup reaches is restored");
            self.observer.warn(&warning);
        }
        let listed = self.request.target.list_files().await?;
        match self.chosen.id.is_none() || self.chosen.has_own(&listed) {
            true => self.take_files(self.chosen.files_of(listed)).await,
            false => self.gather_all().await,
        }
    }

    /// Takes the files of the backup as they are.
    async fn take_files(&self, listed: ListedFiles) -> Result<u64, BackupError> {
        let target = &self.request.target;
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

    /// Gathers what the root reaches.
    async fn gather_all(&self) -> Result<u64, BackupError> {
        let roots = self.chosen.root.chunk().into_iter().collect();
        let gathered = self.run_gather(Reach::Near, roots).await?;
        let count = gathered.chunks;
        let (place, root) = (self.place.clone(), self.chosen.root);
        let land = move || {
            let files = gathered.land(&place.store())?;
            place.begin_store(root, files)
        };
        self.pool.run(land).await?;
        Ok(count)
    }

    async fn run_gather(
        &self,
        reach: Reach,
        roots: Vec<ChunkAddress>,
    ) -> Result<Gathered, BackupError> {
        let place = self.place.clone();
        self.pool.run(move || place.take_back()).await?;
        let gather = Gather {
            remote: Arc::clone(&self.request.target),
            reach,
            known: None,
            left_out: HashSet::new(),
            folder: self.place.incoming(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
        };
        Ok(gather.run(roots).await?)
    }

    /// Gathers what some branches and their working sets reach, and the tags among it.
    async fn gather(&self, part: Part) -> Result<u64, BackupError> {
        let Part {
            mut kept,
            roots,
            tags,
        } = part;
        let gathered = self.run_gather(Reach::Exact, roots).await?;
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
