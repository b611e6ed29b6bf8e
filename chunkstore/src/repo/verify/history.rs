//! The log: every record, the chain between them, checkpoints, lists beside them, and upload notes.

use std::collections::BTreeSet;

use crate::error::ErrorKind;
use crate::objects::{ObjectError, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::layout;
use crate::repo::record::{Checkpoint, Record};
use crate::repo::repository::Repository;
use crate::repo::state::State;
use crate::repo::verify::{Damage, Report, VerifyProgress};

/// Replays the log. Nothing if it is too damaged to say what the repository holds.
pub(super) async fn check(
    repository: &Repository,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<Option<State>, RepositoryError> {
    check_member(repository, report).await?;
    let sequences = listed_sequences(repository).await?;
    let last = sequences.last().copied().unwrap_or(0);
    report.records = sequences.len() as u64;
    let mut state = State::empty();
    let mut is_readable = true;
    for sequence in 1..=last {
        progress.records(sequence, last);
        let key = layout::record(repository.id(), sequence);
        if !sequences.contains(&sequence) {
            report.find(
                Damage::LogGap,
                &key,
                format!("record {sequence} of {last} is missing"),
            );
            is_readable = false;
            continue;
        }
        match repository.shared.log.read(sequence).await {
            Ok(Some((record, digest))) => {
                if is_readable {
                    check_link(&record, &state, report, &key);
                }
                check_lists(repository, &record, &state, report).await?;
                // What stands in the log counts, chained or not: the rest is checked against it.
                state = state.after(&record, digest);
            }
            Ok(None) => {}
            Err(error) if is_damage(&error) => {
                report.find(Damage::LogRecord, &key, chain(&error));
                is_readable = false;
            }
            Err(error) => return Err(error),
        }
    }
    check_notes(repository, &state, report).await?;
    Ok(is_readable.then_some(state))
}

async fn listed_sequences(repository: &Repository) -> Result<BTreeSet<u64>, RepositoryError> {
    let objects = &repository.shared.parts.objects;
    let listed = objects
        .list_all(&layout::log(repository.id()))
        .await
        .map_err(object("list the log"))?;
    Ok(listed
        .iter()
        .filter_map(|meta| meta.key.name().parse().ok())
        .collect())
}

fn check_link(record: &Record, state: &State, report: &mut Report, key: &dyn std::fmt::Display) {
    if record.previous != state.digest {
        report.find(
            Damage::LogChain,
            key,
            "it names another record as the one before it",
        );
    } else if record.old_root != state.root {
        report.find(
            Damage::LogChain,
            key,
            "its old root is not the root before it",
        );
    } else if record.time < state.time {
        report.find(
            Damage::LogChain,
            key,
            "it is older than the record before it",
        );
    }
}

async fn check_lists(
    repository: &Repository,
    record: &Record,
    before: &State,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let log = &repository.shared.log;
    let key = layout::record(repository.id(), record.sequence);
    if let Err(error) = log.list(&record.refs).await {
        side_list(error, report, &key)?;
    }
    let Some(Checkpoint { files, retired }) = &record.checkpoint else {
        return Ok(());
    };
    match (log.list(files).await, log.list(retired).await) {
        (Ok(files), Ok(retired)) => {
            let digest = crate::repo::record::digest(b"");
            let replayed = before.after(record, digest);
            let said = State::from_checkpoint(record, digest, files, &retired);
            if said != replayed {
                report.find(
                    Damage::Checkpoint,
                    &key,
                    "its checkpoint is not what the records before it give",
                );
            }
        }
        (Err(error), _) | (_, Err(error)) => side_list(error, report, &key)?,
    }
    Ok(())
}

fn side_list(
    error: RepositoryError,
    report: &mut Report,
    key: &dyn std::fmt::Display,
) -> Result<(), RepositoryError> {
    if is_damage(&error) {
        report.find(Damage::SideList, key, chain(&error));
        Ok(())
    } else {
        Err(error)
    }
}

async fn check_member(repository: &Repository, report: &mut Report) -> Result<(), RepositoryError> {
    let key = layout::member(repository.pool(), repository.id());
    match repository.shared.parts.objects.head(&key).await {
        Ok(_) => Ok(()),
        Err(ObjectError::NotFound { .. }) => {
            report.find(
                Damage::PoolMember,
                &key,
                "the pool does not list the repository",
            );
            Ok(())
        }
        Err(error) => Err(object("look for a pool's member")(error)),
    }
}

async fn check_notes(
    repository: &Repository,
    state: &State,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    for file in state.files.values() {
        let key = layout::upload(repository.id(), file.id, file.upload);
        match repository.stored_note(file.id, file.upload).await {
            Ok(Some(note)) if note.file == *file => {}
            Ok(Some(_)) => report.find(Damage::UploadNote, &key, "it says otherwise than the log"),
            Ok(None) => report.find(Damage::UploadNote, &key, "it is missing"),
            Err(error) if is_damage(&error) => report.find(Damage::UploadNote, &key, chain(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error says that what is stored is wrong, and not that it could not be read just now.
pub(super) fn is_damage(error: &RepositoryError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Refused
    )
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
