//! Classic twins of archives, for clients too old to read archives.
//!
//! # Truth
//! The archive. A twin can be made again at any time; it is never named by a record.
//!
//! # Order
//! The twin's bytes, then its note. Both are created if absent: making a twin is deterministic, so whoever
//! else makes it writes the same bytes, and the first note counts.
//!
//! # Crash
//! Bytes without a note are found to exist already when the twin is made again.

use bytes::Bytes;

use crate::error::ErrorKind;
use crate::id::UploadId;
use crate::objects::{ObjectError, ObjectStoreExt as _};
use crate::repo::check::UploadError;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::rewrite::InputFile;
use crate::repo::served::ServedFile;
use crate::repo::twin;

/// The longest note that is read.
const MAX_NOTE_LEN: u64 = 64 << 10;

impl Repository {
    /// The classic twin of an archive; makes it if nobody has.
    pub(crate) async fn twin(&self, archive: &StoredFile) -> Result<ServedFile, RepositoryError> {
        if let Some(twin) = self.twin_if_made(archive.upload).await? {
            return Ok(twin);
        }
        let _filling = self.shared.filling.lock().await;
        if let Some(twin) = self.twin_if_made(archive.upload).await? {
            return Ok(twin);
        }
        tracing::info!(repo = %self.shared.name, archive = %archive.id, "making the classic twin of an archive");
        self.make_twin(archive).await
    }

    /// The classic twin of an archive, if somebody has made it.
    pub(crate) async fn twin_if_made(
        &self,
        archive: UploadId,
    ) -> Result<Option<ServedFile>, RepositoryError> {
        if let Some(twin) = self.shared.twins.get(&archive) {
            return Ok(Some(twin));
        }
        let key = layout::twin_note(self.shared.pool, archive);
        let bytes = match self
            .shared
            .parts
            .objects
            .read(&key, None, MAX_NOTE_LEN)
            .await
        {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(object("read the note of a classic twin")(error)),
        };
        let file: StoredFile =
            serde_json::from_slice(&bytes).map_err(|error| RepositoryError::Damaged {
                key,
                what: error.to_string(),
            })?;
        let twin = ServedFile {
            key: layout::twin(self.shared.pool, archive),
            file,
        };
        self.shared.twins.insert(archive, twin.clone());
        Ok(Some(twin))
    }

    async fn make_twin(&self, archive: &StoredFile) -> Result<ServedFile, RepositoryError> {
        let parts = &self.shared.parts;
        let input = InputFile {
            key: layout::file(self.shared.pool, archive),
            file: archive.clone(),
        };
        let action = "make the classic twin of an archive";
        let made = twin::make_twin(&*parts.objects, &input, &parts.spool).await;
        let made = made.map_err(|source| derive(action, source.kind(), source))?;
        let key = layout::twin(self.shared.pool, archive.upload);
        let object_upload = parts
            .objects
            .upload(&key, made.path())
            .await
            .map_err(object(action))?;
        let checked = twin::check_twin(made, parts.ids.upload(), object_upload, &parts.pool).await;
        let checked = checked.map_err(|source| derive(action, source.kind(), source))?;
        let file = checked.summary().clone();
        match checked.publish().await {
            // Somebody else made the same twin.
            Ok(_) | Err(UploadError::Store(ObjectError::AlreadyExists { .. })) => {}
            Err(source) => return Err(derive(action, source.kind(), source)),
        }
        self.note_twin(archive.upload, &file).await
    }

    async fn note_twin(
        &self,
        archive: UploadId,
        twin: &StoredFile,
    ) -> Result<ServedFile, RepositoryError> {
        let key = layout::twin_note(self.shared.pool, archive);
        let note = Bytes::from(serde_json::to_vec_pretty(twin).expect("a file has only text keys"));
        match self.shared.parts.objects.create(&key, note).await {
            Ok(()) | Err(ObjectError::AlreadyExists { .. }) => {}
            Err(error) => return Err(object("note a classic twin")(error)),
        }
        let noted = self.twin_if_made(archive).await?;
        noted.ok_or_else(|| RepositoryError::Damaged {
            key,
            what: "it was just written and is not there".to_owned(),
        })
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
