//! A whole database from a remote: its files as they are, then refs as Dolt's own clone makes them.
//!
//! # Order
//! The marker that says "unfinished", the files, the manifest with the remote's root, a small file with the clone's
//! own refs, the manifest with the clone's root, settings, `repo_state.json`, and the marker goes.
//! # Crash
//! Before `repo_state.json` there is no database for Dolt, and the same call goes on. Every file that landed was
//! checked; one that is half there is continued.

use std::path::Path;
use std::sync::{Arc, Mutex};

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{NewStore, NomsDir, StoreError, StoreWriter};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::pool::BlockingPool;

use super::datasets::pairs;
use super::download::Downloader;
use super::error::TransferError;
use super::events::Observer;
use super::refs::{ClonedRefs, RemoteRefs, cloned_refs};
use crate::database::{
    DatabasePaths, RemoteEntry, RepoState, StoreSource, io, remove, replace_file,
};
use crate::remote::Remote;

/// Who is written into the working set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A name.
    pub name: String,
    /// An e-mail address.
    pub email: String,
}

/// What is to be cloned.
#[derive(Debug, Clone)]
pub struct CloneRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What the remote is called in the clone.
    pub remote_name: String,
    /// The branch that is checked out; nothing for the remote's usual one.
    pub branch: Option<String>,
    /// The branch that the user's settings call the first one.
    pub default_branch: Option<String>,
    /// Who clones.
    pub identity: Option<Identity>,
}

/// What was cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// The branch that is checked out.
    pub branch: String,
    /// How many branches the remote has.
    pub branches: usize,
    /// How many tags it has.
    pub tags: usize,
    /// How many chunks came and were checked.
    pub chunks: u64,
}

/// Clones a database into `directory`, which must be missing, empty, or of an unfinished clone of the same remote.
pub async fn clone(
    request: &CloneRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Cloned, TransferError> {
    let metadata = request.remote.metadata().await?;
    let listed = match metadata.size {
        0 => return Err(TransferError::Empty),
        _ => request.remote.list_files().await?,
    };
    if listed.root.is_zero() {
        return Err(TransferError::Empty);
    }
    let paths = DatabasePaths::new(directory);
    let place = Place {
        paths: paths.clone(),
        url: request.remote.address(),
    };
    pool.run(move || place.prepare()).await?;
    let downloader = Downloader {
        remote: Arc::clone(&request.remote),
        clock: Arc::clone(clock),
        parts: paths.parts(),
        store: paths.store(),
        pool: pool.clone(),
        observer,
        taken: Mutex::default(),
    };
    let (root, files) = downloader.take_all(listed).await?;
    let chunks = files.iter().map(|file| u64::from(file.chunks)).sum();
    let store = paths.store();
    let begin = move || begin_store(&store, root, files);
    let opened = pool.run(begin).await?;
    let source = StoreSource::new(Arc::new(opened), pool.clone());
    let refs = RemoteRefs::read(&source, root).await?;
    let branch = refs.choose(request.branch.as_deref(), request.default_branch.as_deref())?;
    let now = clock.now().seconds();
    let identity = request.identity.as_ref();
    let made = cloned_refs(&source, &refs, &request.remote_name, branch, identity, now).await?;
    let remote = RemoteEntry::new(&request.remote_name, &request.remote.address());
    let repo_state = RepoState::cloned(branch, remote);
    pool.run(move || finish(&paths, &made, &repo_state, now))
        .await?;
    Ok(Cloned {
        branch: branch.to_owned(),
        branches: refs.branches.len(),
        tags: refs.tags.len(),
        chunks,
    })
}

/// Where a database goes.
pub(crate) struct Place {
    pub(crate) paths: DatabasePaths,
    /// What it is made from: only the same is gone on with.
    pub(crate) url: String,
}

impl Place {
    /// Makes the directories, or finds those of an unfinished clone of the same remote.
    pub(crate) fn prepare(&self) -> Result<(), TransferError> {
        let directory = self.paths.directory();
        let marker = self.paths.unfinished();
        let origin = self.paths.clone_origin();
        let is_ours = marker.exists()
            && !self.paths.repo_state().exists()
            && std::fs::read(&origin).is_ok_and(|url| url == self.url.as_bytes());
        if !is_ours {
            let is_empty = match std::fs::read_dir(directory) {
                Ok(mut entries) => entries.next().is_none(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
                Err(error) => return Err(io("list", directory)(error).into()),
            };
            if !is_empty {
                return Err(TransferError::Occupied {
                    path: directory.to_owned(),
                });
            }
        }
        for needed in [directory.to_owned(), self.paths.parts(), self.paths.store()] {
            durable::create_root(&needed).map_err(io("make", &needed))?;
        }
        replace_file(&marker, b"")?;
        replace_file(&origin, self.url.as_bytes())?;
        Ok(())
    }
}

/// Writes a manifest with that root, unless an earlier attempt came further.
pub(crate) fn begin_store(
    directory: &Path,
    root: holdfast_chunkstore::RootAddress,
    files: Vec<ListedFile>,
) -> Result<NomsDir, StoreError> {
    match NewStore::create(directory) {
        Ok(store) => store.finish(root, files)?,
        Err(StoreError::Exists { .. }) => {
            StoreWriter::open(directory)?.commit(root, &files, &[], 0)?
        }
        Err(error) => return Err(error),
    }
    NomsDir::open(directory)
}

/// Writes the refs of the clone, and what makes it a database.
fn finish(
    paths: &DatabasePaths,
    made: &ClonedRefs,
    repo_state: &RepoState,
    now_seconds: u64,
) -> Result<(), TransferError> {
    let store = StoreWriter::open(&paths.store())?;
    store.commit(made.root, &[], &pairs(&made.chunks), now_seconds)?;
    announce(paths, repo_state)
}

/// Makes a database of a store that is whole.
pub(crate) fn announce(paths: &DatabasePaths, repo_state: &RepoState) -> Result<(), TransferError> {
    replace_file(&paths.settings(), b"{}")?;
    remove(&paths.parts())?;
    remove(&paths.holdfast())?;
    replace_file(&paths.repo_state(), &repo_state.encode())?;
    remove(&paths.unfinished())?;
    durable::sync_directory(paths.directory()).map_err(io("sync", paths.directory()))?;
    Ok(())
}
