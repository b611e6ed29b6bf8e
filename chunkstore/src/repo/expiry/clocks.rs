//! How old a file is, by the clock of the server and by that of the store.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::repo::error::RepositoryError;
use crate::repo::record::RetiredFile;
use crate::repo::repository::Repository;
use crate::repo::state::State;

/// How far the two clocks may be apart.
const APART: Duration = Duration::from_mins(5);

/// Tells what is old enough by both clocks.
pub(super) struct Ages<'a> {
    repository: &'a Repository,
    keep: Duration,
    /// The time, by the server's clock and by the store's.
    now: [Timestamp; 2],
    /// When records were stored, by the store's clock.
    stored: HashMap<u64, Timestamp>,
}

impl<'a> Ages<'a> {
    /// Asks both clocks. Nothing where they do not agree, which is told.
    pub(super) async fn measure(
        repository: &'a Repository,
        state: &State,
        keep: Duration,
    ) -> Result<Option<Self>, RepositoryError> {
        let shared = &repository.shared;
        let stores = shared.log.store_time(state.sequence).await?;
        let own = shared.parts.clock.now();
        let apart = own.since(stores).max(stores.since(own));
        if apart > APART {
            let (own, stores, repo) = (own.seconds(), stores.seconds(), &shared.name);
            let next = "set the clock of the machine: until then no merged files are deleted";
            tracing::warn!(%repo, own, stores, next, "the clocks of this server and of its object store differ");
            return Ok(None);
        }
        Ok(Some(Self {
            repository,
            keep,
            now: [own, stores],
            stored: HashMap::new(),
        }))
    }

    /// Those of some files that ceased to count long enough ago.
    pub(super) async fn old_of(
        &mut self,
        files: Vec<RetiredFile>,
    ) -> Result<Vec<RetiredFile>, RepositoryError> {
        let mut old = Vec::with_capacity(files.len());
        for file in files {
            if self.now[0].since(file.at) >= self.keep && self.is_old(file.sequence).await? {
                old.push(file);
            }
        }
        Ok(old)
    }

    async fn is_old(&mut self, sequence: u64) -> Result<bool, RepositoryError> {
        let stored = match self.stored.get(&sequence) {
            Some(stored) => *stored,
            None => {
                let stored = self.repository.shared.log.stored_at(sequence).await?;
                self.stored.insert(sequence, stored);
                stored
            }
        };
        Ok(self.now[1].since(stored) >= self.keep)
    }
}
