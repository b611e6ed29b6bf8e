//! One repository: its state, confirmed.
//!
//! The state is what was last seen of the log. [`Repository::state`] confirms it by asking for the next
//! record; calls that arrive together share one question. [`Repository::recent_state`] is content with a
//! state that was confirmed within the last minute: enough for "present", since files only ever grow.
//! In an exclusive store nobody else writes, and what we last wrote is the last: unless we have tried to write
//! a later record and not seen it yet. Such a record may still arrive long after its writer was told of a failure
//! or went away, so every question goes to the log until a record with that number is seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::address::TableFileId;
use crate::clock::Timestamp;
use crate::id::{PoolId, RepoId};
use crate::repo::catalog::Binding;
use crate::repo::damage::DamagedFiles;
use crate::repo::error::RepositoryError;
use crate::repo::expiry::Expiry;
use crate::repo::locate::Named;
use crate::repo::log::Log;
use crate::repo::merge::Merging;
use crate::repo::name::RepoName;
use crate::repo::parts::Parts;
use crate::repo::record::{Record, RefMove};
use crate::repo::release::Lacking;
use crate::repo::state::State;
use crate::repo::twins::Twins;
use crate::repo::uploads::UploadNote;

/// How long a confirmed state serves for answers of "present".
const RECENT: Duration = Duration::from_mins(1);
/// How many notes of uploads that no record names yet are kept at hand.
const NOTES_KEPT: usize = 256;

/// One repository. Clones are the same.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of one repository share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) name: RepoName,
    pub(crate) repo: RepoId,
    pub(crate) pool: PoolId,
    pub(crate) log: Log,
    /// One append at a time from this process; other servers are held off by the log itself.
    pub(crate) appending: tokio::sync::Mutex<()>,
    /// What is known of merges of small files.
    pub(crate) merging: Merging,
    /// One rebuild of a file's index entries at a time.
    pub(crate) filling: tokio::sync::Mutex<()>,
    /// Uploads that this process checked and no record named when they were noted.
    pub(crate) notes: quick_cache::sync::Cache<TableFileId, Arc<UploadNote>>,
    /// The classic twins that are known.
    pub(crate) twins: Twins,
    /// The damaged files of the forge.
    pub(crate) damaged: Arc<DamagedFiles>,
    /// What is known of what the repository lacks because of them.
    pub(crate) lacking: Lacking,
    /// What is known of the files that are on their way out.
    pub(crate) expiry: Expiry,
    /// The files of one state.
    pub(crate) named: parking_lot::Mutex<Option<NamedAt>>,
    /// How many rounds of confirmation have begun.
    rounds: AtomicU64,
    /// The highest number of a record that this process has tried to write: it may be there, now or later.
    attempted: AtomicU64,
    seen: tokio::sync::Mutex<Option<Seen>>,
}

/// The files of the state with a sequence, after so many changes of the damaged files.
pub(crate) type NamedAt = ((u64, u64), Arc<Named>);

#[derive(Debug)]
struct Seen {
    state: Arc<State>,
    /// The round of confirmation that last confirmed it.
    round: u64,
    /// When that round began.
    at: Duration,
    /// The date at that time: the other clock stands still while the machine sleeps.
    date: Timestamp,
}

impl Shared {
    pub(crate) fn new(
        parts: Parts,
        damaged: Arc<DamagedFiles>,
        name: RepoName,
        binding: Binding,
    ) -> Self {
        let log = Log::new(
            Arc::clone(&parts.objects),
            Arc::clone(&parts.clock),
            binding.repo,
        );
        Self {
            parts,
            name,
            repo: binding.repo,
            pool: binding.pool,
            log,
            appending: tokio::sync::Mutex::default(),
            merging: Merging::default(),
            filling: tokio::sync::Mutex::default(),
            notes: quick_cache::sync::Cache::new(NOTES_KEPT),
            twins: Twins::default(),
            damaged,
            lacking: Lacking::default(),
            expiry: Expiry::default(),
            named: parking_lot::Mutex::default(),
            rounds: AtomicU64::new(0),
            attempted: AtomicU64::new(0),
            seen: tokio::sync::Mutex::default(),
        }
    }
}

impl Repository {
    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Its id.
    pub fn id(&self) -> RepoId {
        self.shared.repo
    }

    /// Where its files are.
    pub fn pool(&self) -> PoolId {
        self.shared.pool
    }

    /// Its name.
    pub fn name(&self) -> &RepoName {
        &self.shared.name
    }

    /// The state after the last record that was there when this was called, or a later one.
    pub async fn state(&self) -> Result<Arc<State>, RepositoryError> {
        let asked = self.shared.rounds.load(Ordering::SeqCst);
        let mut seen = self.shared.seen.lock().await;
        if let Some(seen) = &*seen
            && (seen.round > asked || self.is_surely_last(&seen.state))
        {
            return Ok(Arc::clone(&seen.state));
        }
        let round = self.shared.rounds.fetch_add(1, Ordering::SeqCst) + 1;
        let clock = &self.shared.parts.clock;
        let (at, date) = (clock.monotonic(), clock.now());
        let state = self.read_on(seen.as_ref().map(|seen| &seen.state)).await?;
        *seen = Some(Seen {
            state: Arc::clone(&state),
            round,
            at,
            date,
        });
        Ok(state)
    }

    async fn read_on(&self, seen: Option<&Arc<State>>) -> Result<Arc<State>, RepositoryError> {
        let Some(seen) = seen else {
            return Ok(Arc::new(self.shared.log.load().await?));
        };
        match self.shared.log.next(seen).await? {
            Some(next) => Ok(Arc::new(self.shared.log.catch_up(next).await?)),
            None => Ok(Arc::clone(seen)),
        }
    }

    /// Whether there can be no later record than the one that gave this state.
    fn is_surely_last(&self, state: &State) -> bool {
        self.shared.parts.objects.is_exclusive()
            && state.sequence >= self.shared.attempted.load(Ordering::SeqCst)
    }

    /// A state that was the last one at some time within the last minute.
    pub async fn recent_state(&self) -> Result<Arc<State>, RepositoryError> {
        let clock = &self.shared.parts.clock;
        if let Some(seen) = &*self.shared.seen.lock().await
            && clock.monotonic().saturating_sub(seen.at) < RECENT
            && clock.now().since(seen.date) < RECENT
        {
            return Ok(Arc::clone(&seen.state));
        }
        self.state().await
    }

    /// The time, and not before that of a state: by the clock of one server a file is old that another has just stored.
    pub(crate) fn time_of(&self, state: &State) -> Timestamp {
        self.shared.parts.clock.now().max(state.time)
    }

    /// Reads one record of the log, or nothing where there is none.
    pub async fn history(&self, sequence: u64) -> Result<Option<Record>, RepositoryError> {
        Ok(self
            .shared
            .log
            .read(sequence)
            .await?
            .map(|(record, _)| record))
    }

    /// Reads all refs that a record moved.
    pub async fn moved_refs(&self, record: &Record) -> Result<Vec<RefMove>, RepositoryError> {
        self.shared.log.list(&record.refs).await
    }

    /// Notes that a record is about to be written: from here on nobody may take an earlier one for the last.
    pub(crate) fn attempts(&self, sequence: u64) {
        self.shared.attempted.fetch_max(sequence, Ordering::SeqCst);
    }

    /// Notes a state that an append has shown.
    pub(crate) async fn saw(&self, state: State) -> Arc<State> {
        let mut seen = self.shared.seen.lock().await;
        match &mut *seen {
            Some(seen) if seen.state.sequence >= state.sequence => Arc::clone(&seen.state),
            Some(seen) => {
                seen.state = Arc::new(state);
                Arc::clone(&seen.state)
            }
            None => {
                let state = Arc::new(state);
                let clock = &self.shared.parts.clock;
                *seen = Some(Seen {
                    state: Arc::clone(&state),
                    round: 0,
                    at: clock.monotonic(),
                    date: clock.now(),
                });
                state
            }
        }
    }
}
