//! The register and the history of one repository.
//!
//! # Truth
//! The records `1..=n` under the repository's log. Each is an object that was created if absent, so there is
//! one order of changes whatever servers write; the state is what replaying them gives.
//!
//! # Order
//! Whatever a record names is durable before the record is written. Lists beside a record are created before
//! it, under names that hold its stamp.
//!
//! # Crash
//! Before the record: nothing happened; files and side objects that nobody names are left. After it: the
//! change is there, acknowledged or not.
//!
//! # Cleanup
//! None here. Records and the lists of what they do are never changed and never deleted: a server that was paused for a
//! month asks for "the next one" and must find it. The lists beside a checkpoint are deleted when there are two newer
//! ones ([`crate::repo::expiry`]).
//!
//! # Retry
//! A failed create says nothing about its effect. It is repeated with the same stamp; if something stands
//! there then, the stamp tells whether it is ours. Losing a race is a result, not an error.

mod checkpoint;
mod end;

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::address::RootAddress;
use crate::clock::Clock;
use crate::error::ErrorKind;
use crate::id::{RepoId, Stamp, UploadId};
use crate::objects::{ObjectError, ObjectStore, ObjectStoreExt as _};
use crate::pool::BlockingPool;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::{Sha256, StoredFile};
use crate::repo::layout;
use crate::repo::recent::{RecentMoves, RootMove};
use crate::repo::record::{
    Act, Actor, CHECKPOINT_EVERY, Listed, MAX_LEN, Record, RecordError, RefMove, digest,
};
use crate::repo::side::SideLists;
use crate::repo::state::{Delta, State};
pub(crate) use end::decode_hint;

/// How many records are read at once.
const READ_AHEAD: usize = 16;
/// How many long records and lists are encoded or decoded at once.
const CODING_THREADS: usize = 2;
/// A record of at most so many bytes is decoded where it arrives.
const CODED_AT_ONCE: usize = 32 << 10;
/// How often a load is begun, of a log that grows by several checkpoints meanwhile.
const LOADS: u32 = 4;
/// How often a create whose effect is unknown is tried again.
const CREATE_ATTEMPTS: u32 = 4;

/// A change that is to become the next record.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What kind of change.
    pub act: Act,
    /// Who asks for it.
    pub actor: Actor,
    /// The root after it.
    pub new_root: RootAddress,
    /// The refs that it moves.
    pub refs: Vec<RefMove>,
    /// The files that it adds.
    pub added: Vec<StoredFile>,
    /// The files that it retires.
    pub retired: Vec<UploadId>,
    /// The files that it releases.
    pub released: Vec<UploadId>,
    /// What it says that is deleted.
    pub deletions: Deletions,
}

/// Objects of the past that are deleted for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// Files that were released.
    pub files: Vec<UploadId>,
    /// The lists beside all checkpoints up to this record, where that is more than before.
    pub checkpoints: Option<u64>,
}

impl Draft {
    fn delta(&self) -> Delta {
        Delta {
            added: self.added.clone(),
            retired: self.retired.clone(),
            released: self.released.clone(),
            deleted: self.deletions.files.clone(),
        }
    }
}

/// What became of an attempt to append.
#[derive(Debug)]
pub enum Appended {
    /// The draft is the next record, and this is the state after it.
    Won(State),
    /// Somebody else's record is the next one, and this is the state after it.
    Lost(State),
}

/// The log of one repository.
#[derive(Debug, Clone)]
pub struct Log {
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    repo: RepoId,
    recent: Arc<RecentMoves>,
    /// Threads for what long records and lists take to encode, decode and hash.
    pool: BlockingPool,
}

impl Log {
    /// Names the log of `repo`; reads nothing.
    pub fn new(objects: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, repo: RepoId) -> Self {
        Self {
            objects,
            clock,
            repo,
            recent: Arc::default(),
            pool: BlockingPool::new(CODING_THREADS),
        }
    }

    /// Reads the state after the last record. The last one is found from the hint by doubling and bisection;
    /// then one short list shows that nothing stands behind it. Fails if a record was lost: the next change
    /// would take its place, and those after it would follow nothing.
    pub async fn load(&self) -> Result<State, RepositoryError> {
        let mut last = self.last_sequence().await?;
        for _ in 1..LOADS {
            match self.load_at(last).await {
                // So many records came meanwhile that what stood beside the checkpoint was deleted.
                Err(RepositoryError::Object {
                    source: ObjectError::NotFound { .. },
                    ..
                }) if self.exists(last + CHECKPOINT_EVERY).await? => {
                    last = self.last_sequence().await?;
                }
                loaded => return loaded,
            }
        }
        self.load_at(last).await
    }

    /// Reads the state after record `last`, which is known to be there (or 0).
    pub async fn load_at(&self, last: u64) -> Result<State, RepositoryError> {
        let base = last - last % CHECKPOINT_EVERY;
        let mut state = if base == 0 {
            State::empty()
        } else {
            self.load_checkpoint(base).await?
        };
        let mut reads = self.read_many(state.sequence + 1..=last);
        while let Some(read) = reads.try_next().await? {
            let next = state.sequence + 1;
            let (record, digest) =
                read.ok_or_else(|| self.lost(next, "later records are there"))?;
            state = self.follow(state, &record, digest).await?;
        }
        Ok(state)
    }

    /// Reads the record after `state` and returns the state after it, or nothing if `state` is the last.
    pub async fn next(&self, state: &State) -> Result<Option<State>, RepositoryError> {
        let Some((record, digest)) = self.read(state.sequence + 1).await? else {
            return Ok(None);
        };
        let after = self.follow(state.clone(), &record, digest).await?;
        Ok(Some(after))
    }

    /// Reads on from `state` to the last record: the more there are, the more at once.
    pub async fn catch_up(&self, mut state: State) -> Result<State, RepositoryError> {
        let mut at_once = 1;
        loop {
            let mut reads = self.read_many(state.sequence + 1..=state.sequence + at_once);
            while let Some(read) = reads.try_next().await? {
                let Some((record, digest)) = read else {
                    return Ok(state);
                };
                state = self.follow(state, &record, digest).await?;
            }
            at_once = (2 * at_once).min(READ_AHEAD as u64);
        }
    }

    /// The state after `record`, which must be the one after `state`.
    async fn follow(
        &self,
        state: State,
        record: &Record,
        digest: Sha256,
    ) -> Result<State, RepositoryError> {
        self.check_link(record, &state)?;
        let delta = self.delta(record).await?;
        self.recent.remember(record);
        Ok(state.after(record, digest, delta))
    }

    /// Reads what a record does to the files.
    pub async fn delta(&self, record: &Record) -> Result<Delta, RepositoryError> {
        Ok(Delta {
            added: self.list(&record.added).await?,
            retired: self.list(&record.retired).await?,
            released: self.list(&record.released).await?,
            deleted: self.list(&record.deleted).await?,
        })
    }

    /// Reads records and their digests in order, several at a time; nothing where there is none.
    pub fn read_many(
        &self,
        sequences: RangeInclusive<u64>,
    ) -> BoxStream<'static, Result<Option<(Record, Sha256)>, RepositoryError>> {
        let log = self.clone();
        let read = move |sequence| {
            let log = log.clone();
            async move { log.read(sequence).await }
        };
        stream::iter(sequences)
            .map(read)
            .buffered(READ_AHEAD)
            .boxed()
    }

    /// What records that are there did to the root, in order. The newest are at hand; others are read, several
    /// at a time.
    pub(crate) async fn root_moves(
        &self,
        sequences: RangeInclusive<u64>,
    ) -> Result<Vec<Arc<RootMove>>, RepositoryError> {
        let log = self.clone();
        let root_move = move |sequence| {
            let log = log.clone();
            async move { log.root_move(sequence).await }
        };
        let moves = stream::iter(sequences).map(root_move);
        moves.buffered(READ_AHEAD).try_collect().await
    }

    async fn root_move(&self, sequence: u64) -> Result<Arc<RootMove>, RepositoryError> {
        if let Some(moved) = self.recent.get(sequence) {
            return Ok(moved);
        }
        let read = self.read(sequence).await?;
        let (record, _) = read.ok_or_else(|| self.lost(sequence, "later records are there"))?;
        Ok(self.recent.remember(&record))
    }

    /// Reads one record and its digest, or nothing where there is none.
    pub async fn read(&self, sequence: u64) -> Result<Option<(Record, Sha256)>, RepositoryError> {
        let key = layout::record(self.repo, sequence);
        let bytes = match self.objects.read(&key, None, MAX_LEN).await {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(object("read a log record")(error)),
        };
        let decoded = if bytes.len() <= CODED_AT_ONCE {
            (Record::decode(&key, &bytes), digest(&bytes))
        } else {
            let key = key.clone();
            let decode = move || (Record::decode(&key, &bytes), digest(&bytes));
            self.pool.run(decode).await
        };
        let (record, digest) = decoded;
        let record = record.map_err(|source| RepositoryError::Log { source })?;
        if record.sequence == sequence {
            Ok(Some((record, digest)))
        } else {
            Err(RepositoryError::Log {
                source: RecordError::Chain {
                    key,
                    what: "its sequence is another",
                },
            })
        }
    }

    /// Reads a list, wherever it stands.
    pub async fn list<T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static>(
        &self,
        listed: &Listed<T>,
    ) -> Result<Vec<T>, RepositoryError> {
        self.side_lists().read(listed).await
    }

    /// Tries to make `draft` the record after `state`.
    pub async fn append(
        &self,
        state: &State,
        draft: &Draft,
        stamp: Stamp,
    ) -> Result<Appended, RepositoryError> {
        let record = self.compose(state, draft, stamp).await?;
        let encode = move || {
            let bytes = record.encode();
            let digest = digest(&bytes);
            (record, bytes, digest)
        };
        let (record, bytes, digest) = self.pool.run(encode).await;
        let len = bytes.len() as u64;
        // What could not be read again would end the log.
        if len > MAX_LEN {
            return Err(RepositoryError::TooLong {
                what: "its record",
                len,
                max: MAX_LEN,
            });
        }
        let after = state.clone().after(&record, digest, draft.delta());
        if self.create(record.sequence, stamp, bytes).await? {
            self.recent.remember(&record);
            if record.checkpoint.is_some() {
                self.leave_hint(record.sequence).await;
            }
            return Ok(Appended::Won(after));
        }
        let next = self.next(state).await?.ok_or_else(|| {
            object("read the record that won the race")(ObjectError::NotFound {
                key: layout::record(self.repo, record.sequence),
            })
        })?;
        Ok(Appended::Lost(self.catch_up(next).await?))
    }

    async fn compose(
        &self,
        state: &State,
        draft: &Draft,
        stamp: Stamp,
    ) -> Result<Record, RepositoryError> {
        let sequence = state.sequence + 1;
        let side = self.side_lists();
        let mut record = Record {
            version: 0,
            sequence,
            time: self.clock.now().max(state.time),
            stamp,
            previous: state.digest,
            act: draft.act,
            actor: draft.actor.clone(),
            old_root: state.root,
            new_root: draft.new_root,
            refs: side.set_aside(stamp, "refs", &draft.refs).await?,
            added: side.set_aside(stamp, "added", &draft.added).await?,
            retired: side.set_aside(stamp, "retired", &draft.retired).await?,
            released: side.set_aside(stamp, "released", &draft.released).await?,
            deleted: side
                .set_aside(stamp, "deleted", &draft.deletions.files)
                .await?,
            cleared: draft.deletions.checkpoints,
            checkpoint: None,
        };
        record.version = record.lowest_version();
        if sequence.is_multiple_of(CHECKPOINT_EVERY) {
            let after = state.clone();
            let after = after.after(&record, Sha256([0; 32]), draft.delta());
            record.checkpoint = Some(checkpoint::write(&side, stamp, after).await?);
            record.version = record.lowest_version();
        }
        Ok(record)
    }

    fn side_lists(&self) -> SideLists {
        SideLists {
            objects: Arc::clone(&self.objects),
            repo: self.repo,
            pool: self.pool.clone(),
        }
    }

    /// Creates a record. Whether it is ours that stands there now.
    async fn create(
        &self,
        sequence: u64,
        stamp: Stamp,
        bytes: Bytes,
    ) -> Result<bool, RepositoryError> {
        let key = layout::record(self.repo, sequence);
        let mut attempt = 1;
        loop {
            match self.objects.create(&key, bytes.clone()).await {
                Ok(()) => return Ok(true),
                Err(ObjectError::AlreadyExists { .. }) => break,
                Err(error)
                    if error.kind() == ErrorKind::Unavailable && attempt < CREATE_ATTEMPTS =>
                {
                    self.clock
                        .sleep(std::time::Duration::from_millis(50 << attempt))
                        .await;
                    attempt += 1;
                }
                Err(error) => return Err(object("append to the log")(error)),
            }
        }
        // A first attempt can have no echo: only a repeated one may find its own record.
        if attempt == 1 {
            return Ok(false);
        }
        let (record, _) = self.read(sequence).await?.ok_or_else(|| {
            object("read back the record that was just created")(ObjectError::NotFound { key })
        })?;
        Ok(record.stamp == stamp)
    }

    fn check_link(&self, record: &Record, state: &State) -> Result<(), RepositoryError> {
        let what = if record.previous != state.digest {
            "it names another record as the one before it"
        } else if record.old_root != state.root {
            "its old root is not the root before it"
        } else if record.time < state.time {
            "it is older than the record before it"
        } else {
            return Ok(());
        };
        let key = layout::record(self.repo, record.sequence);
        Err(RepositoryError::Log {
            source: RecordError::Chain { key, what },
        })
    }
}
