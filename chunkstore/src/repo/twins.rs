//! Classic twins of archives, for clients too old to read archives.
//!
//! # Truth
//! The archive. A twin can be made again at any time; it is never named by a record. Of several twins of one
//! archive the one counts that the first note names whose twin is stored.
//!
//! # Order
//! The twin's bytes, under an id that was drawn for them, then a note, created if absent. Another server, or
//! another version of this one, may make other bytes; whoever's note comes first is right, and his note tells of
//! his bytes.
//!
//! # Crash
//! Bytes without a note are left; nobody reads them.
//!
//! # Cleanup
//! Who made a twin in vain removes it. A note whose twin is lost, or which cannot be read, is followed by
//! another.
//!
//! # Retry
//! A note whose fate is unknown is looked for before another is tried.

use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;

use crate::error::ErrorKind;
use crate::id::UploadId;
use crate::objects::{ObjectError, ObjectKey, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::rewrite::InputFile;
use crate::repo::served::ServedFile;
use crate::repo::twin;

/// The longest note that is read.
const MAX_NOTE_LEN: u64 = 64 << 10;
/// How many twins of one archive may get lost.
const MAX_NOTES: u64 = 1000;
/// How often somebody else's note may come first before it is given up.
const ATTEMPTS: u32 = 8;
/// How many twins are remembered.
const KEPT: usize = 4096;
/// How long a twin that was seen to be stored is relied on.
const RELIED_ON: Duration = Duration::from_mins(1);

/// The classic twins of a repository's archives, as far as they are known.
#[derive(Debug)]
pub(crate) struct Twins {
    /// By their archives.
    known: Cache<UploadId, Known>,
    /// One twin is made at a time: this may take minutes, and nobody else waits for it.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Known {
    twin: ServedFile,
    /// When it was last seen to be stored.
    seen: Duration,
}

impl Default for Twins {
    fn default() -> Self {
        Self {
            known: Cache::new(KEPT),
            making: tokio::sync::Mutex::default(),
        }
    }
}

/// What the notes of an archive's twins say.
enum Noted {
    /// This one counts, and is stored.
    Twin(ServedFile),
    /// None that is stored; the next note has this number.
    None(u64),
}

impl Repository {
    /// The classic twin of an archive; makes it if nobody has.
    pub(crate) async fn twin(&self, archive: &StoredFile) -> Result<ServedFile, RepositoryError> {
        if let Some(twin) = self.twin_if_made(archive.upload).await? {
            return Ok(twin);
        }
        let _making = self.shared.twins.making.lock().await;
        if let Some(twin) = self.twin_if_made(archive.upload).await? {
            return Ok(twin);
        }
        tracing::info!(repo = %self.shared.name, archive = %archive.id, "making the classic twin of an archive");
        let made = self.make_twin(archive).await?;
        let noted = self.note_twin(archive.upload, &made).await?;
        if noted != made {
            // Nobody knows of it. If it cannot be removed, it costs room and no more.
            drop(self.shared.parts.objects.delete(&made.key).await);
        }
        Ok(noted)
    }

    /// The classic twin of an archive, if somebody has made it and it is stored.
    pub(crate) async fn twin_if_made(
        &self,
        archive: UploadId,
    ) -> Result<Option<ServedFile>, RepositoryError> {
        let now = self.shared.parts.clock.monotonic();
        let known = &self.shared.twins.known;
        if let Some(twin) = known.get(&archive)
            && now.saturating_sub(twin.seen) < RELIED_ON
        {
            return Ok(Some(twin.twin));
        }
        match self.noted_twin(archive).await? {
            Noted::Twin(twin) => {
                let seen = Known {
                    twin: twin.clone(),
                    seen: now,
                };
                known.insert(archive, seen);
                Ok(Some(twin))
            }
            Noted::None(_) => {
                known.remove(&archive);
                Ok(None)
            }
        }
    }

    /// The last note of an archive's twins, and the twin that it names; none where it cannot be read.
    pub(crate) async fn last_noted_twin(
        &self,
        archive: UploadId,
    ) -> Result<Option<(ObjectKey, Option<ServedFile>)>, RepositoryError> {
        let mut last = None;
        for number in 1..=MAX_NOTES {
            let key = layout::twin_note(self.shared.pool, archive, number);
            match self.read_twin_note(archive, &key).await? {
                Some(twin) => last = Some((key, twin)),
                None => break,
            }
        }
        Ok(last)
    }

    async fn noted_twin(&self, archive: UploadId) -> Result<Noted, RepositoryError> {
        for number in 1..=MAX_NOTES {
            let key = layout::twin_note(self.shared.pool, archive, number);
            match self.read_twin_note(archive, &key).await? {
                None => return Ok(Noted::None(number)),
                Some(Some(twin)) if self.is_stored(&twin).await? => return Ok(Noted::Twin(twin)),
                Some(_) => {
                    tracing::warn!(repo = %self.shared.name, note = %key, "the classic twin of an archive is lost");
                }
            }
        }
        Err(RepositoryError::Damaged {
            key: layout::twin_note(self.shared.pool, archive, MAX_NOTES),
            what: "too many classic twins of one archive were lost".to_owned(),
        })
    }

    /// Reads a note: nothing where there is none, and no twin where it cannot be understood.
    async fn read_twin_note(
        &self,
        archive: UploadId,
        key: &ObjectKey,
    ) -> Result<Option<Option<ServedFile>>, RepositoryError> {
        let objects = &self.shared.parts.objects;
        let bytes = match objects.read(key, None, MAX_NOTE_LEN).await {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(object("read the note of a classic twin")(error)),
        };
        let file: Option<StoredFile> = serde_json::from_slice(&bytes).ok();
        let table = file.filter(|file| file.kind == FileKind::Table);
        Ok(Some(table.map(|file| ServedFile {
            key: layout::twin(self.shared.pool, archive, file.upload),
            file,
        })))
    }

    async fn is_stored(&self, twin: &ServedFile) -> Result<bool, RepositoryError> {
        match self.shared.parts.objects.head(&twin.key).await {
            Ok(meta) => Ok(meta.len == twin.file.len),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(object("look for a classic twin")(error)),
        }
    }

    /// Makes a twin and stores it under an id of its own.
    async fn make_twin(&self, archive: &StoredFile) -> Result<ServedFile, RepositoryError> {
        let parts = &self.shared.parts;
        let input = InputFile {
            key: layout::file(self.shared.pool, archive),
            file: archive.clone(),
        };
        let action = "make the classic twin of an archive";
        let made = twin::make_twin(&*parts.objects, &input, &parts.spool).await;
        let made = made.map_err(|source| derive(action, source.kind(), source))?;
        let upload = parts.ids.upload();
        let key = layout::twin(self.shared.pool, archive.upload, upload);
        let object_upload = parts
            .objects
            .upload(&key, made.path())
            .await
            .map_err(object(action))?;
        let checked = made.check(upload, object_upload, &parts.pool).await;
        let checked = checked.map_err(|source| derive(action, source.kind(), source))?;
        let file = checked.summary().clone();
        let published = checked.publish().await;
        published.map_err(|source| derive(action, source.kind(), source))?;
        Ok(ServedFile { key, file })
    }

    /// Notes a twin that was just made, and returns the one that counts.
    async fn note_twin(
        &self,
        archive: UploadId,
        made: &ServedFile,
    ) -> Result<ServedFile, RepositoryError> {
        let note = serde_json::to_vec_pretty(&made.file).expect("a file has only text keys");
        let note = Bytes::from(note);
        for _ in 0..ATTEMPTS {
            let number = match self.noted_twin(archive).await? {
                Noted::Twin(twin) => return Ok(twin),
                Noted::None(number) => number,
            };
            let key = layout::twin_note(self.shared.pool, archive, number);
            match self.shared.parts.objects.create(&key, note.clone()).await {
                Ok(()) | Err(ObjectError::AlreadyExists { .. }) => {}
                Err(error) if error.kind().is_transient() => {}
                Err(error) => return Err(object("note a classic twin")(error)),
            }
        }
        Err(RepositoryError::Busy { attempts: ATTEMPTS })
    }
}

fn derive(
    action: &'static str,
    kind: ErrorKind,
    source: impl std::error::Error + Send + Sync + 'static,
) -> RepositoryError {
    RepositoryError::Derive {
        action,
        kind,
        source: source.into(),
    }
}
