//! The log: every record, the chain between them, checkpoints, lists beside them, and upload notes.

use std::ops::Range;

use crate::error::ErrorKind;
use crate::objects::{ObjectError, ObjectKey, ObjectMeta, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::Sha256;
use crate::repo::layout;
use crate::repo::log::decode_hint;
use crate::repo::record::{CHECKPOINT_EVERY, Record};
use crate::repo::repository::Repository;
use crate::repo::state::{Delta, State};
use crate::repo::uploads::UploadNote;
use crate::repo::verify::{Damage, Report, Stage, VerifyProgress};

/// So many records of one gap are asked for, one by one, before the list is believed.
const ASKED_FOR: u64 = 1000;

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
    let last = last_sequence(repository, hinted).await?;
    let mut replay = Replay {
        repository,
        state: State::empty(),
        is_complete: true,
    };
    let mut listed = Sequences::of(repository);
    let mut next = 1;
    while next <= last {
        let sequence = listed.next().await?.filter(|sequence| *sequence <= last);
        let gap = next..sequence.unwrap_or(last + 1);
        replay.unlisted(gap, last, report).await?;
        if let Some(sequence) = sequence {
            progress.done(Stage::Log, sequence, last);
            if !replay.step(sequence, report).await? {
                replay.miss(sequence, "it was listed and is gone", report);
            }
        }
        next = sequence.unwrap_or(last) + 1;
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
    /// Reads records that are not listed. The list is not made in one moment: of two records that came meanwhile it
    /// may hold the later one alone. So only what cannot be read is missing.
    async fn unlisted(
        &mut self,
        gap: Range<u64>,
        last: u64,
        report: &mut Report,
    ) -> Result<(), RepositoryError> {
        let asked_for = gap.start..gap.end.min(gap.start.saturating_add(ASKED_FOR));
        for sequence in asked_for.clone() {
            if !self.step(sequence, report).await? {
                let detail = format!("record {sequence} of {last} is missing");
                self.miss(sequence, &detail, report);
            }
        }
        let others = gap.end.saturating_sub(asked_for.end);
        if others > 0 {
            let detail = format!("{others} records from here on are not listed");
            self.miss(asked_for.end, &detail, report);
            report.damages += others - 1;
        }
        Ok(())
    }

    fn miss(&mut self, sequence: u64, detail: &str, report: &mut Report) {
        let key = layout::record(self.repository.id(), sequence);
        report.find(Damage::LogGap, key, detail);
        self.is_complete = false;
    }

    /// Reads a record. What seems not to be there is asked for once more.
    async fn read(&self, sequence: u64) -> Result<Option<(Record, Sha256)>, RepositoryError> {
        let log = &self.repository.shared.log;
        match log.read(sequence).await? {
            None => log.read(sequence).await,
            read => Ok(read),
        }
    }

    /// Reads the next record and judges it. Whether it is there.
    async fn step(&mut self, sequence: u64, report: &mut Report) -> Result<bool, RepositoryError> {
        let key = layout::record(self.repository.id(), sequence);
        let read = self.read(sequence).await;
        report.records += u64::from(!matches!(read, Ok(None)));
        let (record, digest) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(false),
            Err(error) if is_damage(&error) => {
                report.find(Damage::LogRecord, &key, chain(&error));
                self.is_complete = false;
                return Ok(true);
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
        let before = std::mem::replace(&mut self.state, State::empty());
        let replayed = before.after(&record, digest, delta);
        self.state = match self.read_checkpoint(&record, digest, report).await? {
            Some(said) if self.is_complete && !said.agrees_with(&replayed) => {
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
        Ok(true)
    }

    /// The state that a record's checkpoint gives, if it has one that can be read.
    async fn read_checkpoint(
        &self,
        record: &Record,
        digest: Sha256,
        report: &mut Report,
    ) -> Result<Option<State>, RepositoryError> {
        let key = layout::record(self.repository.id(), record.sequence);
        let Some(checkpoint) = &record.checkpoint else {
            if record.sequence.is_multiple_of(CHECKPOINT_EVERY) {
                report.find(Damage::Checkpoint, &key, "it should carry a checkpoint");
            }
            return Ok(None);
        };
        let cleared = checkpoint.cleared;
        match self
            .repository
            .shared
            .log
            .checkpoint_lists(checkpoint)
            .await
        {
            Ok(lists) => Ok(Some(State::from_checkpoint(record, digest, lists, cleared))),
            // Lists beside older checkpoints are deleted, perhaps just now.
            Err(error) if is_missing(&error) && self.is_old(record.sequence).await? => Ok(None),
            Err(error) => {
                side_list(error, report, &key)?;
                Ok(None)
            }
        }
    }

    /// Whether there are two newer checkpoints than that of a record: then nothing beside it is needed.
    async fn is_old(&self, sequence: u64) -> Result<bool, RepositoryError> {
        let newer = sequence + 2 * CHECKPOINT_EVERY;
        self.repository.shared.log.exists(newer).await
    }
}

fn is_missing(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Object {
            source: ObjectError::NotFound { .. },
            ..
        }
    )
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

/// The number of the last record: of the last that is listed, or of one that a hint names and the list does not.
async fn last_sequence(repository: &Repository, hinted: u64) -> Result<u64, RepositoryError> {
    let mut listed = Sequences::of(repository);
    let mut last = 0;
    while let Some(sequence) = listed.next().await? {
        last = sequence;
    }
    if hinted > last && repository.shared.log.exists(hinted).await? {
        last = hinted;
    }
    Ok(last)
}

/// The numbers of the listed records, ascending. A page of the list is kept, and not more: it grows with every push.
struct Sequences<'a> {
    repository: &'a Repository,
    page: std::vec::IntoIter<ObjectMeta>,
    last: Option<ObjectKey>,
}

impl<'a> Sequences<'a> {
    fn of(repository: &'a Repository) -> Self {
        Self {
            repository,
            page: Vec::new().into_iter(),
            last: None,
        }
    }

    async fn next(&mut self) -> Result<Option<u64>, RepositoryError> {
        let repository = self.repository;
        loop {
            if let Some(sequence) = self.page.find_map(|meta| sequence_of(repository, &meta)) {
                return Ok(Some(sequence));
            }
            let objects = &repository.shared.parts.objects;
            let prefix = layout::log(repository.id());
            let page = objects.list(&prefix, self.last.as_ref()).await;
            let page = page.map_err(object("list the log"))?;
            match page.last() {
                Some(meta) => self.last = Some(meta.key.clone()),
                None => return Ok(None),
            }
            self.page = page.into_iter();
        }
    }
}

/// The number of the record that an object is; nothing for what is none.
fn sequence_of(repository: &Repository, meta: &ObjectMeta) -> Option<u64> {
    let sequence = meta.key.name().parse().ok()?;
    let is_ours = (1..=layout::LAST_SEQUENCE).contains(&sequence);
    (is_ours && layout::record(repository.id(), sequence) == meta.key).then_some(sequence)
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
            Ok(Some(note)) if note.file == *file => check_side(repository, &note, report).await?,
            Ok(Some(_)) => report.find(Damage::UploadNote, &key, "it says otherwise than the log"),
            Ok(None) => report.find(Damage::UploadNote, &key, "it is missing"),
            Err(error) if is_damage(&error) => report.find(Damage::UploadNote, &key, chain(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the list of what leaves an upload, if it stands beside the note.
pub(super) async fn check_side(
    repository: &Repository,
    note: &UploadNote,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let mut leaving = repository.leaving(note);
    loop {
        match leaving.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => {
                let key = layout::upload(repository.id(), note.file.id, note.file.upload);
                return side_list(error, report, &key);
            }
        }
    }
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
