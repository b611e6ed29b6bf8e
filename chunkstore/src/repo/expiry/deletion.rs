//! The objects of files that were released, and the lists beside older checkpoints, are deleted: these keys and no
//! others.

use std::ops::RangeInclusive;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::id::UploadId;
use crate::objects::{ObjectKey, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::layout;
use crate::repo::record::{CHECKPOINT_EVERY, Checkpoint, Listed, RetiredFile};
use crate::repo::repository::Repository;

/// How many files are deleted at once.
const AT_ONCE: usize = 8;

impl Repository {
    /// Deletes all objects of files that were released. Returns those of which nothing is left.
    pub(super) async fn delete_released(
        &self,
        files: &[RetiredFile],
    ) -> Result<Vec<UploadId>, RepositoryError> {
        let known = self.known_files(files).await?;
        let delete = |(upload, file): (UploadId, Option<StoredFile>)| async move {
            // Without a note there is nothing of it: the note goes last.
            if let Some(file) = file {
                self.delete_file(&file).await?;
            }
            Ok(upload)
        };
        let deleted = stream::iter(known).map(delete).buffered(AT_ONCE);
        deleted.try_collect().await
    }

    /// What is known of files; nothing where even the note is gone. Older checkpoints say only which upload it was.
    pub(super) async fn known_files(
        &self,
        files: &[RetiredFile],
    ) -> Result<Vec<(UploadId, Option<StoredFile>)>, RepositoryError> {
        let is_unknown = |upload: &UploadId| {
            let mut files = files.iter();
            files.any(|file| file.upload == *upload && file.file.is_none())
        };
        let names = match files.iter().any(|file| file.file.is_none()) {
            true => self.upload_names(is_unknown).await?,
            false => Default::default(),
        };
        let mut known = Vec::with_capacity(files.len());
        for RetiredFile { upload, file, .. } in files {
            let file = match (file, names.get(upload)) {
                (Some(file), _) => Some(file.clone()),
                (None, Some(name)) => {
                    let note = self.stored_note(*name, *upload).await?;
                    note.map(|note| note.file)
                }
                (None, None) => None,
            };
            known.push((*upload, file));
        }
        Ok(known)
    }

    async fn delete_file(&self, file: &StoredFile) -> Result<(), RepositoryError> {
        let StoredFile { id, upload, .. } = file;
        if file.kind == FileKind::Archive {
            self.delete_twins(*upload).await?;
        }
        self.delete(&layout::file(self.shared.pool, file)).await?;
        let note = layout::upload(self.shared.repo, *id, *upload);
        let side = match self.stored_note(*id, *upload).await {
            Ok(stored) => stored.and_then(|note| note.side(self.shared.repo)),
            // What it says of a list beside it cannot be known any more.
            Err(RepositoryError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(side) = side {
            self.delete(&side).await?;
        }
        self.delete(&note).await?;
        self.shared.notes.remove(id);
        Ok(())
    }

    /// The notes before the bytes that they name.
    async fn delete_twins(&self, archive: UploadId) -> Result<(), RepositoryError> {
        let objects = &self.shared.parts.objects;
        let listed = objects
            .list_all(&layout::twins(self.shared.pool, archive))
            .await;
        let listed = listed.map_err(object("list the classic twins of a file"))?;
        let keys = listed.into_iter().map(|meta| meta.key);
        let (notes, twins): (Vec<_>, Vec<_>) =
            keys.partition(|key| key.as_str().ends_with(".json"));
        for key in notes.iter().chain(&twins) {
            self.delete(key).await?;
        }
        Ok(())
    }

    /// Deletes the lists beside checkpoints. Returns the record of the last of them.
    pub(super) async fn clear_checkpoints(
        &self,
        checkpoints: Option<RangeInclusive<u64>>,
    ) -> Result<Option<u64>, RepositoryError> {
        let mut cleared = None;
        for number in checkpoints.into_iter().flatten() {
            let sequence = number * CHECKPOINT_EVERY;
            let record = self.history(sequence).await?;
            if let Some(checkpoint) = record.and_then(|record| record.checkpoint) {
                for key in self.lists_beside(&checkpoint) {
                    self.delete(&key).await?;
                }
            }
            cleared = Some(sequence);
        }
        Ok(cleared)
    }

    fn lists_beside(&self, checkpoint: &Checkpoint) -> Vec<ObjectKey> {
        let Checkpoint {
            files,
            retired,
            released,
            ..
        } = checkpoint;
        let texts = [texts(files), texts(retired), texts(released)];
        let keys = texts.iter().flatten();
        keys.filter_map(|text| layout::parse_side(self.shared.repo, text))
            .collect()
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), RepositoryError> {
        let deleted = self.shared.parts.objects.delete(key).await;
        deleted.map_err(object("delete an object of a released file"))
    }
}

fn texts<T>(listed: &Listed<T>) -> Vec<&str> {
    match listed {
        Listed::Inline(_) => Vec::new(),
        Listed::Side { objects, .. } => objects.iter().map(|part| part.object.as_str()).collect(),
    }
}
