//! One id is one file: what comes under the id of a file that is named must hold the same chunks.
//!
//! The id of a table file is made of the addresses in it. That of an archive may be anything, as Dolt changed its rule
//! several times; and requests name files by their ids alone. If another file were taken in under an id that is named,
//! its sender would be told that it is there, and none of its chunks would be.

use crate::address::ChunkAddress;
use crate::index::SortedEntries;
use crate::repo::check::UploadError;
use crate::repo::error::index;
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::locate::Named;
use crate::repo::receive::CheckedFile;
use crate::repo::repository::Repository;
use crate::repo::uploads::{BATCH, UploadFailure};

impl Repository {
    /// Fails if another file is named by the id of a checked one, or a table file that this process took in last waits to
    /// be: that has its id by right.
    pub(crate) async fn check_id(&self, checked: &CheckedFile) -> Result<(), UploadFailure> {
        let file = checked.summary();
        let state = self.state().await?;
        let named = state.files.values().filter(|named| named.id == file.id);
        let now = self.time_of(&state);
        let at_hand = self.note_at_hand(file.id);
        let waiting = at_hand.filter(|note| {
            let is_table = note.file.kind == FileKind::Table && note.is_relied_on(now);
            is_table && !state.released.contains_key(&note.file.upload)
        });
        let others = named.chain(waiting.as_deref().map(|note| &note.file));
        for other in others.filter(|other| self.damage(other.upload).is_none()) {
            if !self.holds_the_same(other, checked).await? {
                return Err(UploadError::IdTaken { id: file.id }.into());
            }
        }
        Ok(())
    }

    async fn holds_the_same(
        &self,
        other: &StoredFile,
        checked: &CheckedFile,
    ) -> Result<bool, UploadFailure> {
        let file = checked.summary();
        let are_tables = [file.kind, other.kind] == [FileKind::Table; 2];
        if are_tables || file.sha256 == other.sha256 {
            return Ok(true);
        }
        if file.chunks != other.chunks {
            return Ok(false);
        }
        let named = Named::new(vec![self.as_served(other)], Vec::new());
        let (pool, checked) = (&self.shared.parts.pool, checked.clone());
        let entries = pool.run(move || checked.entries()).await;
        let mut entries = entries.map_err(index("read the entries of an upload"))?;
        loop {
            let (rest, batch) = pool.run(move || take_batch(entries)).await;
            entries = rest;
            let batch = batch.map_err(index("read the entries of an upload"))?;
            if batch.is_empty() {
                return Ok(true);
            }
            let found = self.locate_in(&named, &batch).await?;
            if found.iter().any(Option::is_none) {
                return Ok(false);
            }
        }
    }
}

fn take_batch(
    mut entries: SortedEntries,
) -> (
    SortedEntries,
    Result<Vec<ChunkAddress>, crate::index::IndexError>,
) {
    let addresses = entries.by_ref().take(BATCH);
    let batch = addresses.map(|entry| Ok(entry?.address)).collect();
    (entries, batch)
}
