//! Files on their way, a few at once.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::pool::BlockingPool;
use tokio::task::JoinSet;

use super::outgoing::note_sent;
use crate::remote::{OutgoingFile, Remote, RemoteError};
use crate::transfer::error::TransferError;
use crate::transfer::events::{Observer, TransferEvent};
use crate::transfer::reads::joined;

/// How many files are sent at once.
const UPLOADS: usize = 3;

/// Files that are being sent.
pub(super) struct Uploads {
    remote: Arc<dyn Remote>,
    pool: BlockingPool,
    observer: Arc<dyn Observer>,
    notes: PathBuf,
    running: JoinSet<Result<OutgoingFile, RemoteError>>,
    files: Vec<ListedFile>,
}

impl Uploads {
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        pool: BlockingPool,
        observer: Arc<dyn Observer>,
        notes: PathBuf,
    ) -> Self {
        Self {
            remote,
            pool,
            observer,
            notes,
            running: JoinSet::new(),
            files: Vec::new(),
        }
    }

    /// Counts a file that the remote took in an earlier attempt.
    pub(super) fn note(&mut self, file: &OutgoingFile) {
        self.files.push(listed(file));
    }

    /// Begins to send a file, after others if there are too many.
    pub(super) async fn begin(&mut self, file: OutgoingFile) -> Result<(), TransferError> {
        while self.running.len() >= UPLOADS {
            self.wait_for_one().await?;
        }
        self.observer
            .tell(TransferEvent::Expected { bytes: file.len });
        let remote = Arc::clone(&self.remote);
        self.running
            .spawn(async move { remote.upload(&file).await.map(|_| file) });
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), TransferError> {
        let Some(uploaded) = self.running.join_next().await else {
            return Ok(());
        };
        let file = joined(uploaded)??;
        self.observer.tell(TransferEvent::Sent { bytes: file.len });
        let (notes, id): (_, TableFileId) = (self.notes.clone(), file.id);
        self.pool.run(move || note_sent(&notes, id)).await?;
        self.files.push(listed(&file));
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Vec<ListedFile>, TransferError> {
        while !self.running.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(self.files)
    }
}

pub(super) fn listed(file: &OutgoingFile) -> ListedFile {
    ListedFile {
        id: file.id,
        chunks: file.chunks,
    }
}
