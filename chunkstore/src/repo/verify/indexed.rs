//! What the chunk index says of one file, beside what the file is.

use std::collections::HashSet;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::index::{ChunkEntry, IndexError};
use crate::repo::error::{RepositoryError, index};
use crate::repo::repository::Repository;
use crate::repo::served::ServedFile;
use crate::repo::state::State;
use crate::repo::verify::history::chain;
use crate::repo::verify::{Damage, Report};

/// How many entries are compared at once; those of one address stay together.
const BATCH: usize = 16_384;

/// The files that the index claims to hold; none where it cannot be read, which is reported. The others are no
/// damage: they will be read in when they are asked for.
pub(super) async fn claimed(
    repository: &Repository,
    state: &State,
    report: &mut Report,
) -> Result<HashSet<UploadId>, RepositoryError> {
    let files: Vec<UploadId> = state.files.keys().copied().collect();
    let chunk_index = &repository.shared.parts.index;
    match chunk_index.has_files(repository.pool(), &files).await {
        Ok(marks) => {
            let marked = files.into_iter().zip(marks).filter(|(_, marked)| *marked);
            Ok(marked.map(|(file, _)| file).collect())
        }
        Err(damage @ IndexError::Damaged { .. }) => {
            report.find(Damage::Index, "the chunk index", chain(&damage));
            Ok(HashSet::new())
        }
        Err(error) => Err(index("ask what the chunk index holds")(error)),
    }
}

/// Compares the entries of one file, handed in in ascending order, with the index that claims to hold it.
pub(super) struct IndexCheck<'a> {
    repository: &'a Repository,
    served: &'a ServedFile,
    /// The generation of the index that claimed to hold the file.
    generation: u64,
    batch: Vec<ChunkEntry>,
    wrong: u64,
    first_wrong: Option<ChunkAddress>,
    /// The index could not be read any further.
    damage: Option<String>,
}

impl<'a> IndexCheck<'a> {
    pub(super) fn begin(repository: &'a Repository, served: &'a ServedFile) -> Self {
        Self {
            repository,
            served,
            generation: repository.shared.parts.index.generation(),
            batch: Vec::new(),
            wrong: 0,
            first_wrong: None,
            damage: None,
        }
    }

    /// Takes the next entry of the file.
    pub(super) async fn push(&mut self, entry: ChunkEntry) -> Result<(), RepositoryError> {
        let is_next_address = |last: &ChunkEntry| last.address != entry.address;
        if self.batch.len() >= BATCH && self.batch.last().is_some_and(is_next_address) {
            self.compare().await?;
        }
        self.batch.push(entry);
        Ok(())
    }

    /// Compares the rest, and reports.
    pub(super) async fn finish(mut self, report: &mut Report) -> Result<(), RepositoryError> {
        self.compare().await?;
        if let Some(damage) = self.damage {
            report.find(Damage::Index, &self.served.key, damage);
            return Ok(());
        }
        let is_same_index = self.repository.shared.parts.index.generation() == self.generation;
        if let Some(first) = self.first_wrong
            && is_same_index
        {
            let count = self.wrong;
            let detail = format!("{count} chunks are indexed elsewhere or not, such as {first}");
            report.find(Damage::Index, &self.served.key, detail);
        }
        Ok(())
    }

    /// The index names a file once for an address, whichever of its places in the file that is.
    async fn compare(&mut self) -> Result<(), RepositoryError> {
        let batch = std::mem::take(&mut self.batch);
        if self.damage.is_some() {
            return Ok(());
        }
        let runs: Vec<&[ChunkEntry]> = batch.chunk_by(|a, b| a.address == b.address).collect();
        let wanted: Vec<ChunkAddress> = runs.iter().map(|run| run[0].address).collect();
        let chunk_index = &self.repository.shared.parts.index;
        let found = match chunk_index.locate(self.repository.pool(), &wanted).await {
            Err(damage @ IndexError::Damaged { .. }) => {
                self.damage = Some(chain(&damage));
                return Ok(());
            }
            found => found.map_err(index("look chunks up"))?,
        };
        let upload = self.served.file.upload;
        for (run, places) in runs.iter().zip(found) {
            let is_right = places.iter().any(|place| {
                place.file == upload && run.iter().any(|entry| entry.span == place.span)
            });
            if !is_right {
                self.wrong += 1;
                self.first_wrong.get_or_insert(run[0].address);
            }
        }
        Ok(())
    }
}
