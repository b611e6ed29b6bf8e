//! What is kept beside the files that count: retired files and classic twins.

use std::collections::BTreeMap;

use crate::address::TableFileId;
use crate::id::UploadId;
use crate::objects::ObjectMeta;
use crate::repo::error::{RepositoryError, object};
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
        let Some(file) = names.get(upload) else {
            let detail = "the note of a retired file is missing";
            report.find(Damage::UploadNote, upload, detail);
            continue;
        };
        let key = layout::upload(repository.id(), *file, *upload);
        let note = match repository.stored_note(*file, *upload).await {
            Ok(Some(note)) if note.file.upload == *upload => note,
            Ok(_) => {
                report.find(Damage::UploadNote, key, "it is gone, or another file's");
                continue;
            }
            Err(error) if is_damage(&error) => {
                report.find(Damage::UploadNote, key, chain(&error));
                continue;
            }
            Err(error) => return Err(error),
        };
        check_side(repository, &note, report).await?;
        let served = repository.as_served(&note.file);
        let tell = |read| several.tell(number, read, note.file.len);
        if let Fetched::Damaged(damage, detail) = fetch(repository, &served, &tell).await {
            report.find(damage, &served.key, detail);
        }
    }
    Ok(())
}

/// Under which names the retired files were uploaded. The list of uploads is read page by page: it grows with every
/// push.
async fn names_of_retired(
    repository: &Repository,
    state: &State,
) -> Result<BTreeMap<UploadId, TableFileId>, RepositoryError> {
    let mut names = BTreeMap::new();
    if state.retired.is_empty() {
        return Ok(names);
    }
    let named = |meta: &ObjectMeta| {
        let (file, upload) = meta.key.name().split_once('.')?;
        let upload: UploadId = upload.parse().ok()?;
        let is_retired = state.retired.contains_key(&upload);
        is_retired.then_some((upload, file.parse().ok()?))
    };
    let objects = &repository.shared.parts.objects;
    let prefix = layout::uploads(repository.id());
    let mut last = None;
    loop {
        let page = objects.list(&prefix, last.as_ref()).await;
        let page = page.map_err(object("list the uploads"))?;
        names.extend(page.iter().filter_map(named));
        match page.into_iter().next_back() {
            Some(meta) => last = Some(meta.key),
            None => return Ok(names),
        }
    }
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
