//! The log: every record, the chain between them, checkpoints, lists beside them, and upload notes.

use std::collections::BTreeSet;

use crate::error::ErrorKind;
use crate::objects::{ObjectError, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::Sha256;
use crate::repo::layout;
use crate::repo::log::decode_hint;
use crate::repo::record::{CHECKPOINT_EVERY, Checkpoint, Record};
use crate::repo::repository::Repository;
use crate::repo::state::{Delta, State};
use crate::repo::verify::{Damage, Report, VerifyProgress};

/// What the log says the repository holds.
pub(super) struct Replayed {
    pub(super) state: State,
    /// Every record that makes up `state` was read: what it does not name, no record names.
    pub(super) is_complete: bool,
}

/// Replays the log as far as it can be read.
pub(super) async fn check(
    repository: &Repository,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<Replayed, RepositoryError> {
    check_member(repository, report).await?;
    // Before the list: a hint is left after its record.
    let hinted = hinted(repository).await?;
    let sequences = listed_sequences(repository).await?;
    let last = sequences.last().copied().unwrap_or(0);
    report.records = sequences.len() as u64;
    let mut replay = Replay {
        repository,
        state: State::empty(),
        is_complete: true,
    };
    for sequence in 1..=last {
        progress.records(sequence, last);
        if sequences.contains(&sequence) {
            replay.step(sequence, report).await?;
        } else {
            let key = layout::record(repository.id(), sequence);
            let detail = format!("record {sequence} of {last} is missing");
            report.find(Damage::LogGap, key, detail);
            replay.is_complete = false;
        }
    }
    if hinted > last {
        let key = layout::record(repository.id(), hinted);
        let detail = format!("it was there once, and the log now ends at {last}");
        report.find(Damage::LogGap, key, detail);
    }
    let Replay {
        state, is_complete, ..
    } = replay;
    check_notes(repository, &state, report).await?;
    Ok(Replayed { state, is_complete })
}

/// Whether there is a record, or a hint that there was one.
pub(super) async fn has_log(repository: &Repository) -> Result<bool, RepositoryError> {
    let objects = &repository.shared.parts.objects;
    let listed = objects.list(&layout::log(repository.id()), None).await;
    Ok(!listed.map_err(object("list the log"))?.is_empty() || hinted(repository).await? > 0)
}

/// The log as far as it was read.
struct Replay<'a> {
    repository: &'a Repository,
    state: State,
    /// Every record that makes up `state` was read, since the beginning or since a checkpoint.
    is_complete: bool,
}

impl Replay<'_> {
    /// Reads the next record that is there.
    async fn step(&mut self, sequence: u64, report: &mut Report) -> Result<(), RepositoryError> {
        let key = layout::record(self.repository.id(), sequence);
        let (record, digest) = match self.repository.shared.log.read(sequence).await {
            Ok(Some(read)) => read,
            Ok(None) => {
                report.find(Damage::LogGap, &key, "it was listed and is gone");
                self.is_complete = false;
                return Ok(());
            }
            Err(error) if is_damage(&error) => {
                report.find(Damage::LogRecord, &key, chain(&error));
                self.is_complete = false;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.state.sequence + 1 == sequence
            && let Some(what) = broken_link(&record, &self.state)
        {
            report.find(Damage::LogChain, &key, what);
        }
        let log = &self.repository.shared.log;
        if let Err(error) = log.list(&record.refs).await {
            side_list(error, report, &key)?;
        }
        let delta = match log.delta(&record).await {
            Ok(delta) => delta,
            Err(error) => {
                side_list(error, report, &key)?;
                self.is_complete = false;
                Delta::default()
            }
        };
        // What stands in the log counts, chained or not: the rest is checked against it.
        let replayed = self.state.clone().after(&record, digest, delta);
        self.state = match self.read_checkpoint(&record, digest, report).await? {
            Some(said) if self.is_complete && said != replayed => {
                let what = "its checkpoint is not what the records before it give";
                report.find(Damage::Checkpoint, &key, what);
                replayed
            }
            // A server begins to read here too: whatever is missing before it, the state is known again.
            Some(said) => {
                self.is_complete = true;
                said
            }
            None => replayed,
        };
        Ok(())
    }

    /// The state that a record's checkpoint gives, if it has one that can be read.
    async fn read_checkpoint(
        &self,
        record: &Record,
        digest: Sha256,
        report: &mut Report,
    ) -> Result<Option<State>, RepositoryError> {
        let key = layout::record(self.repository.id(), record.sequence);
        let Some(Checkpoint { files, retired }) = &record.checkpoint else {
            if record.sequence.is_multiple_of(CHECKPOINT_EVERY) {
                report.find(Damage::Checkpoint, &key, "it should carry a checkpoint");
            }
            return Ok(None);
        };
        let log = &self.repository.shared.log;
        match (log.list(files).await, log.list(retired).await) {
            (Ok(files), Ok(retired)) => Ok(Some(State::from_checkpoint(
                record, digest, files, &retired,
            ))),
            (Err(error), _) | (_, Err(error)) => {
                side_list(error, report, &key)?;
                Ok(None)
            }
        }
    }
}

/// A sequence that somebody saw; 0 if nobody left a hint that can be read.
async fn hinted(repository: &Repository) -> Result<u64, RepositoryError> {
    let objects = &repository.shared.parts.objects;
    match objects.read(&layout::hint(repository.id()), None, 32).await {
        Ok(bytes) => Ok(decode_hint(&bytes)),
        Err(error) if error.kind().is_transient() => Err(object("read the hint")(error)),
        Err(_) => Ok(0),
    }
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

fn broken_link(record: &Record, state: &State) -> Option<&'static str> {
    if record.previous != state.digest {
        Some("it names another record as the one before it")
    } else if record.old_root != state.root {
        Some("its old root is not the root before it")
    } else if record.time < state.time {
        Some("it is older than the record before it")
    } else {
        None
    }
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
