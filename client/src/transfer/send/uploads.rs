//! Files on their way, a few at once, and made part of the remote in the order in which they were made.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::pool::BlockingPool;
use tokio::task::JoinSet;

use super::kept::forget;
use super::pace::{FileLength, Pace};
use crate::remote::{OutgoingFile, Remote, RemoteError};
use crate::transfer::error::TransferError;
use crate::transfer::events::{Observer, TransferEvent};
use crate::transfer::reads::joined;

/// How long what has arrived may wait to become part of the remote: each time is a change of it.
const ADD_EVERY: Duration = Duration::from_millis(250);

/// How many groups may lie here that are not part of the remote.
const GROUPS: usize = 64;

/// Files that become part of the remote together.
#[derive(Debug)]
struct Group {
    files: Vec<OutgoingFile>,
    /// How many of them have not arrived.
    left: usize,
    /// Whether an earlier attempt made them, and the remote may have forgotten that it took them.
    is_kept: bool,
}

/// A file that arrived.
#[derive(Debug)]
struct Arrived {
    group: u64,
    len: u64,
    took: Duration,
}

/// Files that are being sent.
pub(super) struct Uploads {
    remote: Arc<dyn Remote>,
    pool: BlockingPool,
    observer: Arc<dyn Observer>,
    clock: SystemClock,
    pace: Pace,
    running: JoinSet<Result<Arrived, RemoteError>>,
    /// Those that are not part of the remote, in their order.
    groups: VecDeque<Group>,
    /// The number of the first.
    first: u64,
    /// At most one call, which makes so many groups part of the remote.
    adding: JoinSet<Result<usize, RemoteError>>,
    added_at: Duration,
}

impl Uploads {
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        pool: BlockingPool,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let clock = SystemClock::new();
        Self {
            pace: Pace::new(remote.first_file_bytes()),
            remote,
            pool,
            observer,
            added_at: clock.monotonic(),
            clock,
            running: JoinSet::new(),
            groups: VecDeque::new(),
            first: 0,
            adding: JoinSet::new(),
        }
    }

    /// How long files are to be.
    pub(super) fn length(&self) -> &FileLength {
        self.pace.length()
    }

    /// Begins to send files that hold everything below their chunks, with those before them; after others if there are
    /// too many.
    pub(super) async fn begin(&mut self, files: Vec<OutgoingFile>) -> Result<(), TransferError> {
        self.begin_group(files, false).await
    }

    /// Sends what an earlier attempt left, and makes it part of the remote.
    pub(super) async fn send_kept(
        &mut self,
        files: Vec<OutgoingFile>,
    ) -> Result<(), TransferError> {
        self.begin_group(files, true).await?;
        self.drain().await
    }

    async fn begin_group(
        &mut self,
        files: Vec<OutgoingFile>,
        is_kept: bool,
    ) -> Result<(), TransferError> {
        if files.is_empty() {
            return Ok(());
        }
        while self.groups.len() >= GROUPS {
            self.add(Duration::ZERO);
            self.wait().await?;
        }
        let group = self.first + self.groups.len() as u64;
        self.groups.push_back(Group {
            left: files.len(),
            files: files.clone(),
            is_kept,
        });
        for file in files {
            while self.running.len() >= self.pace.at_once() {
                self.wait().await?;
            }
            self.observer
                .tell(TransferEvent::Expected { bytes: file.len });
            let (remote, clock) = (Arc::clone(&self.remote), self.clock);
            self.running.spawn(async move {
                let begun = clock.monotonic();
                remote.upload(&file).await?;
                Ok(Arrived {
                    group,
                    len: file.len,
                    took: clock.monotonic().saturating_sub(begun),
                })
            });
        }
        Ok(())
    }

    /// Waits until all that was begun is part of the remote.
    pub(super) async fn finish(mut self) -> Result<(), TransferError> {
        self.drain().await
    }

    async fn drain(&mut self) -> Result<(), TransferError> {
        while !self.groups.is_empty() {
            if self.running.is_empty() {
                self.add(Duration::ZERO);
            }
            self.wait().await?;
        }
        Ok(())
    }

    /// Waits until something arrived or became part of the remote.
    async fn wait(&mut self) -> Result<(), TransferError> {
        tokio::select! {
            Some(arrived) = self.running.join_next() => {
                let arrived = joined(arrived)??;
                self.pace.arrived(arrived.len, arrived.took);
                self.observer.tell(TransferEvent::Sent { bytes: arrived.len });
                let place = usize::try_from(arrived.group - self.first);
                self.groups[place.expect("groups are few")].left -= 1;
                self.add(ADD_EVERY);
            }
            Some(added) = self.adding.join_next() => {
                let count = joined(added)??;
                self.first += count as u64;
                let files = self.groups.drain(..count).flat_map(|group| group.files);
                let paths: Vec<PathBuf> = files.map(|file| file.path).collect();
                self.pool.run(move || forget(&paths)).await?;
            }
            else => {}
        }
        Ok(())
    }

    /// Begins to make what has arrived part of the remote, if that was begun `every` so long ago, and is not under way.
    fn add(&mut self, every: Duration) {
        let now = self.clock.monotonic();
        if !self.adding.is_empty() || now.saturating_sub(self.added_at) < every {
            return;
        }
        let ready = self.groups.iter().take_while(|group| group.left == 0);
        let count = ready.clone().count();
        if count == 0 {
            return;
        }
        let is_kept = ready.clone().any(|group| group.is_kept);
        let files: Vec<_> = ready.flat_map(|group| group.files.clone()).collect();
        let remote = Arc::clone(&self.remote);
        self.added_at = now;
        self.adding.spawn(async move {
            match add(&*remote, &files).await {
                // It may have said that it has them, and lost them since.
                Err(error) if is_kept && may_lack_files(error.kind()) => {
                    for file in &files {
                        remote.upload(file).await?;
                    }
                    add(&*remote, &files).await?;
                }
                added => added?,
            }
            Ok(count)
        });
    }
}

async fn add(remote: &dyn Remote, files: &[OutgoingFile]) -> Result<(), RemoteError> {
    let listed = files.iter().map(|file| ListedFile {
        id: file.id,
        chunks: file.chunks,
    });
    let listed: Vec<_> = listed.collect();
    remote.add_files(&listed).await
}

/// Whether a remote that answers so may have lost files that it took.
pub(super) fn may_lack_files(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Corrupt
    )
}
