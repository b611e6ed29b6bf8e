//! Files and roots enter a repository: AddTableFiles and Commit.
//!
//! # Order
//! Bytes, upload note, index entries, log record. A record names a file only after every chunk of it was
//! checked and every reference that leaves it was found in a named file or in another file of the same batch. What was
//! found before files were released is looked up again.
//!
//! # Retry
//! A lost race is not shown to anybody: the change is checked again on top of the winner's state and tried as
//! the next record. A Commit whose reply was lost is recognised by what it reached.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::{ChunkAddress, RootAddress, TableFileId};
use crate::error::ErrorKind;
use crate::id::UploadId;
use crate::repo::error::{MeaningError, RepositoryError};
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::locate::Named;
use crate::repo::log::{Appended, Deletions, Draft};
use crate::repo::parts::MovesError;
use crate::repo::read::NamedChunks;
use crate::repo::recent::{ECHO, ECHO_RECORDS};
use crate::repo::record::{Act, Actor, RefMove};
use crate::repo::repository::Repository;
use crate::repo::served::View;
use crate::repo::state::State;
use crate::repo::uploads::UploadNote;
use crate::repo::verify::references::{self, Lost};

/// How many races a change may lose before it gives up.
pub(crate) const ATTEMPTS: u32 = 100;
/// How many records are searched at once for what a lost reply may have reached.
const SEARCHED_AT_ONCE: u64 = 16;

/// A file that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name.
    pub id: TableFileId,
    /// How many chunks the request says it has.
    pub chunks: u32,
}

/// A wish to move the root.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Where the root is believed to be.
    pub last: RootAddress,
    /// Where it shall be.
    pub current: RootAddress,
    /// The files to add first.
    pub files: Vec<NamedFile>,
    /// Who asks.
    pub actor: Actor,
}

/// What became of a [`Proposal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The root moved, and these refs with it.
    Moved(Vec<RefMove>),
    /// The root was there already, or this very proposal had been accepted before.
    Already,
    /// The root is not where it was believed to be. The files were added all the same.
    Stale,
}

impl Repository {
    /// Adds files that were uploaded. Adding what is there already succeeds.
    pub async fn add(&self, files: &[NamedFile], actor: &Actor) -> Result<(), RepositoryError> {
        let _appending = self.shared.appending.lock().await;
        for _ in 0..ATTEMPTS {
            let state = self.state().await?;
            let batch = self.check_batch(&state, files).await?;
            if batch.notes.is_empty()
                || self
                    .append(&state, &batch.draft(Act::Add, state.root, actor))
                    .await?
            {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy { attempts: ATTEMPTS })
    }

    /// Moves the root if it still is where the proposal believes it to be.
    pub async fn commit(&self, proposal: &Proposal) -> Result<Committed, RepositoryError> {
        let _appending = self.shared.appending.lock().await;
        for _ in 0..ATTEMPTS {
            let state = self.state().await?;
            let batch = self.check_batch(&state, &proposal.files).await?;
            let may_move = state.root == proposal.last && proposal.current != proposal.last;
            let (draft, stays) = if may_move {
                let refs = self.moves(&state, &batch, proposal.current).await?;
                let draft = batch.draft(Act::Push, proposal.current, &proposal.actor);
                (Draft { refs, ..draft }, None)
            } else {
                let already =
                    state.root == proposal.current || self.is_echo(&state, proposal).await?;
                let stays = if already {
                    Committed::Already
                } else {
                    Committed::Stale
                };
                let draft = batch.draft(Act::Add, state.root, &proposal.actor);
                (draft, Some(stays))
            };
            let nothing_to_write = draft.act == Act::Add && draft.added.is_empty();
            if nothing_to_write || self.append(&state, &draft).await? {
                return Ok(stays.unwrap_or(Committed::Moved(draft.refs)));
            }
        }
        Err(RepositoryError::Busy { attempts: ATTEMPTS })
    }

    /// Tries to append; false if somebody else's record came first. The caller holds `appending`.
    pub(crate) async fn append(
        &self,
        state: &State,
        draft: &Draft,
    ) -> Result<bool, RepositoryError> {
        // Whoever waits for the answer may go away, and the record may come to be there all the same.
        self.attempts(state.sequence + 1);
        match self
            .shared
            .log
            .append(state, draft, self.shared.parts.ids.stamp())
            .await?
        {
            Appended::Won(after) => {
                // What the record released is damaged no more, and what it names needs no note at hand.
                self.forget_damage(&after);
                for file in &draft.added {
                    self.shared.notes.remove(&file.id);
                }
                self.saw(after).await;
                Ok(true)
            }
            Appended::Lost(after) => {
                self.saw(after).await;
                Ok(false)
            }
        }
    }

    /// Finds the notes of the files that are not named yet, and checks that nothing they refer to is absent.
    async fn check_batch(
        &self,
        state: &State,
        files: &[NamedFile],
    ) -> Result<Batch, RepositoryError> {
        let mut notes: Vec<Arc<UploadNote>> = Vec::new();
        let mut released = Vec::new();
        for wanted in &named_once(files)? {
            let (sound, damaged) = self.named_so(state, wanted);
            if let Some(file) = sound {
                check_count(wanted, file.chunks)?;
                continue;
            }
            let note = self.newest_note(state, wanted).await?;
            let is_merged_away = state.retired.contains_key(&note.file.upload);
            if !is_merged_away {
                let is_same = |file: &&StoredFile| file.sha256 == note.file.sha256;
                released.extend(damaged.into_iter().filter(is_same).map(|file| file.upload));
                notes.push(note);
            }
        }
        let mut named = self.named(state, View::Current).await?;
        if !notes.is_empty() {
            named = Arc::new(named.with(notes.iter().map(|note| self.as_served(&note.file))));
        }
        let batch = Batch {
            notes,
            released,
            named,
        };
        for note in &batch.notes {
            match note.is_older_than_a_release(state) {
                true => self.check_references(&batch.named, note).await?,
                false => self.check_leaving(&batch.named, note).await?,
            }
        }
        Ok(batch)
    }

    /// A file that a state names so, and the damaged ones of that name.
    fn named_so<'a>(
        &self,
        state: &'a State,
        wanted: &NamedFile,
    ) -> (Option<&'a StoredFile>, Vec<&'a StoredFile>) {
        let named = state.files.values().filter(|file| file.id == wanted.id);
        let (damaged, sound): (Vec<_>, Vec<_>) =
            named.partition(|file| self.damage(file.upload).is_some());
        (sound.first().copied(), damaged)
    }

    /// The note of the file that a request means: the newest that has as many chunks, and of those a table file, which has its
    /// id by right.
    async fn newest_note(
        &self,
        state: &State,
        wanted: &NamedFile,
    ) -> Result<Arc<UploadNote>, RepositoryError> {
        let now = self.time_of(state);
        let is_it =
            |note: &Arc<UploadNote>| note.file.chunks == wanted.chunks && note.is_relied_on(now);
        // What is on its way out may have its note still, and not its bytes.
        let is_sound = |note: &&Arc<UploadNote>| {
            let upload = note.file.upload;
            self.damage(upload).is_none() && !state.released.contains_key(&upload)
        };
        if let Some(note) = self
            .note_at_hand(wanted.id)
            .filter(|note| is_it(note) && is_sound(&note))
        {
            return Ok(note);
        }
        let notes = self.notes(wanted.id).await?;
        let newest = notes.iter().filter(is_sound).max_by_key(|note| {
            let is_table = note.file.kind == FileKind::Table;
            (note.file.chunks == wanted.chunks, is_table, note.time)
        });
        let note = newest.ok_or(RepositoryError::NotUploaded { id: wanted.id })?;
        check_count(wanted, note.file.chunks)?;
        Ok(Arc::clone(note))
    }

    async fn check_leaving(&self, named: &Named, note: &UploadNote) -> Result<(), RepositoryError> {
        let mut dangling: Option<(ChunkAddress, usize)> = None;
        let mut leaving = self.leaving(note);
        while let Some(addresses) = leaving.next().await? {
            let found = self.locate_in(named, &addresses).await?;
            for (address, _) in addresses
                .iter()
                .zip(found)
                .filter(|(_, location)| location.is_none())
            {
                let (_, count) = dangling.get_or_insert((*address, 0));
                *count += 1;
            }
        }
        no_dangling(note, dangling)
    }

    /// The same of all references, also of those that were found when the file was uploaded.
    async fn check_references(
        &self,
        named: &Named,
        note: &UploadNote,
    ) -> Result<(), RepositoryError> {
        no_dangling(note, references::lost(self, named, &note.file).await?)
    }

    async fn moves(
        &self,
        state: &State,
        batch: &Batch,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, RepositoryError> {
        let refused = |source| RepositoryError::RootRefused { root: new, source };
        let Some(chunk) = new.chunk() else {
            let reason = "a repository that has a root cannot be made empty by a push".to_owned();
            return Err(refused(MeaningError {
                kind: ErrorKind::Refused,
                reason,
            }));
        };
        if self
            .locate_in(&batch.named, &[chunk])
            .await?
            .iter()
            .any(Option::is_none)
        {
            return Err(RepositoryError::RootAbsent { root: new });
        }
        let chunks = NamedChunks {
            repository: self,
            named: &batch.named,
        };
        let moves = self
            .shared
            .parts
            .meaning
            .moves(&chunks, state.root, new)
            .await;
        moves.map_err(|error| match error {
            MovesError::Refused(source) => refused(source),
            MovesError::Read(source) => source,
        })
    }

    /// Whether this proposal was accepted before and only its reply was lost: since the root was last at
    /// `last`, a record moved it from there to the wanted root, by the same identity, not long ago.
    async fn is_echo(&self, state: &State, proposal: &Proposal) -> Result<bool, RepositoryError> {
        let now = self.shared.parts.clock.now();
        let oldest = state.sequence.saturating_sub(ECHO_RECORDS) + 1;
        let mut last = state.sequence;
        while last >= oldest {
            let first = last.saturating_sub(SEARCHED_AT_ONCE - 1).max(oldest);
            for moved in self.shared.log.root_moves(first..=last).await?.iter().rev() {
                if moved.new_root == proposal.last || now.since(moved.time) > ECHO {
                    return Ok(false);
                }
                let is_the_move =
                    moved.old_root == proposal.last && moved.new_root == proposal.current;
                if is_the_move && moved.actor == proposal.actor.name {
                    return Ok(true);
                }
            }
            last = first - 1;
        }
        Ok(false)
    }
}

fn no_dangling(note: &UploadNote, lost: Lost) -> Result<(), RepositoryError> {
    match lost {
        None => Ok(()),
        Some((first, count)) => Err(RepositoryError::Dangling {
            id: note.file.id,
            count,
            first,
        }),
    }
}

/// Files that one request adds, and all that will be named with them.
#[derive(Debug)]
struct Batch {
    notes: Vec<Arc<UploadNote>>,
    /// Damaged files whose very bytes came again.
    released: Vec<UploadId>,
    named: Arc<Named>,
}

impl Batch {
    fn draft(&self, act: Act, new_root: RootAddress, actor: &Actor) -> Draft {
        Draft {
            act,
            actor: actor.clone(),
            new_root,
            refs: Vec::new(),
            added: self.notes.iter().map(|note| note.file.clone()).collect(),
            retired: Vec::new(),
            released: self.released.clone(),
            deletions: Deletions::default(),
        }
    }
}

/// Each file once. A clone asks for a file by its id alone, so that of two with one id it would get one: a request that
/// names both is refused.
fn named_once(files: &[NamedFile]) -> Result<Vec<NamedFile>, RepositoryError> {
    let mut counts = HashMap::with_capacity(files.len());
    let mut once = Vec::with_capacity(files.len());
    for file in files {
        match counts.insert(file.id, file.chunks) {
            None => once.push(*file),
            Some(chunks) if chunks == file.chunks => {}
            Some(chunks) => {
                return Err(RepositoryError::NamedTwice {
                    id: file.id,
                    chunks,
                    other: file.chunks,
                });
            }
        }
    }
    Ok(once)
}

fn check_count(wanted: &NamedFile, have: u32) -> Result<(), RepositoryError> {
    if wanted.chunks == have {
        Ok(())
    } else {
        Err(RepositoryError::ChunkCount {
            id: wanted.id,
            said: wanted.chunks,
            have,
        })
    }
}
