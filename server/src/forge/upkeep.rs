//! Work that nobody waits for: small files are merged after a push, and damaged ones that nothing needs any more are
//! released.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::id::RepoId;
use holdfast_chunkstore::repo::Repository;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ForgeError;
use super::error;

/// Merges small files, one repository at a time.
#[derive(Debug)]
pub struct Upkeep {
    stopping: CancellationToken,
    tasks: TaskTracker,
    state: Arc<Pending>,
}

#[derive(Debug)]
struct Pending {
    /// Repositories that wait for a merge or have one; each at most once, so the queue is bounded by them.
    repositories: Mutex<HashSet<RepoId>>,
    one: Semaphore,
}

impl Upkeep {
    /// Works until `stopping`.
    pub fn new(stopping: CancellationToken) -> Self {
        Self {
            stopping,
            tasks: TaskTracker::new(),
            state: Arc::new(Pending {
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

    /// Sees to a repository that has changed. Returns at once.
    pub fn look_at(&self, repository: Repository) {
        if self.tasks.is_closed() || !self.state.repositories.lock().insert(repository.id()) {
            return;
        }
        let (pending, stopping) = (Arc::clone(&self.state), self.stopping.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = pending.see_to(&repository) => {}
            }
            pending.repositories.lock().remove(&repository.id());
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
