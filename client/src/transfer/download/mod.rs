//! Files of a remote, read whole, checked, and landed in a store.
//!
//! A file that was cut off stays under its name with `.part` behind it, and is continued from its end. What was
//! continued and turns out wrong is read once more from its beginning.
//!
//! ```text
//! a large file:  its data ─▶ .part ─▶ checked piece by piece as far as it came ─┐
//!                its end (the index) ─▶ a nameless file ────────────────────────┴▶ one file, landed
//! a small one:   all of it ─▶ .part ─▶ checked ─▶ landed
//! a journal:     all of it ─▶ .part ─▶ each chunk checked and written ─▶ a table file, landed
//! ```

mod inflow;
mod journal;
mod tail;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::{JOURNAL_ID, ListedFile};
use holdfast_chunkstore::noms_dir::{file_name, land};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ErrorKind, RootAddress, TableFileId};
use tokio::sync::watch;

use super::check::{check_arriving, check_file};
use super::error::TransferError;
use super::events::{Observer, Told, TransferEvent};
use crate::database::{io, remove};
use crate::remote::{Budget, ListedFiles, Remote, RemoteError, RemoteFile};
use inflow::Inflow;
use tail::Tail;

/// Takes files of one remote into one directory.
#[derive(Debug)]
pub(crate) struct Downloader {
    remote: Arc<dyn Remote>,
    clock: Arc<dyn Clock>,
    /// Where files that are not whole lie.
    parts: PathBuf,
    /// Where the store will be.
    store: PathBuf,
    pool: BlockingPool,
    observer: Arc<dyn Observer>,
    /// What was taken already, by the names of the remote's files.
    taken: Mutex<HashMap<TableFileId, Option<ListedFile>>>,
}

/// Where a [`Downloader`] puts files.
#[derive(Debug)]
pub(crate) struct Folders {
    /// Those that are not whole.
    pub(crate) parts: PathBuf,
    /// Those that are: the store that will be.
    pub(crate) store: PathBuf,
}

/// How many files are read at once.
const FILES_AT_ONCE: usize = 4;

/// Files from this length on are checked while they come. That takes a request more, for their end.
const LARGE_BYTES: u64 = 4 << 20;

/// How much is written of a file before it is brought to the disk.
const WRITE_OUT_BYTES: u64 = 16 << 20;

/// How often the same list, whose files are not where it says, is believed.
const FRUITLESS_LISTS: u32 = 3;

/// How often the list is asked for again because addresses that it gave are refused. They end: those of Dolt's own
/// server after a quarter of an hour.
const NEW_LISTS: u32 = 20;

impl Downloader {
    pub(crate) fn new(
        remote: &Arc<dyn Remote>,
        folders: Folders,
        pool: &BlockingPool,
        clock: &Arc<dyn Clock>,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        Self {
            remote: Arc::clone(remote),
            clock: Arc::clone(clock),
            parts: folders.parts,
            store: folders.store,
            pool: pool.clone(),
            observer: Arc::clone(observer),
            taken: Mutex::default(),
        }
    }

    /// Reads all files of a list, or of a newer one where its addresses come to their end, and returns the root that
    /// is in them.
    pub(crate) async fn take_all(
        &self,
        mut listed: ListedFiles,
    ) -> Result<(RootAddress, Vec<ListedFile>), TransferError> {
        let mut fruitless = 0;
        for _ in 0..NEW_LISTS {
            let before = self.taken().len();
            let ended;
            // Two downloads of one file would write over each other.
            let mut seen = HashSet::new();
            listed.files.retain(|file| seen.insert(file.id));
            let downloads = listed.files.iter().map(|file| self.take_once(file));
            let taken = stream::iter(downloads)
                .buffer_unordered(FILES_AT_ONCE)
                .try_collect::<Vec<Option<ListedFile>>>()
                .await;
            match taken {
                Ok(files) => {
                    let mut seen = HashSet::new();
                    let files = files.into_iter().flatten();
                    let files = files.filter(|file| seen.insert(file.id)).collect();
                    return Ok((listed.root, files));
                }
                Err(TransferError::Remote { source }) if source.is_of_an_ended_address() => {
                    ended = source;
                }
                Err(error) => return Err(error),
            }
            // Downloads that were given up may still write.
            self.pool.quiet().await;
            let again = self.remote.list_files().await?;
            let is_fruitless = self.taken().len() == before && are_same(&listed, &again);
            fruitless = if is_fruitless { fruitless + 1 } else { 0 };
            let ended = ended.of_lost_data();
            if fruitless >= FRUITLESS_LISTS && ended.is_of_damage() {
                return Err(ended.into());
            }
            listed = again;
        }
        Err(TransferError::Unsteady)
    }

    async fn take_once(&self, file: &RemoteFile) -> Result<Option<ListedFile>, TransferError> {
        // A journal is another one with each list.
        let is_journal = file.id == JOURNAL_ID;
        if !is_journal && let Some(taken) = self.taken().get(&file.id) {
            return Ok(*taken);
        }
        let listed = match self.take(file).await {
            Err(error) if error.kind() == ErrorKind::Corrupt && !is_journal => {
                return Err(self.doubted(file, error).await);
            }
            taken => taken?,
        };
        if !is_journal {
            self.taken().insert(file.id, listed);
        }
        Ok(listed)
    }

    /// The error of a file that came wrong: that the remote lost it, if it finds so.
    async fn doubted(&self, file: &RemoteFile, error: TransferError) -> TransferError {
        match self.remote.doubt_file(file).await {
            Err(damaged) if damaged.is_of_damage() => damaged.into(),
            _ => error,
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<TableFileId, Option<ListedFile>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a file unless it is in the store already, and returns how a manifest lists it.
    pub(crate) async fn take(
        &self,
        file: &RemoteFile,
    ) -> Result<Option<ListedFile>, TransferError> {
        let name = file_name(file.id, file.kind);
        let part = self.parts.join(format!("{name}.part"));
        if file.id == JOURNAL_ID {
            return self.take_journal(file, part).await;
        }
        let path = self.store.join(&name);
        if path.exists() {
            let chunks = self.check(&path, file).await?;
            return Ok(Some(listed(file, chunks)));
        }
        let had = length(&part);
        let chunks = match self.bring(file, &part).await {
            // What was there before may be of another file of that name.
            Err(error) if had > 0 && error.kind() == ErrorKind::Corrupt => {
                remove(&part)?;
                self.bring(file, &part).await?
            }
            brought => brought?,
        };
        let (store, id, kind) = (self.store.clone(), file.id, file.kind);
        self.pool.run(move || land(&part, &store, id, kind)).await?;
        Ok(Some(listed(file, chunks)))
    }

    /// Reads all of a file that is no journal, checks nothing of it, and returns where it lies among the parts.
    pub(crate) async fn take_unchecked(&self, file: &RemoteFile) -> Result<PathBuf, TransferError> {
        let part = self.parts.join(file_name(file.id, file.kind));
        let mut inflow = Inflow::begin(self, file, &part).await?;
        let end = AtomicU64::new(inflow.len());
        inflow.fill(&end, |_| {}).await?;
        Ok(part)
    }

    /// Makes a table file of a journal that a live database handed out.
    async fn take_journal(
        &self,
        file: &RemoteFile,
        part: PathBuf,
    ) -> Result<Option<ListedFile>, TransferError> {
        // What is there may be of one that a collection replaced.
        remove(&part)?;
        let mut inflow = Inflow::begin(self, file, &part).await?;
        let end = AtomicU64::new(inflow.len());
        inflow.fill(&end, |_| {}).await?;
        let store = self.store.clone();
        self.pool.run(move || journal::convert(&part, &store)).await
    }

    /// Reads what is missing of a file, checks all of it, and returns how many chunks are in it.
    async fn bring(&self, file: &RemoteFile, part: &Path) -> Result<u32, TransferError> {
        let mut inflow = Inflow::begin(self, file, part).await?;
        let len = inflow.len();
        let end = AtomicU64::new(len);
        if len - inflow.have() < LARGE_BYTES {
            inflow.fill(&end, |_| {}).await?;
            return self.check(part, file).await;
        }
        let (have, arrived) = watch::channel(inflow.have());
        let written = arrived.clone();
        let check = async {
            let Some(tail) = Tail::read(self, file, len).await? else {
                return Ok(None);
            };
            // The rest is here already.
            end.store(tail.index.data_len(), Ordering::Relaxed);
            let checked = check_arriving(part, &tail.index, arrived, &self.parts, &self.pool);
            Ok::<_, TransferError>(Some((checked.await?, tail)))
        };
        let fill = inflow.fill(&end, |now| {
            have.send_replace(now);
        });
        let checked = tokio::select! {
            done = futures::future::try_join(fill, check) => done?.1,
            error = self.write_out(part, written) => return Err(error),
        };
        let Some((found, tail)) = checked else {
            return self.check(part, file).await;
        };
        self.observer.tell(TransferEvent::Received {
            bytes: len - inflow.have(),
        });
        let part = part.to_owned();
        self.pool.run(move || tail.append_to(&part)).await?;
        counted(file, found)
    }

    /// Brings a file that grows to the disk time and again, so that little is left to be waited for at its end. Ends
    /// with a failure only.
    async fn write_out(&self, part: &Path, mut written: watch::Receiver<u64>) -> TransferError {
        let mut next = *written.borrow() + WRITE_OUT_BYTES;
        loop {
            match written.wait_for(|have| *have >= next).await {
                Ok(have) => next = *have + WRITE_OUT_BYTES,
                Err(_) => std::future::pending().await,
            }
            let file = part.to_owned();
            let written = self.pool.run(move || durable::write_out(&file)).await;
            if let Err(source) = written {
                return io("write", part)(source).into();
            }
        }
    }

    /// Asks a remote, again where its failure may pass.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let mut budget = Budget::new();
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let (asked, clock) = (error.retry_after(), &*self.clock);
            let told = Told(&*self.observer);
            if !error.may_pass() || !budget.wait_after(&error, asked, &told, clock).await {
                return Err(error);
            }
        }
    }

    async fn check(&self, path: &Path, file: &RemoteFile) -> Result<u32, TransferError> {
        let found = check_file(path, file.kind, &self.parts, &self.pool).await?;
        counted(file, found)
    }
}

/// Compares how many chunks a file holds with what the remote says; it need not know that of archives.
fn counted(file: &RemoteFile, found: u32) -> Result<u32, TransferError> {
    if file.kind == FileKind::Table && found != file.chunks {
        return Err(TransferError::Count {
            file: file.id,
            listed: file.chunks,
            found,
        });
    }
    Ok(found)
}

/// Whether two lists name the same files.
fn are_same(one: &ListedFiles, other: &ListedFiles) -> bool {
    let ids = |listed: &ListedFiles| -> HashSet<TableFileId> {
        listed.files.iter().map(|file| file.id).collect()
    };
    ids(one) == ids(other)
}

fn length(part: &Path) -> u64 {
    part.metadata().map_or(0, |metadata| metadata.len())
}

fn listed(file: &RemoteFile, chunks: u32) -> ListedFile {
    ListedFile {
        id: file.id,
        chunks,
    }
}

#[cfg(test)]
mod tests;
