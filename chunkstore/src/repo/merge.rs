//! Small files become large ones.
//!
//! Each push leaves one or two small files. 32 files below 4 MiB become one, 16 of those become one of the
//! next size, and so on up to 1 GiB. The parts are retired, not deleted: whoever holds an address of one can
//! still read it.
//!
//! # Order and crash
//! The merged file goes through the same check, note and index as an upload; then one record names it and
//! retires the parts. A crash before that record leaves a file that nobody names.
//!
//! # Retry
//! None: if a part is no longer named when the record is to be written, somebody else has merged it, and the
//! merged file is left unnamed.

use crate::id::UploadId;
use crate::repo::check::UploadError;
use crate::repo::conjoin;
use crate::repo::error::RepositoryError;
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::log::Draft;
use crate::repo::record::{Act, Actor};
use crate::repo::repository::Repository;
use crate::repo::rewrite::InputFile;
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

/// What one merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new file.
    pub file: StoredFile,
    /// How many files it replaces.
    pub parts: usize,
}

/// Chooses the files that should become one, or none.
pub fn due(state: &State) -> Option<Vec<StoredFile>> {
    let (mut below, mut from, mut together) = (SMALL, 0, SMALL_TOGETHER);
    while from < LARGE_ENOUGH {
        let sized = |file: &&StoredFile| {
            (from..below).contains(&file.len) && u64::from(file.chunks) <= MOST_CHUNKS / 2
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

impl Repository {
    /// Whether [`Repository::merge`] would find something to do, by what was last seen.
    pub async fn is_merge_due(&self) -> bool {
        match self.recent_state().await {
            Ok(state) => due(&state).is_some(),
            Err(_) => false,
        }
    }

    /// Merges one group of files that is due. Nothing if none is.
    pub async fn merge(&self) -> Result<Option<Merged>, UploadFailure> {
        let _merging = self.shared.merging.lock().await;
        let Some(parts) = due(&*self.state().await?) else {
            return Ok(None);
        };
        let actor = Actor {
            name: "holdfast".to_owned(),
            client: "upkeep".to_owned(),
        };
        let file = self.put_together(&parts, &actor).await?;
        let retired: Vec<UploadId> = parts.iter().map(|part| part.upload).collect();
        if self.replace(file.clone(), retired, &actor).await? {
            Ok(Some(Merged {
                file,
                parts: parts.len(),
            }))
        } else {
            Ok(None)
        }
    }

    async fn put_together(
        &self,
        parts: &[StoredFile],
        actor: &Actor,
    ) -> Result<StoredFile, UploadFailure> {
        let shared = &self.shared;
        let input = |file: &StoredFile| InputFile {
            key: layout::file(shared.pool, file),
            file: file.clone(),
        };
        let inputs: Vec<InputFile> = parts.iter().map(input).collect();
        let made = conjoin::conjoin(&*shared.parts.objects, &inputs, &shared.parts.spool).await;
        let made = made.map_err(|source| RepositoryError::Derive {
            action: "put small files together",
            kind: source.kind(),
            source: source.into(),
        })?;
        let upload = shared.parts.ids.upload();
        let declared = made.declared();
        let key = layout::file_of(shared.pool, declared.id, upload, declared.kind);
        let object = shared
            .parts
            .objects
            .upload(&key, made.path())
            .await
            .map_err(UploadError::from)?;
        let children = shared.parts.find_children();
        let verified = made
            .check(upload, object, children, &shared.parts.pool)
            .await?;
        self.keep(verified, actor, Leave::Nothing).await
    }

    async fn replace(
        &self,
        file: StoredFile,
        retired: Vec<UploadId>,
        actor: &Actor,
    ) -> Result<bool, RepositoryError> {
        let _appending = self.shared.appending.lock().await;
        loop {
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
            };
            if self.append(&state, &draft).await? {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{RootAddress, TableFileId};
    use std::sync::Arc;

    use crate::clock::Timestamp;
    use crate::repo::file::{FileKind, Md5, Sha256};

    fn state(lens: &[u64]) -> State {
        state_of(lens, 1)
    }

    fn state_of(lens: &[u64], chunks: u32) -> State {
        let file = |(number, len): (usize, &u64)| {
            let mut upload = [0; 16];
            upload[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let upload = UploadId::new(upload);
            let file = StoredFile {
                upload,
                id: TableFileId::ZERO,
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
}
