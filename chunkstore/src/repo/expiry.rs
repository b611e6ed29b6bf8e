//! Files that count no more come to an end: released by a record, deleted, and forgotten by the index.
//!
//! ```text
//! files ──merge──▶ retired ──release──▶ released ──delete──▶ gone
//!   └──────────damage, repaired─────────▲
//! ```
//!
//! A merge retires its parts: nothing new is looked for in them, and addresses that were given out stay good. Nobody is
//! given one more after [`OFFERED`]; so after that, the life of an address, and [`MARGIN`], no address of them is good.
//! Then they are released: from there on no server knows them. Their objects are deleted, and nothing but these: the
//! bytes, the classic twins of an archive, the upload's note and the list beside it. The lists beside all checkpoints
//! but the newest two are deleted too, as no reader begins there.
//!
//! # Truth
//! The log. A record releases, a later one says that the objects are deleted; what is between is a list in the state
//! (`State::released`), so that nothing is looked for by listing, and a server that goes on knows what to do.
//!
//! # Order
//! The files that hold the chunks now are read back whole from the store, every chunk is hashed, and every chunk of the
//! files to release is among them: so nothing that was ever pushed is lost. Then the record, only while all of these
//! are named and not damaged. Then the objects, the note last; then the record that says so; then the index.
//!
//! # Crash
//! Before the record nothing happened. After it objects are left that the next round deletes: deleting what is not there
//! succeeds. A key holds a random id and is never used again, so it does no harm if two servers delete it. What the
//! index of a server still holds of files that are gone is found by their markers.
//!
//! # Cleanup
//! This is it. Not deleted are uploads that no record ever named, and lists that were written for a record that lost
//! its race.
//!
//! # Retry
//! A round that failed is tried again after an hour. What cannot be compared, because the file or what held it is
//! damaged, stays until the next start.
//!
//! # Time
//! The age of a file is measured by the server's clock and by the store's: each must say that it is old enough. Where
//! the two are apart by more than five minutes nothing is released, and a WARN says so. A server answers "present" out
//! of a state that is up to a minute old, which is right of released files too: their chunks lie in named ones.

mod clocks;
mod deletion;
mod holders;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::UploadId;
use crate::index::FileSet;
use crate::repo::error::{RepositoryError, index};
use crate::repo::expiry::clocks::Ages;
use crate::repo::expiry::holders::Releasable;
use crate::repo::log::{Deletions, Draft};
use crate::repo::record::{Act, Actor, CHECKPOINT_EVERY, INLINE_LIMIT, RetiredFile};
use crate::repo::repository::Repository;
use crate::repo::state::State;

/// How long after a file was retired a new address of it may be given out, to a client that holds an old one.
pub const OFFERED: Duration = Duration::from_hours(24);
/// What is added to the life of an address: for clocks that differ, for a server whose state is old, and for the answer
/// to a request that came at the last moment.
pub const MARGIN: Duration = Duration::from_hours(2);

/// How long after one round the next begins.
const REST: Duration = Duration::from_hours(1);
/// The most files that one record releases.
const MOST_FILES: usize = INLINE_LIMIT;
/// The most chunks that are compared at once, unless one file has more.
const MOST_CHUNKS: u64 = 1 << 20;
/// The most checkpoints that one record says are cleared.
const MOST_CHECKPOINTS: u64 = 64;
/// How often another change may come between before the round ends.
const ATTEMPTS: u32 = 8;
/// Fewer entries of files that are gone are left in the index.
const LEAST_FORGOTTEN: u64 = 1 << 16;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many files were released.
    pub released: usize,
    /// Of how many files the objects were deleted.
    pub deleted: usize,
    /// How many entries the index forgot.
    pub forgotten: u64,
}

/// What a repository knows of the rounds of this process.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// One round at a time.
    turn: tokio::sync::Mutex<()>,
    memory: parking_lot::Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// When the next round may begin.
    rests_until: Duration,
    /// Retired files that could not be compared.
    kept_back: HashSet<UploadId>,
    /// Files that were read back whole, and when.
    read_back: HashMap<UploadId, Duration>,
}

/// What a round finds to do.
#[derive(Debug, Default)]
struct Due {
    /// Retired files that may be released.
    retired: Vec<RetiredFile>,
    /// Released files whose objects may be deleted.
    released: Vec<RetiredFile>,
    /// Numbers of checkpoints whose lists may be deleted.
    checkpoints: Option<RangeInclusive<u64>>,
}

impl Due {
    fn of(state: &State, now: Timestamp, keep: Duration, kept_back: &HashSet<UploadId>) -> Self {
        let is_old = |file: &&RetiredFile| now.since(file.at) >= keep;
        let retired = state.retired.values().filter(is_old);
        let retired = retired.filter(|file| !kept_back.contains(&file.upload));
        let released = state.released.values().filter(is_old);
        Self {
            retired: first_of(retired.collect()),
            released: first_of(released.collect()),
            checkpoints: checkpoints_to_clear(state),
        }
    }

    fn is_empty(&self, state: &State) -> bool {
        let is_nothing = self.retired.is_empty() && self.released.is_empty();
        is_nothing && !(self.checkpoints.is_some() && has_long_lists(state))
    }
}

/// The oldest of some files, as many as one record takes.
fn first_of(mut files: Vec<&RetiredFile>) -> Vec<RetiredFile> {
    files.sort_by_key(|file| (file.sequence, file.upload));
    let mut chunks = 0;
    let fits = |file: &&&RetiredFile| {
        let is_first = chunks == 0;
        chunks += file.file.as_ref().map_or(1, |file| u64::from(file.chunks));
        is_first || chunks <= MOST_CHUNKS
    };
    let fitting = files.iter().take(MOST_FILES).take_while(fits);
    fitting.map(|file| (*file).clone()).collect()
}

/// All but the newest two, as many as one record takes.
fn checkpoints_to_clear(state: &State) -> Option<RangeInclusive<u64>> {
    let first = state.cleared / CHECKPOINT_EVERY + 1;
    let last = (state.sequence / CHECKPOINT_EVERY).checked_sub(2)?;
    (first <= last).then(|| first..=last.min(first + MOST_CHECKPOINTS - 1))
}

/// Whether the checkpoints of a state have lists beside them; else a record is not written for them alone.
fn has_long_lists(state: &State) -> bool {
    let lists = [state.files.len(), state.retired.len(), state.released.len()];
    lists.into_iter().any(|len| len > INLINE_LIMIT)
}

impl Repository {
    /// After how long [`Repository::release_retired`] should be called, by what was last seen; nothing where there is
    /// nothing to wait for. `keep` is how long files stay after they were retired.
    pub async fn until_release(&self, keep: Duration) -> Option<Duration> {
        let state = self.recent_state().await.ok()?;
        let clock = &self.shared.parts.clock;
        let memory = self.shared.expiry.memory.lock();
        let retired = state.retired.values();
        let retired = retired.filter(|file| !memory.kept_back.contains(&file.upload));
        let oldest = retired
            .chain(state.released.values())
            .map(|file| file.at)
            .min();
        let rest = memory.rests_until.saturating_sub(clock.monotonic());
        let due = match oldest {
            Some(oldest) => oldest.plus(keep).since(clock.now()),
            None if checkpoints_to_clear(&state).is_some() && has_long_lists(&state) => {
                Duration::ZERO
            }
            None => return None,
        };
        Some(due.max(rest))
    }

    /// Releases files that were retired `keep` ago, and deletes the objects of those that were released: with `keep`
    /// longer than [`OFFERED`], the life of an address and [`MARGIN`] together no client can ask for them.
    pub async fn release_retired(&self, keep: Duration) -> Result<Expired, RepositoryError> {
        let _turn = self.shared.expiry.turn.lock().await;
        let mut expired = Expired::default();
        let outcome = self.expire(keep, &mut expired).await;
        let now = self.shared.parts.clock.monotonic();
        self.shared.expiry.memory.lock().rests_until = now + REST;
        outcome?;
        expired.forgotten = self.forget_in_index().await?;
        Ok(expired)
    }

    async fn expire(&self, keep: Duration, expired: &mut Expired) -> Result<(), RepositoryError> {
        loop {
            let state = self.state().await?;
            let now = self.shared.parts.clock.now();
            let mut due = {
                let memory = self.shared.expiry.memory.lock();
                Due::of(&state, now, keep, &memory.kept_back)
            };
            if due.is_empty(&state) {
                return Ok(());
            }
            let Some(mut ages) = Ages::measure(self, &state, keep).await? else {
                return Ok(());
            };
            due.retired = ages.old_of(due.retired).await?;
            due.released = ages.old_of(due.released).await?;
            let deletions = Deletions {
                files: self.delete_released(&due.released).await?,
                checkpoints: self.clear_checkpoints(due.checkpoints).await?,
            };
            let releasable = self.releasable(&state, due.retired).await?;
            let Some((released, deleted)) = self.write_down(deletions, releasable).await? else {
                return Ok(());
            };
            expired.released += released;
            expired.deleted += deleted;
        }
    }

    /// Writes the record of one step. Returns how many files it releases and says to be deleted; nothing if there was
    /// nothing to write.
    async fn write_down(
        &self,
        deletions: Deletions,
        releasable: Releasable,
    ) -> Result<Option<(usize, usize)>, RepositoryError> {
        let _appending = self.shared.appending.lock().await;
        for _ in 0..ATTEMPTS {
            let state = self.state().await?;
            // Another server may have been faster.
            let files = deletions.files.iter().copied();
            let files: Vec<UploadId> = files
                .filter(|upload| state.released.contains_key(upload))
                .collect();
            let released = self.still_releasable(&state, &releasable);
            let checkpoints = deletions.checkpoints.filter(|last| *last > state.cleared);
            if files.is_empty()
                && released.is_empty()
                && (checkpoints.is_none() || !has_long_lists(&state))
            {
                return Ok(None);
            }
            let counts = (released.len(), files.len());
            let draft = Draft {
                act: Act::Release,
                actor: Actor {
                    name: "holdfast".to_owned(),
                    client: "upkeep".to_owned(),
                },
                new_root: state.root,
                refs: Vec::new(),
                added: Vec::new(),
                retired: Vec::new(),
                released,
                deletions: Deletions { files, checkpoints },
            };
            if self.append(&state, &draft).await? {
                return Ok(Some(counts));
            }
        }
        Ok(None)
    }

    /// Those that are still retired, if all that holds their chunks is still named and whole.
    fn still_releasable(&self, state: &State, releasable: &Releasable) -> Vec<UploadId> {
        let is_whole =
            |holder: &UploadId| state.files.contains_key(holder) && self.damage(*holder).is_none();
        if !releasable.holders.iter().all(is_whole) {
            return Vec::new();
        }
        let files = releasable.files.iter().copied();
        files
            .filter(|upload| state.retired.contains_key(upload))
            .collect()
    }

    /// Lets the index forget what neither counts nor can be asked for, when that is as much as the rest.
    async fn forget_in_index(&self) -> Result<u64, RepositoryError> {
        let state = self.recent_state().await?;
        let counted = state.files.values().map(|file| u64::from(file.chunks));
        let retired = state
            .retired
            .values()
            .filter_map(|retired| retired.file.as_ref());
        let retired_chunks = retired.map(|file| u64::from(file.chunks));
        let chunks: u64 = counted.chain(retired_chunks).sum();
        let named = state.files.keys().chain(state.retired.keys()).copied();
        // Uploads that no record names yet would be read in again when one does.
        let uploads = self.shared.notes.iter().map(|(_, note)| note.file.upload);
        let kept: FileSet = named.chain(uploads).collect();
        let least = LEAST_FORGOTTEN.max(chunks);
        let forgotten = self
            .shared
            .parts
            .index
            .forget_others(self.shared.pool, &kept, least)
            .await;
        forgotten.map_err(index("forget files that are gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::TableFileId;
    use crate::repo::file::{FileKind, Md5, Sha256, StoredFile};

    fn retired(number: u16, at: u64, chunks: u32) -> (UploadId, RetiredFile) {
        let mut upload = [0; 16];
        upload[..2].copy_from_slice(&number.to_be_bytes());
        let upload = UploadId::new(upload);
        let file = StoredFile {
            upload,
            id: TableFileId::new([1; 20]),
            kind: FileKind::Table,
            len: 10,
            chunks,
            split_offset: 0,
            sha256: Sha256([0; 32]),
            md5: Md5([0; 16]),
        };
        let retired = RetiredFile {
            upload,
            at: Timestamp(at),
            sequence: at,
            file: Some(file),
        };
        (upload, retired)
    }

    fn state(retired: impl Iterator<Item = (UploadId, RetiredFile)>) -> State {
        State {
            retired: std::sync::Arc::new(retired.collect()),
            ..State::empty()
        }
    }

    fn due(state: &State, now: u64, keep: u64) -> Vec<u64> {
        let (now, keep) = (Timestamp(now), Duration::from_millis(keep));
        let due = Due::of(state, now, keep, &HashSet::new());
        due.retired.iter().map(|file| file.at.0).collect()
    }

    #[test]
    fn files_are_due_when_they_were_kept_long_enough_the_oldest_first() {
        let state = state(
            [(1, 30), (2, 10), (3, 20)]
                .map(|(number, at)| retired(number, at, 1))
                .into_iter(),
        );
        assert_eq!(due(&state, 109, 100), [] as [u64; 0]);
        assert_eq!(due(&state, 120, 100), [10, 20]);
        let kept_back = HashSet::from([retired(2, 0, 1).0]);
        let rest = Due::of(
            &state,
            Timestamp(1000),
            Duration::from_millis(100),
            &kept_back,
        );
        assert_eq!(rest.retired.len(), 2);
    }

    #[test]
    fn one_record_takes_a_bounded_number_of_files_and_chunks() {
        let many = state((0..3000).map(|number| retired(number, 1, 1)));
        assert_eq!(due(&many, 1000, 1).len(), MOST_FILES);
        let large = state((0..5).map(|number| retired(number, 1, 1 << 19)));
        assert_eq!(due(&large, 1000, 1).len(), 2);
        let larger = state((0..5).map(|number| retired(number, 1, 1 << 22)));
        assert_eq!(due(&larger, 1000, 1).len(), 1);
    }

    #[test]
    fn all_checkpoints_but_the_newest_two_are_cleared() {
        let at = |sequence, cleared| {
            checkpoints_to_clear(&State {
                sequence,
                cleared,
                ..State::empty()
            })
        };
        assert_eq!(at(767, 0), None);
        assert_eq!(at(768, 0), Some(1..=1));
        assert_eq!(at(1100, 0), Some(1..=2));
        assert_eq!(at(1100, 256), Some(2..=2));
        assert_eq!(at(1100, 512), None);
        assert_eq!(at(256 * 1000, 512), Some(3..=66));
    }
}
