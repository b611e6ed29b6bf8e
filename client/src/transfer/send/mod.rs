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

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::pool::BlockingPool;

pub(crate) use self::origin::Origin;
use self::outgoing::Outgoing;
pub(crate) use self::outgoing::write_small;
use self::uploads::Uploads;
use self::walk::Walk;
use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::reads::{Event, Reads};
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

impl Sender {
    /// Sends what is missing below `roots`, them included.
    pub(crate) async fn run(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        if self.extent == Extent::DryRun {
            return self.count(roots).await;
        }
        let (folder, address, all) = (self.folder.clone(), self.remote.address(), roots.to_vec());
        let takes_archives = self.takes_archives;
        let open = move || Outgoing::open(&folder, &address, &all, takes_archives);
        let outgoing = self.pool.run(open).await?;
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
        let mut walk = self.walk(walk, roots, Some(&mut uploads)).await?;
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
    async fn count(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        let all = roots.to_vec();
        let walk = self.pool.run(move || Walk::counting(&all)).await?;
        Ok(self.walk(walk, roots, None).await?.sent())
    }

    /// Walks over what is missing, and sends files as they become whole.
    async fn walk(
        &self,
        mut walk: Walk,
        roots: &[ChunkAddress],
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
                        None => batch,
                    };
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

    /// Makes what was sent part of the remote. It may have lost what it took in an earlier attempt.
    async fn add(
        &self,
        files: Vec<ListedFile>,
        again: Vec<OutgoingFile>,
    ) -> Result<(), TransferError> {
        if files.is_empty() {
            return Ok(());
        }
        match self.remote.add_files(&files).await {
            Err(_) if !again.is_empty() => {
                for file in again {
                    self.remote.upload(&file).await?;
                }
                self.remote.add_files(&files).await?;
            }
            added => added?,
        }
        Ok(())
    }
}
