//! Everything below some chunks that a remote lacks, in files to that remote.
//!
//! The remote is asked which chunks it lacks; those are read where they come from and checked, and their children are
//! asked for next. Files are sent while the walk goes on.

mod frames;
mod local;
mod origin;
mod outgoing;
mod uploads;
mod walk;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

pub(crate) use self::origin::Origin;
use self::outgoing::Outgoing;
pub(crate) use self::outgoing::write_small;
use self::uploads::Uploads;
use self::walk::Walk;
use super::check::{CheckError, check_file};
use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::reads::{Event, Reads};
use crate::database::check_form;
use crate::remote::{OutgoingFile, Remote};

/// When so many chunks wait, each call asks for only [`FEW`]: what waits grows by the children of those.
const MANY: usize = 100_000;

const FEW: usize = 512;

/// Sends from where chunks are to a remote.
pub(crate) struct Sender {
    pub(crate) remote: Arc<dyn Remote>,
    /// Nothing is there, so nothing need be asked.
    pub(crate) is_empty: bool,
    /// It takes archives, so that what is compressed with zstd need not be made longer.
    pub(crate) takes_archives: bool,
    /// Where the chunks are.
    pub(crate) origin: Origin,
    /// Where files gather until they are sent.
    pub(crate) folder: PathBuf,
    pub(crate) pool: BlockingPool,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) extent: Extent,
}

/// What was sent, and is part of the remote now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// A chunk that is there has everything below it there.
    Missing,
    /// Past the chunks that are there: the remote may have lost what is below them.
    All,
}

impl Sender {
    /// Sends all that is missing below `roots`, also below chunks that are there, as far as it is here.
    pub(crate) async fn repair(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        self.run_along(roots, Course::All).await
    }

    /// Sends what is missing below `roots`, them included. What is kept for the next attempt is forgotten if the remote
    /// refuses it, or if it is damaged.
    pub(crate) async fn run(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        self.run_along(roots, Course::Missing).await
    }

    async fn run_along(
        self,
        roots: &[ChunkAddress],
        course: Course,
    ) -> Result<Sent, TransferError> {
        if self.extent == Extent::DryRun {
            return self.count(roots, course).await;
        }
        let sent = self.send(roots, course).await;
        let is_useless = match &sent {
            Err(TransferError::Remote { source }) => source.kind() == ErrorKind::Refused,
            Err(TransferError::Check { source }) => source.kind() == ErrorKind::Corrupt,
            _ => false,
        };
        if is_useless {
            let folder = self.folder.clone();
            let remove = move || crate::database::remove(&folder);
            self.pool.run(remove).await?;
        }
        sent
    }

    async fn send(&self, roots: &[ChunkAddress], course: Course) -> Result<Sent, TransferError> {
        let (folder, address, all) = (self.folder.clone(), self.remote.address(), roots.to_vec());
        let takes_archives = self.takes_archives;
        let open = move || {
            check_form(folder.parent().unwrap_or(&folder))?;
            let outgoing = Outgoing::open(&folder, &address, &all, takes_archives)?;
            Ok::<_, TransferError>(outgoing)
        };
        let outgoing = self.pool.run(open).await?;
        let outgoing = check_unsent(outgoing, &self.pool).await?;
        let mut uploads = Uploads::new(
            Arc::clone(&self.remote),
            self.pool.clone(),
            Arc::clone(&self.observer),
            outgoing.notes(),
        );
        let mut again = Vec::new();
        for file in outgoing.kept() {
            match outgoing.is_sent(file.id) {
                true => uploads.note(&file),
                false => uploads.begin(file.clone()).await?,
            }
            again.push(file);
        }
        let all = roots.to_vec();
        let begin = move || Walk::into_files(outgoing, &all);
        let walk = self.pool.run(begin).await?;
        let mut walk = self.walk(walk, roots, course, Some(&mut uploads)).await?;
        let finish = move || walk.finish_files().map(|files| (walk, files));
        let (walk, last) = self.pool.run(finish).await?;
        for file in last {
            uploads.begin(file).await?;
        }
        let files = uploads.finish().await?;
        self.add(files, again).await?;
        Ok(walk.sent())
    }

    /// Counts what is missing below `roots`, them included, and sends nothing.
    async fn count(&self, roots: &[ChunkAddress], course: Course) -> Result<Sent, TransferError> {
        let all = roots.to_vec();
        let walk = self.pool.run(move || Walk::counting(&all)).await?;
        Ok(self.walk(walk, roots, course, None).await?.sent())
    }

    /// Walks over what is missing, and sends files as they become whole.
    async fn walk(
        &self,
        mut walk: Walk,
        roots: &[ChunkAddress],
        course: Course,
        mut uploads: Option<&mut Uploads>,
    ) -> Result<Walk, TransferError> {
        let reader = self.origin.reader(self.takes_archives, &self.pool);
        let mut waiting = roots.to_vec();
        let mut calls = Reads::new();
        loop {
            while calls.len() < self.origin.calls() && !waiting.is_empty() {
                let batch = match waiting.len() {
                    ..MANY => self.origin.batch(),
                    MANY.. => self.origin.batch().min(FEW),
                };
                let batch = waiting.split_off(waiting.len().saturating_sub(batch));
                let remote = (!self.is_empty).then(|| Arc::clone(&self.remote));
                let reader = reader.clone();
                calls.begin(|to| async move {
                    let absent = match remote {
                        Some(remote) => remote.absent(&batch).await?,
                        None => batch.clone(),
                    };
                    if course == Course::All {
                        let there = present(batch, &absent);
                        reader.clone().read_here(there, to.clone()).await?;
                    }
                    reader.read(absent, to).await
                });
            }
            let read = match calls.next().await? {
                None => return Ok(walk),
                Some(Event::Ended(())) => continue,
                Some(Event::Came(read)) => read,
            };
            let take = move || walk.take(read).map(|found| (walk, found));
            let (back, found) = self.pool.run(take).await?;
            walk = back;
            waiting.extend(found.below);
            if let Some(uploads) = &mut uploads {
                for file in found.files {
                    uploads.begin(file).await?;
                }
            }
        }
    }

    /// Makes what was sent part of the remote. If it lost what it took in an earlier attempt, that is checked here, as it
    /// was not in the beginning, and sent again.
    async fn add(
        &self,
        files: Vec<ListedFile>,
        again: Vec<OutgoingFile>,
    ) -> Result<(), TransferError> {
        if files.is_empty() {
            return Ok(());
        }
        match self.remote.add_files(&files).await {
            Err(error) if !again.is_empty() && may_lack_files(error.kind()) => {
                for file in again {
                    check(&file, &self.folder, &self.pool).await?;
                    self.remote.upload(&file).await?;
                }
                self.remote.add_files(&files).await?;
            }
            added => added?,
        }
        Ok(())
    }
}

/// Those of a batch that are not absent.
fn present(batch: Vec<ChunkAddress>, absent: &[ChunkAddress]) -> Vec<ChunkAddress> {
    let absent: HashSet<_> = absent.iter().collect();
    let mut present = batch;
    present.retain(|address| !absent.contains(address));
    present
}

/// Whether a remote that answers so may have lost files that it took.
fn may_lack_files(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Corrupt
    )
}

/// Checks what an earlier attempt finished and did not send, and forgets what a crash of the machine damaged.
async fn check_unsent(
    mut outgoing: Outgoing,
    pool: &BlockingPool,
) -> Result<Outgoing, TransferError> {
    let folder = outgoing.folder().to_owned();
    let mut damaged = Vec::new();
    for file in outgoing.unsent() {
        match check(&file, &folder, pool).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => damaged.push(file.path),
            checked => checked?,
        }
    }
    let forget = move || outgoing.forget(&damaged).map(|()| outgoing);
    Ok(pool.run(forget).await?)
}

/// Checks every chunk of a file.
async fn check(file: &OutgoingFile, spill: &Path, pool: &BlockingPool) -> Result<(), CheckError> {
    check_file(&file.path, file.kind, spill, pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt as _;

    use bytes::Bytes;
    use holdfast_chunkstore::hash::hash_chunk;

    use super::outgoing::note_sent;
    use super::*;

    #[tokio::test]
    async fn a_kept_file_whose_data_is_zeros_is_made_again_unless_it_was_sent() {
        let place = tempfile::tempdir().unwrap();
        let outgoing = place.path().join("outgoing");
        let pool = BlockingPool::new(2);
        let open = || Outgoing::open(&outgoing, "http://host.test/a/b", &[], true).unwrap();
        let folder = open().folder().to_owned();
        let make = |chunk: &'static [u8]| {
            let chunk = (hash_chunk(chunk), Bytes::from_static(chunk));
            write_small(&folder, &[chunk]).unwrap()
        };
        let files = [make(b"whole"), make(b"damaged"), make(b"damaged and sent")];
        for file in &files[1..] {
            let data_len = usize::try_from(file.data_len).unwrap();
            let opened = OpenOptions::new().write(true).open(&file.path).unwrap();
            opened.write_all_at(&vec![0; data_len], 0).unwrap();
        }
        note_sent(&open().notes(), files[2].id).unwrap();

        let opened = open();
        assert_eq!(opened.kept().len(), 3);
        let checked = check_unsent(opened, &pool).await.unwrap();
        let mut kept: Vec<_> = checked.kept().iter().map(|file| file.id).collect();
        kept.sort_unstable();
        let mut good = [files[0].id, files[2].id];
        good.sort_unstable();
        assert_eq!(kept, good);
        assert!(checked.has(hash_chunk(b"whole")).unwrap());
        assert!(!checked.has(hash_chunk(b"damaged")).unwrap());
        assert!(checked.has(hash_chunk(b"damaged and sent")).unwrap());
        assert!(!files[1].path.exists());
    }
}
