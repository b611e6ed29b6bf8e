//! Data files that a record names and whose bytes are not what was stored.
//!
//! A file is noticed when it is missing or short where the store is listed, and when a read of it finds nothing, too
//! little, or a chunk with another address. From then on it does not count: what lies in it alone is absent to a client
//! that sends, and an error of its own to one that reads.
//!
//! # Truth
//! The object store. What is kept here is what this process came across; another server notices for itself.
//!
//! # Cleanup
//! A file that is put right counts again as soon as it is looked at: when it is asked for, and by [`again`]. A file that no
//! record names any more is forgotten. One that nothing needs any more is released by a record: all
//! below the root, and all that the chunks of the other files refer to, lies in the other files. Where that was so all
//! along, and nothing was sent again, it stays for [`DAMAGE_STAYS`]: chunks of history go with it.

pub(crate) mod again;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::id::UploadId;
use crate::objects::{ObjectError, ObjectKey, ObjectMeta};
use crate::repo::entries::EntriesError;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::name::RepoName;
use crate::repo::repository::Repository;
use crate::repo::rewrite::RewriteError;
use crate::repo::state::State;

/// How long a damaged file stays named that only history needs: a disk or a bucket that lost it for a while may bring it
/// back, and an operator may have moved it.
pub const DAMAGE_STAYS: Duration = Duration::from_hours(24);

/// A data file that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// The repository that names it.
    pub repo: RepoName,
    /// Where its bytes should be.
    pub key: ObjectKey,
    /// What is wrong with it, in a few words.
    pub what: String,
}

impl DamagedFile {
    /// The answer to a question that cannot be answered without the file.
    pub fn error(self) -> RepositoryError {
        let Self { key, what, .. } = self;
        RepositoryError::FileDamaged { key, what }
    }
}

/// A damaged file, and what its object looked like when all of it was read last; nothing if it was not since.
#[derive(Debug)]
struct Noticed {
    file: DamagedFile,
    read_at: Option<Stamp>,
    /// When it was noticed, by the monotonic clock.
    since: Duration,
    /// Whether a client asked for what it holds, or the other files were found to lack something: where they lack nothing
    /// any more, it was sent again. Or its bytes were read, and are others.
    is_needed: bool,
}

/// What tells without reading that an object is another one: its length, and when it was stored.
pub(crate) type Stamp = (u64, Timestamp);

/// The damaged files that this process knows, of all repositories.
#[derive(Debug, Default)]
pub(crate) struct DamagedFiles {
    files: Mutex<BTreeMap<UploadId, Noticed>>,
    /// How often the set has changed; 0 while none was ever noticed.
    changes: AtomicU64,
}

impl DamagedFiles {
    /// How often the set has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// What is known to be wrong with a file.
    pub(crate) fn get(&self, upload: UploadId) -> Option<DamagedFile> {
        match self.changes() {
            0 => None,
            _ => (self.files.lock().get(&upload)).map(|noticed| noticed.file.clone()),
        }
    }

    /// Notes a file. Whether it was not known yet.
    fn note(&self, upload: UploadId, file: DamagedFile, now: Duration) -> bool {
        let mut files = self.files.lock();
        let is_new = !files.contains_key(&upload);
        let noticed = files.entry(upload).or_insert_with(|| Noticed {
            file: file.clone(),
            read_at: None,
            since: now,
            is_needed: false,
        });
        noticed.file = file;
        if is_new {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        is_new
    }

    /// Notes that something is lacking while these files are damaged.
    pub(crate) fn note_needed<'a>(&self, uploads: impl Iterator<Item = &'a UploadId>) {
        let mut files = self.files.lock();
        for upload in uploads {
            if let Some(noticed) = files.get_mut(upload) {
                noticed.is_needed = true;
            }
        }
    }

    /// Whether a file may be released where nothing is lacking: what it held was sent again, or it has been damaged for
    /// so long that it will hardly come back.
    pub(crate) fn may_go(&self, upload: UploadId, now: Duration) -> bool {
        let files = self.files.lock();
        files.get(&upload).is_some_and(|noticed| {
            noticed.is_needed || now.saturating_sub(noticed.since) >= DAMAGE_STAYS
        })
    }

    /// What the object of a damaged file looked like when all of it was read last.
    fn read_at(&self, upload: UploadId) -> Option<Stamp> {
        self.files.lock().get(&upload)?.read_at
    }

    /// Notes that all of a file was read, and is damaged still.
    fn note_read(&self, upload: UploadId, stamp: Stamp) {
        if let Some(noticed) = self.files.lock().get_mut(&upload) {
            noticed.read_at = Some(stamp);
        }
    }

    /// Forgets a file that is whole again. Whether it was known.
    fn forget(&self, upload: UploadId) -> bool {
        let was_known = self.files.lock().remove(&upload).is_some();
        if was_known {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        was_known
    }

    /// Forgets the files of a repository that its state does not name.
    fn forget_unnamed(&self, repo: &RepoName, state: &State) {
        if self.changes() == 0 {
            return;
        }
        let mut files = self.files.lock();
        let before = files.len();
        files.retain(|upload, noticed| {
            noticed.file.repo != *repo || state.files.contains_key(upload)
        });
        if files.len() < before {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// All of them, by repository.
    pub(crate) fn all(&self) -> Vec<DamagedFile> {
        let files = self.files.lock();
        let mut all: Vec<_> = files.values().map(|noticed| noticed.file.clone()).collect();
        drop(files);
        all.sort_by(|a, b| (&a.repo, &a.key).cmp(&(&b.repo, &b.key)));
        all
    }
}

/// What is wrong with a stored file whose reading ended so; nothing if the error says nothing of the file.
pub(crate) fn damage_of(error: &RepositoryError) -> Option<String> {
    match error {
        RepositoryError::Object { source, .. } => damage_of_object(source),
        RepositoryError::Damaged { what, .. } => Some(what.clone()),
        RepositoryError::Entries { source } => match source {
            EntriesError::Object { source, .. } => damage_of_object(source),
            EntriesError::Damaged { source, .. } => Some(format!("its index is damaged: {source}")),
            EntriesError::Different { .. } => Some("its footer is another file's".to_owned()),
            EntriesError::Spool { .. } | EntriesError::Scratch { .. } => None,
        },
        _ => None,
    }
}

fn damage_of_object(error: &ObjectError) -> Option<String> {
    match error {
        ObjectError::NotFound { .. } => Some("it is missing".to_owned()),
        ObjectError::Range { len, .. } => Some(format!("it has only {len} bytes")),
        _ => None,
    }
}

/// What is wrong with a stored file out of which another could not be made.
pub(crate) fn damage_of_input(error: &RewriteError) -> String {
    let what = match error {
        RewriteError::Entries(EntriesError::Object { source, .. })
        | RewriteError::Object { source, .. } => damage_of_object(source),
        RewriteError::Entries(error) => Some(error.to_string()),
        _ => None,
    };
    what.unwrap_or_else(|| error.to_string())
}

impl Repository {
    /// Notes that a file is damaged, and says so once.
    pub(crate) fn note_damage(&self, file: &StoredFile, what: String) -> DamagedFile {
        let damaged = DamagedFile {
            repo: self.shared.name.clone(),
            key: layout::file(self.shared.pool, file),
            what,
        };
        let now = self.shared.parts.clock.monotonic();
        if self.shared.damaged.note(file.upload, damaged.clone(), now) {
            let DamagedFile { repo, key, what } = &damaged;
            let next = "`holdfast push --repair` from a whole clone sends what it held again";
            tracing::error!(%repo, file = %file.id, %key, damage = what, next, "a data file is damaged");
        }
        damaged
    }

    /// What is known to be wrong with a file.
    pub(crate) fn damage(&self, upload: UploadId) -> Option<DamagedFile> {
        self.shared.damaged.get(upload)
    }

    /// The damaged files that a state names.
    pub(crate) fn damaged_in(&self, state: &State) -> Vec<(UploadId, DamagedFile)> {
        if self.shared.damaged.changes() == 0 {
            return Vec::new();
        }
        let files = state.files.keys();
        files
            .filter_map(|upload| Some((*upload, self.damage(*upload)?)))
            .collect()
    }

    /// Forgets damaged files that are not named any more.
    pub(crate) fn forget_damage(&self, state: &State) {
        let repo = &self.shared.name;
        self.shared.damaged.forget_unnamed(repo, state);
    }

    /// Whether a file is there and as long as it was; notes it where not. One that is known to be damaged is looked at
    /// again.
    pub(crate) async fn look_at(
        &self,
        file: &StoredFile,
    ) -> Result<Option<DamagedFile>, RepositoryError> {
        if self.damage(file.upload).is_some() {
            return self.look_at_again(file).await;
        }
        let key = layout::file(self.shared.pool, file);
        let what = match self.shared.parts.objects.head(&key).await {
            Ok(meta) if meta.len == file.len => return Ok(None),
            Ok(meta) => wrong_len(meta.len, file.len),
            Err(ObjectError::NotFound { .. }) => "it is missing".to_owned(),
            Err(error) => return Err(object("look for a data file")(error)),
        };
        Ok(Some(self.note_damage(file, what)))
    }

    /// Reads all of a file that the last state names, by the last segment of its key, and compares it with what was
    /// taken in; notes it where it is another one now. What a client cannot read it needs.
    pub async fn check_bytes(&self, name: &str) -> Result<Option<DamagedFile>, RepositoryError> {
        let state = self.state().await?;
        let upload = layout::parse_file_name(name).map(|(_, upload, _)| upload);
        let Some(file) = upload.and_then(|upload| state.files.get(&upload)) else {
            return Ok(None);
        };
        let damaged = match self.look_at(file).await? {
            Some(damaged) => damaged,
            None if self.is_intact(file).await? => return Ok(None),
            None => self.note_damage(file, "its SHA-256 is not the recorded one".to_owned()),
        };
        let needed = std::iter::once(&file.upload);
        self.shared.damaged.note_needed(needed);
        Ok(Some(damaged))
    }

    /// Compares the files that the last record leaves named with one listing of the store. Returns how many are
    /// missing or have another length; each is noted.
    pub async fn look_for_damage(&self) -> Result<usize, RepositoryError> {
        let state = self.state().await?;
        let mut found = 0;
        for file in self.unlisted(&state).await? {
            // The list may be older than the file, and the file's record is not the last any more.
            let is_damaged = self.look_at(&file).await?.is_some();
            found += usize::from(is_damaged);
        }
        Ok(found)
    }

    /// The files of a state that a listing of the store does not show as they should be. A page of the list is in
    /// memory, and not more.
    async fn unlisted(&self, state: &State) -> Result<Vec<StoredFile>, RepositoryError> {
        if state.files.is_empty() {
            return Ok(Vec::new());
        }
        let pool = self.shared.pool;
        let keyed = state.files.values();
        let mut keyed: Vec<(ObjectKey, &StoredFile)> =
            keyed.map(|file| (layout::file(pool, file), file)).collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let mut wanted = keyed.into_iter().peekable();
        let mut unlisted = Vec::new();
        let mut last: Option<ObjectKey> = None;
        while wanted.peek().is_some() {
            let objects = &self.shared.parts.objects;
            let page = objects.list(&layout::files(pool), last.as_ref()).await;
            let page: Vec<ObjectMeta> = page.map_err(object("list the data files"))?;
            let Some(end) = page.last().map(|meta| meta.key.clone()) else {
                break;
            };
            for meta in page {
                while let Some((_, file)) = wanted.next_if(|(key, _)| *key < meta.key) {
                    unlisted.push(file.clone());
                }
                if let Some((_, file)) = wanted.next_if(|(key, _)| *key == meta.key)
                    && file.len != meta.len
                {
                    unlisted.push(file.clone());
                }
            }
            last = Some(end);
        }
        unlisted.extend(wanted.map(|(_, file)| file.clone()));
        Ok(unlisted)
    }
}

pub(crate) fn wrong_len(found: u64, recorded: u64) -> String {
    format!("it has {found} bytes, not {recorded}")
}
