//! One file of a remote, read whole, checked, and landed in a store.
//!
//! A file that was cut off stays under its name with `.part` behind it, and is continued from its end. What was
//! continued and turns out wrong is read once more from its beginning.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::{JOURNAL_ID, ListedFile};
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::noms_dir::{Journal, NewFile, StoreError, file_name, land};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{RootAddress, TableFileId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::check::{check_file, read_checked};
use super::error::TransferError;
use super::events::{Observer, TransferEvent};
use crate::database::{io, remove};
use crate::remote::{Budget, ListedFiles, Remote, RemoteFile};

/// Takes files of one remote into one directory.
#[derive(Debug)]
pub(crate) struct Downloader {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where files that are not whole lie.
    pub(crate) parts: PathBuf,
    /// Where the store will be.
    pub(crate) store: PathBuf,
    pub(crate) pool: BlockingPool,
    pub(crate) observer: Arc<dyn Observer>,
    /// What was taken already, by the names of the remote's files.
    pub(crate) taken: Mutex<HashMap<TableFileId, Option<ListedFile>>>,
    /// Who may check a file: the memory is there once.
    pub(crate) turn: Turn,
}

/// One at a time.
#[derive(Debug)]
pub(crate) struct Turn(Semaphore);

impl Default for Turn {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turn {
    async fn wait(&self) -> SemaphorePermit<'_> {
        self.0
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }
}

/// How many files are read at once.
const FILES_AT_ONCE: usize = 4;

/// How often the list is asked for again because addresses that it gave are refused. They end: those of Dolt's own
/// server after a quarter of an hour.
const NEW_LISTS: u32 = 20;

impl Downloader {
    /// Reads all files of a list, or of a newer one where its addresses come to their end, and returns the root that
    /// is in them.
    pub(crate) async fn take_all(
        &self,
        mut listed: ListedFiles,
    ) -> Result<(RootAddress, Vec<ListedFile>), TransferError> {
        for _ in 0..NEW_LISTS {
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
                Err(TransferError::Remote { source }) if source.is_of_an_ended_address() => {}
                Err(error) => return Err(error),
            }
            listed = self.remote.list_files().await?;
        }
        Err(TransferError::Unsteady)
    }

    async fn take_once(&self, file: &RemoteFile) -> Result<Option<ListedFile>, TransferError> {
        // A journal is another one with each list.
        let is_journal = file.id == JOURNAL_ID;
        if !is_journal && let Some(taken) = self.taken().get(&file.id) {
            return Ok(*taken);
        }
        let listed = self.take(file).await?;
        if !is_journal {
            self.taken().insert(file.id, listed);
        }
        Ok(listed)
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
        let path = self.store.join(&name);
        if file.id != JOURNAL_ID && path.exists() {
            let chunks = self.check(&path, file).await?;
            return Ok(Some(ListedFile {
                id: file.id,
                chunks,
            }));
        }
        let part = self.parts.join(format!("{name}.part"));
        if file.id == JOURNAL_ID {
            // What is there may be of one that a collection replaced.
            remove(&part)?;
        }
        let had = part.metadata().map_or(0, |metadata| metadata.len());
        self.read(file, &part).await?;
        if file.id == JOURNAL_ID {
            return self.convert_journal(&part).await;
        }
        let checked = match self.check(&part, file).await {
            // What was there before may be of another file of that name.
            Err(_) if had > 0 => {
                std::fs::remove_file(&part).map_err(io("remove", &part))?;
                self.read(file, &part).await?;
                self.check(&part, file).await
            }
            checked => checked,
        };
        let chunks = checked?;
        let (store, id, kind) = (self.store.clone(), file.id, file.kind);
        self.pool.run(move || land(&part, &store, id, kind)).await?;
        Ok(Some(ListedFile {
            id: file.id,
            chunks,
        }))
    }

    async fn check(&self, path: &Path, file: &RemoteFile) -> Result<u32, TransferError> {
        let _turn = self.turn.wait().await;
        let beside = path.parent().unwrap_or(&self.parts);
        let found = check_file(path, file.kind, beside, &self.pool).await?;
        if file.kind == FileKind::Table && found != file.chunks {
            return Err(TransferError::Count {
                file: file.id,
                listed: file.chunks,
                found,
            });
        }
        Ok(found)
    }

    /// Reads what is missing of a file.
    async fn read(&self, file: &RemoteFile, part: &Path) -> Result<(), TransferError> {
        let mut budget = Budget::new();
        let mut is_known = false;
        loop {
            let have = part.metadata().map_or(0, |metadata| metadata.len());
            let result = self.read_once(file, part, have, &mut is_known).await;
            let error = match result {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if part.metadata().map_or(0, |metadata| metadata.len()) > have {
                budget.renew();
            }
            let asked = error.retry_after();
            if !error.kind().is_transient() || !budget.wait_as_asked(asked, &*self.clock).await {
                return Err(error);
            }
        }
    }

    async fn read_once(
        &self,
        file: &RemoteFile,
        part: &Path,
        have: u64,
        is_known: &mut bool,
    ) -> Result<(), TransferError> {
        let mut body = match self.remote.read_file(file, have).await {
            // Nothing is left of it.
            Err(error) if have > 0 && error.is_behind_the_end() => return Ok(()),
            body => body?,
        };
        if !*is_known && let Some(len) = body.len {
            *is_known = true;
            self.observer.tell(TransferEvent::Expected {
                bytes: len - body.begins_at,
            });
        }
        let mut output = open(part, body.begins_at)?;
        let mut have = body.begins_at;
        while let Some(bytes) = body.bytes.try_next().await? {
            have += bytes.len() as u64;
            self.observer.tell(TransferEvent::Received {
                bytes: bytes.len() as u64,
            });
            // The system gathers what is written; that takes no time worth a thread.
            output.write_all(&bytes).map_err(io("write", part))?;
        }
        match body.len {
            Some(want) if have != want => Err(TransferError::Short {
                file: file.id,
                have,
                want,
            }),
            _ => Ok(()),
        }
    }

    /// Makes a table file of a journal that a live database handed out.
    async fn convert_journal(&self, part: &Path) -> Result<Option<ListedFile>, TransferError> {
        let (part, store) = (part.to_owned(), self.store.clone());
        self.pool.run(move || convert(&part, &store)).await
    }
}

/// Opens a file to be written from `offset` on.
fn open(part: &Path, offset: u64) -> Result<File, TransferError> {
    use std::io::{Seek as _, SeekFrom};
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(part)
        .map_err(io("open", part))?;
    file.set_len(offset).map_err(io("cut", part))?;
    file.seek(SeekFrom::Start(offset))
        .map_err(io("write", part))?;
    Ok(file)
}

/// Makes a table file of a journal, each chunk of which is checked; nothing of one without chunks.
fn convert(part: &Path, store: &Path) -> Result<Option<ListedFile>, TransferError> {
    let journal = Journal::open_file(part)?;
    if journal.count() == 0 {
        return Ok(None);
    }
    let encode = |source| StoreError::Encode {
        path: store.to_owned(),
        source,
    };
    let mut writer = table::Writer::new(NewFile::begin(store)?);
    let mut stored = Vec::new();
    for (address, span) in journal.in_file_order() {
        read_checked(&journal, address, span, &mut stored)?;
        writer.append_record(address, &stored).map_err(encode)?;
    }
    let (file, written) = writer.finish().map_err(encode)?;
    file.land(written.id, FileKind::Table)?;
    std::fs::remove_file(part).map_err(io("remove", part))?;
    Ok(Some(ListedFile {
        id: written.id,
        chunks: written.count,
    }))
}
