//! Work that no caller waits for: small files are merged after a push, and files that nothing needs any more are released
//! and deleted: damaged ones, and what was merged away when no address of it is good any more. A repository for which
//! it is too early is looked at again when it is time, also where no request comes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::id::RepoId;
use holdfast_chunkstore::repo::expiry::{Expired, MARGIN, OFFERED};
use holdfast_chunkstore::repo::{Repositories, Repository};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ForgeError;
use super::addresses::DOWNLOAD_VALID;
use super::error;
use crate::settings::LEAST_KEPT;

const _: () = assert!(
    LEAST_KEPT.as_secs() >= OFFERED.as_secs() + DOWNLOAD_VALID.as_secs() + MARGIN.as_secs(),
    "files stay until no address of them is good any more"
);

/// A repository is not looked at again sooner than after this.
const SOONEST: Duration = Duration::from_mins(1);

/// Merges small files, and releases and deletes what counts no more, one repository at a time.
#[derive(Debug)]
pub struct Upkeep {
    stopping: CancellationToken,
    tasks: TaskTracker,
    state: Arc<Pending>,
}

#[derive(Debug)]
struct Pending {
    all: Repositories,
    /// How long files stay that count no more.
    keep: Duration,
    /// Repositories that are to be looked at again when it is time; each at most once.
    waiting: Mutex<HashSet<RepoId>>,
    /// Repositories that wait for a merge or have one; each at most once, so the queue is bounded by them.
    repositories: Mutex<HashSet<RepoId>>,
    one: Semaphore,
}

impl Upkeep {
    /// Works on these repositories until `stopping`; files that count no more stay for `keep`.
    pub fn new(all: Repositories, keep: Duration, stopping: CancellationToken) -> Self {
        Self {
            stopping,
            tasks: TaskTracker::new(),
            state: Arc::new(Pending {
                all,
                keep,
                waiting: Mutex::default(),
                repositories: Mutex::default(),
                one: Semaphore::new(1),
            }),
        }
    }

    /// Does something beside all else, until it is done or the server stops. Returns at once.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Whether a repository has files that count no more and are there still.
    pub async fn is_waited_for(&self, repository: &Repository) -> bool {
        let wait = repository.until_release(self.state.keep).await;
        wait.is_some()
    }

    /// Sees to a repository that has changed. Returns at once.
    pub fn look_at(&self, repository: Repository) {
        if self.tasks.is_closed() || !self.state.repositories.lock().insert(repository.id()) {
            return;
        }
        let (pending, stopping) = (Arc::clone(&self.state), self.stopping.clone());
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = pending.see_to(&repository) => {}
            }
            pending.repositories.lock().remove(&repository.id());
            pending.look_again(&repository, &tasks, &stopping).await;
        });
    }

    /// Takes no more work and waits for what runs; it is broken off if the server is stopping.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Pending {
    async fn see_to(&self, repository: &Repository) {
        if repository.has_damage().await {
            self.release(repository).await;
        }
        self.merge(repository).await;
        if repository.until_release(self.keep).await == Some(Duration::ZERO) {
            self.release_retired(repository).await;
        }
    }

    /// Sees to a repository once more when files of it may be released.
    async fn look_again(
        self: &Arc<Self>,
        repository: &Repository,
        tasks: &TaskTracker,
        stopping: &CancellationToken,
    ) {
        let Some(wait) = repository.until_release(self.keep).await else {
            return;
        };
        let id = repository.id();
        if tasks.is_closed() || !self.waiting.lock().insert(id) {
            return;
        }
        // The handle may be let go meanwhile: there may be many repositories.
        let name = repository.name().clone();
        let (pending, stopped) = (Arc::clone(self), stopping.clone());
        let upkeep = Upkeep {
            stopping: stopping.clone(),
            tasks: tasks.clone(),
            state: Arc::clone(self),
        };
        let again = async move {
            let clock = Arc::clone(&pending.all.parts().clock);
            clock.sleep(wait.max(SOONEST)).await;
            pending.waiting.lock().remove(&id);
            match pending.all.find(&name).await {
                Ok(Some(repository)) => upkeep.look_at(repository),
                Ok(None) => {}
                Err(error) => error::log(&ForgeError::Repository(error)),
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = again => {}
            }
        });
    }

    async fn release_retired(&self, repository: &Repository) {
        let Ok(_permit) = self.one.acquire().await else {
            return;
        };
        match repository.release_retired(self.keep).await {
            Ok(Expired {
                released: 0,
                deleted: 0,
                ..
            }) => {}
            Ok(Expired {
                released,
                deleted,
                forgotten,
            }) => {
                tracing::info!(
                    repo = %repository.name(), released, deleted, forgotten,
                    "files that count no more are released and deleted"
                );
            }
            Err(error) => error::log(&ForgeError::Repository(error)),
        }
    }

    /// Releases damaged files that nothing needs any more. That takes reading the repository.
    async fn release(&self, repository: &Repository) {
        let Ok(_permit) = self.one.acquire().await else {
            return;
        };
        match repository.release_damaged().await {
            Ok(0) => {}
            Ok(files) => {
                tracing::info!(repo = %repository.name(), files, "damaged data files are replaced and released");
            }
            Err(error) => error::log(&ForgeError::Repository(error)),
        }
    }

    async fn merge(&self, repository: &Repository) {
        if !repository.is_merge_due().await {
            return;
        }
        let Ok(_permit) = self.one.acquire().await else {
            return;
        };
        loop {
            match repository.merge().await {
                Ok(Some(merged)) => {
                    let (parts, len) = (merged.parts, merged.file.len);
                    tracing::info!(repo = %repository.name(), parts, len, "small files merged");
                }
                Ok(None) => return,
                Err(failure) => return error::log(&ForgeError::Upload(failure)),
            }
        }
    }
}
