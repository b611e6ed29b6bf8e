//! Small files become large ones.
//!
//! Each push leaves one or two small files. 32 files below 4 MiB become one, 16 of those become one of the
//! next size, and so on up to 1 GiB. Files that share an id are merged before all others, as a clone gets only one of
//! them. The parts are retired, not deleted: an address of one that was given out can still be read. When none can be any
//! more they go ([`crate::repo::expiry`]).
//!
//! # Order and crash
//! The merged file goes through the same check, note and index as an upload; then one record names it and
//! retires the parts. A crash before that record leaves a file that nobody names.
//!
//! # Retry
//! A lost race for the record is tried again, as that of a push is, up to a limit. If a part is no longer named when the
//! merged file is whole, somebody else has merged it, and the file is given up; between then and the record it would be
//! left unnamed. After a failure the next merge waits for a
//! minute, and longer each time. A part that cannot be read is left as it is until the next start.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;

use crate::error::ErrorKind;
use crate::id::UploadId;
use crate::objects::ObjectError;
use crate::repo::check::UploadError;
use crate::repo::commit::ATTEMPTS;
use crate::repo::conjoin;
use crate::repo::damage::damage_of_input;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::log::{Deletions, Draft};
use crate::repo::record::{Act, Actor};
use crate::repo::repository::Repository;
use crate::repo::rewrite::{InputFile, RewriteError};
use crate::repo::state::State;
use crate::repo::uploads::{Leave, UploadFailure};

/// Files below this are small.
const SMALL: u64 = 4 << 20;
/// How many small files become one.
const SMALL_TOGETHER: usize = 32;
/// How many files of a larger size become one, and how many times larger each size is than the one before.
const LARGER_TOGETHER: usize = 16;
/// Files from this size on are left alone.
const LARGE_ENOUGH: u64 = 1 << 30;
/// The most files that one merge takes.
const MOST_TOGETHER: usize = 256;
/// The most bytes that one merge takes, unless its two smallest files have more: they pass through the spool,
/// where uploads need room too.
const MOST_BYTES: u64 = LARGE_ENOUGH;
/// The most chunks that one merge takes. Files of more than half as many are left alone.
const MOST_CHUNKS: u64 = 1 << 20;

/// How long the first failure of a merge holds off the next; each further one twice as long.
const FIRST_REST: Duration = Duration::from_mins(1);
/// The longest that failures hold off the next merge.
const LONGEST_REST: Duration = Duration::from_hours(1);

/// What one merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new file.
    pub file: StoredFile,
    /// How many files it replaces.
    pub parts: usize,
}

/// Chooses the files that should become one, or none.
fn due(state: &State, left_out: &HashSet<UploadId>) -> Option<Vec<StoredFile>> {
    let shared = sharing_an_id(state, left_out);
    shared.or_else(|| due_by_size(state, left_out))
}

/// Files of one id that may be merged, or none.
fn sharing_an_id(state: &State, left_out: &HashSet<UploadId>) -> Option<Vec<StoredFile>> {
    let may_merge = |file: &&StoredFile| {
        file.len < LARGE_ENOUGH
            && u64::from(file.chunks) <= MOST_CHUNKS / 2
            && !left_out.contains(&file.upload)
    };
    let shared = state.sharing_an_id().into_values().map(|files| {
        let files: Vec<&StoredFile> = files.into_iter().filter(may_merge).collect();
        as_many_as_fit(&files)
    });
    shared.into_iter().find(|files| files.len() > 1)
}

/// Small files that are enough to become one, or none.
fn due_by_size(state: &State, left_out: &HashSet<UploadId>) -> Option<Vec<StoredFile>> {
    let (mut below, mut from, mut together) = (SMALL, 0, SMALL_TOGETHER);
    while from < LARGE_ENOUGH {
        let sized = |file: &&StoredFile| {
            (from..below).contains(&file.len)
                && u64::from(file.chunks) <= MOST_CHUNKS / 2
                && !left_out.contains(&file.upload)
        };
        let mut files: Vec<&StoredFile> = state.files.values().filter(sized).collect();
        if files.len() >= together {
            files.sort_by_key(|file| (file.len, file.upload));
            return Some(as_many_as_fit(&files));
        }
        (from, below, together) = (below, below * LARGER_TOGETHER as u64, LARGER_TOGETHER);
    }
    None
}

/// The first of the files up to the bounds of one merge, and at least two.
fn as_many_as_fit(files: &[&StoredFile]) -> Vec<StoredFile> {
    let (mut bytes, mut chunks) = (0, 0);
    let mut taken = Vec::new();
    for &file in files.iter().take(MOST_TOGETHER) {
        bytes += file.len;
        chunks += u64::from(file.chunks);
        if taken.len() >= 2 && (bytes > MOST_BYTES || chunks > MOST_CHUNKS) {
            break;
        }
        taken.push(file.clone());
    }
    taken
}

/// What a repository knows of the merges of this process.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    /// One merge at a time.
    turn: tokio::sync::Mutex<()>,
    memory: parking_lot::Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Files that could not be merged and are left as they are.
    left_out: HashSet<UploadId>,
    /// How many merges failed since the last that did not.
    failures: u32,
    /// When the next may be tried.
    rests_until: Duration,
}

impl Merging {
    fn due(&self, state: &State) -> Option<Vec<StoredFile>> {
        due(state, &self.memory.lock().left_out)
    }

    fn leave_out(&self, files: impl IntoIterator<Item = UploadId>) {
        self.memory.lock().left_out.extend(files);
    }

    fn note(&self, now: Duration, has_failed: bool) {
        let mut memory = self.memory.lock();
        if !has_failed {
            memory.failures = 0;
            return;
        }
        let doubled = 2_u32.saturating_pow(memory.failures);
        memory.failures += 1;
        memory.rests_until = now + FIRST_REST.saturating_mul(doubled).min(LONGEST_REST);
    }
}

impl Repository {
    /// Whether [`Repository::merge`] would find something to do, by what was last seen, and should be tried: not
    /// soon after it failed.
    pub async fn is_merge_due(&self) -> bool {
        let merging = &self.shared.merging;
        if self.shared.parts.clock.monotonic() < merging.memory.lock().rests_until {
            return false;
        }
        match self.recent_state().await {
            Ok(state) => merging.due(&state).is_some(),
            Err(_) => false,
        }
    }

    /// Merges one group of files that is due. Nothing if none is, or if somebody else was faster. A file that is
    /// damaged fails the merge and is left out of the next.
    pub async fn merge(&self) -> Result<Option<Merged>, UploadFailure> {
        let merging = &self.shared.merging;
        let _turn = merging.turn.lock().await;
        let state = self.state().await?;
        merging.leave_out(
            self.damaged_in(&state)
                .into_iter()
                .map(|(upload, _)| upload),
        );
        let Some(parts) = merging.due(&state) else {
            return Ok(None);
        };
        let merged = self.merge_parts(&parts).await;
        merging.note(self.shared.parts.clock.monotonic(), merged.is_err());
        merged
    }

    async fn merge_parts(&self, parts: &[StoredFile]) -> Result<Option<Merged>, UploadFailure> {
        let actor = Actor {
            name: "holdfast".to_owned(),
            client: "upkeep".to_owned(),
        };
        let Some(file) = self.put_together(parts, &actor).await? else {
            return Ok(None);
        };
        let retired: Vec<UploadId> = parts.iter().map(|part| part.upload).collect();
        let merged = Merged {
            file: file.clone(),
            parts: parts.len(),
        };
        let is_named = self.replace(file, retired, &actor).await?;
        Ok(is_named.then_some(merged))
    }

    /// Makes one file of the parts. Nothing if one of them is no longer named: somebody else has merged it.
    async fn put_together(
        &self,
        parts: &[StoredFile],
        actor: &Actor,
    ) -> Result<Option<StoredFile>, UploadFailure> {
        let shared = &self.shared;
        let input = |file: &StoredFile| InputFile {
            key: layout::file(shared.pool, file),
            file: file.clone(),
        };
        let inputs: Vec<InputFile> = parts.iter().map(input).collect();
        let made = conjoin::conjoin(&*shared.parts.objects, &inputs, &shared.parts.spool).await;
        let made = made.map_err(|source| self.not_made(&inputs, source))?;
        if !self.names_all(parts).await? {
            return Ok(None);
        }
        let upload = shared.parts.ids.upload();
        let declared = made.declared();
        let key = layout::file_of(shared.pool, declared.id, upload, declared.kind);
        let target = shared.parts.objects.upload(&key, made.path()).await;
        let target = target.map_err(UploadError::from)?;
        let verified = match made.check(upload, target, &shared.parts.pool).await {
            Ok(verified) => verified,
            Err(error) => {
                // A part holds something else than its index says; the merged file does not tell which.
                if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt) {
                    self.leave_out_the_damaged(parts).await?;
                }
                return Err(error.into());
            }
        };
        // What it was all for may be done by now; then nothing of it becomes visible.
        if !self.names_all(parts).await? {
            verified.abandon().await;
            return Ok(None);
        }
        Ok(Some(self.keep(verified, actor, Leave::Nothing).await?))
    }

    /// The error of a merge that came to nothing; a part that was the reason is left out of the next.
    fn not_made(&self, inputs: &[InputFile], source: RewriteError) -> RepositoryError {
        let fault = source.input_at_fault();
        if let Some(input) = inputs.iter().find(|input| Some(&input.key) == fault) {
            self.shared.merging.leave_out([input.file.upload]);
            self.note_damage(&input.file, damage_of_input(&source));
        }
        RepositoryError::Derive {
            action: "put small files together",
            kind: source.kind(),
            source: source.into(),
        }
    }

    /// Leaves out the parts whose bytes are not the recorded ones; all of them if there is none.
    async fn leave_out_the_damaged(&self, parts: &[StoredFile]) -> Result<(), RepositoryError> {
        let mut damaged = Vec::new();
        for part in parts {
            if !self.is_intact(part).await? {
                damaged.push(part.upload);
                self.note_damage(part, "its SHA-256 is not the recorded one".to_owned());
            }
        }
        if damaged.is_empty() {
            damaged.extend(parts.iter().map(|part| part.upload));
        }
        self.shared.merging.leave_out(damaged);
        Ok(())
    }

    /// Whether the bytes of a file are the recorded ones.
    pub(crate) async fn is_intact(&self, file: &StoredFile) -> Result<bool, RepositoryError> {
        let reading = object("read a small file again");
        let parts = &self.shared.parts;
        let key = layout::file(self.shared.pool, file);
        let mut stream = match parts.objects.get(&key, None).await {
            Ok(body) => body.stream,
            Err(ObjectError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(reading(error)),
        };
        let mut sha256 = ring::digest::Context::new(&ring::digest::SHA256);
        loop {
            let Some(piece) = stream.next().await else {
                return Ok(sha256.finish().as_ref() == file.sha256.0);
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Err(reading(error)),
            };
            let hash = move || {
                sha256.update(&piece);
                sha256
            };
            sha256 = parts.pool.run(hash).await;
        }
    }

    /// Whether the repository still names all of these files.
    async fn names_all(&self, parts: &[StoredFile]) -> Result<bool, RepositoryError> {
        let state = self.state().await?;
        let is_named = |part: &StoredFile| state.files.contains_key(&part.upload);
        Ok(parts.iter().all(is_named))
    }

    async fn replace(
        &self,
        file: StoredFile,
        retired: Vec<UploadId>,
        actor: &Actor,
    ) -> Result<bool, RepositoryError> {
        let _appending = self.shared.appending.lock().await;
        for _ in 0..ATTEMPTS {
            let state = self.state().await?;
            if retired.iter().any(|part| !state.files.contains_key(part)) {
                return Ok(false);
            }
            let draft = Draft {
                act: Act::Merge,
                actor: actor.clone(),
                new_root: state.root,
                refs: Vec::new(),
                added: vec![file.clone()],
                retired: retired.clone(),
                released: Vec::new(),
                deletions: Deletions::default(),
            };
            if self.append(&state, &draft).await? {
                return Ok(true);
            }
        }
        Err(RepositoryError::Busy { attempts: ATTEMPTS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{RootAddress, TableFileId};
    use std::sync::Arc;

    use crate::clock::Timestamp;
    use crate::repo::file::{FileKind, Md5, Sha256};

    fn due(state: &State) -> Option<Vec<StoredFile>> {
        super::due(state, &HashSet::new())
    }

    fn state(lens: &[u64]) -> State {
        state_of(lens, 1)
    }

    #[test]
    fn files_of_one_id_are_merged_before_all_others() {
        let mut state = state(&[1000; 40]);
        let shared: Vec<UploadId> = state.files.keys().skip(20).take(2).copied().collect();
        for upload in &shared {
            let files = Arc::make_mut(&mut state.files);
            files.get_mut(upload).unwrap().id = TableFileId::new([9; 20]);
        }
        let taken = due(&state).unwrap();
        let taken: Vec<UploadId> = taken.iter().map(|file| file.upload).collect();
        assert_eq!(taken, shared);
        let left_out = HashSet::from([shared[0]]);
        assert_eq!(super::due(&state, &left_out).unwrap().len(), 39);
    }

    fn state_of(lens: &[u64], chunks: u32) -> State {
        let file = |(number, len): (usize, &u64)| {
            let mut upload = [0; 16];
            upload[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let upload = UploadId::new(upload);
            let mut id = [0; 20];
            id[..16].copy_from_slice(upload.as_bytes());
            let file = StoredFile {
                upload,
                id: TableFileId::new(id),
                kind: FileKind::Table,
                len: *len,
                chunks,
                split_offset: 0,
                sha256: Sha256([0; 32]),
                md5: Md5([0; 16]),
            };
            (upload, file)
        };
        State {
            files: Arc::new(lens.iter().enumerate().map(file).collect()),
            root: RootAddress::ZERO,
            time: Timestamp(0),
            ..State::empty()
        }
    }

    #[test]
    fn small_files_merge_by_32_and_larger_ones_by_16() {
        assert_eq!(due(&state(&[1000; 31])), None);
        assert_eq!(due(&state(&[1000; 32])).unwrap().len(), 32);
        assert_eq!(due(&state(&[SMALL; 15])), None);
        assert_eq!(due(&state(&[SMALL; 16])).unwrap().len(), 16);
        assert_eq!(due(&state(&[SMALL * 16; 16])).unwrap().len(), 16);
        assert_eq!(due(&state(&[LARGE_ENOUGH * 2; 40])), None);
    }

    #[test]
    fn a_merge_takes_a_bounded_number_of_files_bytes_and_chunks() {
        assert_eq!(due(&state(&[1; 1000])).unwrap().len(), MOST_TOGETHER);
        // 200 MB each: five have less than 1 GiB, six more.
        let lens: Vec<u64> = (0..40).map(|i| 200_000_000 + i).collect();
        let taken = due(&state(&lens)).unwrap();
        let taken: Vec<u64> = taken.into_iter().map(|file| file.len).collect();
        assert_eq!(taken, lens[..5], "the smallest first");
        let nearly_large = [LARGE_ENOUGH - 1; 16];
        assert_eq!(due(&state(&nearly_large)).unwrap().len(), 2);
        let many_chunks = state_of(&[1000; 64], 100_000);
        assert_eq!(due(&many_chunks).unwrap().len(), 10);
        assert_eq!(due(&state_of(&[1000; 64], 1 << 19)).unwrap().len(), 2);
        assert_eq!(due(&state_of(&[1000; 64], (1 << 19) + 1)), None);
    }

    #[test]
    fn what_is_left_out_does_not_count() {
        let state = state(&[1000; 33]);
        let mut left_out = HashSet::from([*state.files.keys().next().unwrap()]);
        let taken = super::due(&state, &left_out).unwrap();
        assert_eq!(taken.len(), 32);
        assert!(taken.iter().all(|file| !left_out.contains(&file.upload)));
        left_out.insert(taken[0].upload);
        assert_eq!(super::due(&state, &left_out), None);
    }

    #[test]
    fn each_failure_holds_off_longer_and_a_success_forgets_them() {
        let merging = Merging::default();
        let rest = |minutes, has_failed| {
            let now = Duration::from_mins(minutes);
            merging.note(now, has_failed);
            merging.memory.lock().rests_until.saturating_sub(now)
        };
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(rest(100, true), Duration::from_mins(minutes));
        }
        assert_eq!(rest(200, false), Duration::ZERO);
        assert_eq!(rest(200, true), FIRST_REST);
    }
}
