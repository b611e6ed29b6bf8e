//! What is kept beside the files that count: retired files and classic twins.

use std::collections::BTreeMap;

use crate::address::TableFileId;
use crate::id::UploadId;
use crate::repo::error::RepositoryError;
use crate::repo::file::FileKind;
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::state::State;
use crate::repo::verify::contents::{Fetched, fetch};
use crate::repo::verify::history::{chain, check_side, is_damage};
use crate::repo::verify::{Damage, Report, Stage, VerifyProgress};

/// Checks the files that were retired and may still be read under addresses that were given out before.
pub(super) async fn check_retired(
    repository: &Repository,
    state: &State,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<(), RepositoryError> {
    let names = names_of_retired(repository, state).await?;
    let several = Several {
        progress,
        stage: Stage::Retired,
        files: state.retired.len(),
    };
    for (number, upload) in state.retired.keys().enumerate() {
        let tell = |read, len| several.tell(number, read, len);
        let name = names.get(upload).copied();
        let found = check_one(repository, *upload, name, &tell, report).await?;
        if let Some((damage, at, detail)) = found
            && !is_released(repository, *upload).await?
        {
            report.find(damage, at, detail);
        }
    }
    Ok(())
}

/// Checks one of them. What is wrong with it, if anything is.
async fn check_one(
    repository: &Repository,
    upload: UploadId,
    name: Option<TableFileId>,
    tell: &(dyn Fn(u64, u64) + Sync),
    report: &mut Report,
) -> Result<Option<(Damage, String, String)>, RepositoryError> {
    let Some(file) = name else {
        let detail = "the note of a retired file is missing".to_owned();
        return Ok(Some((Damage::UploadNote, upload.to_string(), detail)));
    };
    let key = layout::upload(repository.id(), file, upload).to_string();
    let note = match repository.stored_note(file, upload).await {
        Ok(Some(note)) if note.file.upload == upload => note,
        Ok(_) => {
            let detail = "it is gone, or another file's".to_owned();
            return Ok(Some((Damage::UploadNote, key, detail)));
        }
        Err(error) if is_damage(&error) => {
            return Ok(Some((Damage::UploadNote, key, chain(&error))));
        }
        Err(error) => return Err(error),
    };
    check_side(repository, &note, report).await?;
    let served = repository.as_served(&note.file);
    let tell = |read| tell(read, note.file.len);
    Ok(match fetch(repository, &served, &tell).await {
        Fetched::Damaged(damage, detail) => Some((damage, served.key.to_string(), detail)),
        Fetched::Whole(_) => None,
    })
}

/// Under which names the retired files were uploaded: older checkpoints do not say it.
async fn names_of_retired(
    repository: &Repository,
    state: &State,
) -> Result<BTreeMap<UploadId, TableFileId>, RepositoryError> {
    let known = state.retired.values();
    let known = known.filter_map(|retired| Some((retired.upload, retired.file.as_ref()?.id)));
    let mut names: BTreeMap<UploadId, TableFileId> = known.collect();
    if names.len() < state.retired.len() {
        let is_retired = |upload: &UploadId| state.retired.contains_key(upload);
        names.extend(repository.upload_names(is_retired).await?);
    }
    Ok(names)
}

/// Whether a file that is not there any more, or not whole, was retired and has been released meanwhile.
async fn is_released(repository: &Repository, upload: UploadId) -> Result<bool, RepositoryError> {
    let state = repository.state().await?;
    Ok(!state.retired.contains_key(&upload) && !state.files.contains_key(&upload))
}

/// Checks the classic twins of all archives.
pub(super) async fn check_twins(
    repository: &Repository,
    state: &State,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<(), RepositoryError> {
    let archives = || {
        let files = state.files.values();
        files.filter(|file| file.kind == FileKind::Archive)
    };
    let several = Several {
        progress,
        stage: Stage::Twins,
        files: archives().count(),
    };
    for (number, file) in archives().enumerate() {
        match repository.last_noted_twin(file.upload).await? {
            None => {}
            Some((note, None)) => report.find(Damage::Twin, note, "it cannot be read"),
            Some((_, Some(twin))) => {
                let tell = |read| several.tell(number, read, twin.file.len);
                if let Fetched::Damaged(_, detail) = fetch(repository, &twin, &tell).await {
                    report.find(Damage::Twin, &twin.key, detail);
                }
            }
        }
    }
    Ok(())
}

/// Tells how far the reading of some files is, each of which counts for the same.
struct Several<'a> {
    progress: &'a dyn VerifyProgress,
    stage: Stage,
    files: usize,
}

impl Several<'_> {
    /// What one file counts for.
    const EACH: u64 = 1000;

    /// So many files are read, and so many bytes of the next, which has so many.
    fn tell(&self, files: usize, bytes: u64, of_bytes: u64) {
        let part = bytes.min(of_bytes).saturating_mul(Self::EACH) / of_bytes.max(1);
        let files = [files, self.files].map(|files| (files as u64).saturating_mul(Self::EACH));
        self.progress.done(self.stage, files[0] + part, files[1]);
    }
}
