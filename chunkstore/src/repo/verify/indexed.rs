//! What the chunk index says of one file, beside what the file is.

use crate::address::ChunkAddress;
use crate::index::ChunkEntry;
use crate::repo::error::{RepositoryError, index};
use crate::repo::repository::Repository;
use crate::repo::served::ServedFile;
use crate::repo::verify::{Damage, Report};

/// How many entries are compared at once; those of one address stay together.
const BATCH: usize = 16_384;

/// Compares the entries of one file, handed in in ascending order, with the index.
pub(super) struct IndexCheck<'a> {
    repository: &'a Repository,
    served: &'a ServedFile,
    /// The generation of the index that claimed to hold the file.
    generation: u64,
    batch: Vec<ChunkEntry>,
    wrong: u64,
    first_wrong: Option<ChunkAddress>,
}

impl<'a> IndexCheck<'a> {
    /// Nothing if the index does not claim to hold the file: it will be read in when it is asked for.
    pub(super) async fn begin(
        repository: &'a Repository,
        served: &'a ServedFile,
    ) -> Result<Option<Self>, RepositoryError> {
        let chunk_index = &repository.shared.parts.index;
        let generation = chunk_index.generation();
        let marks = chunk_index
            .has_files(repository.pool(), &[served.file.upload])
            .await
            .map_err(index("ask what the chunk index holds"))?;
        Ok(marks.contains(&true).then(|| Self {
            repository,
            served,
            generation,
            batch: Vec::new(),
            wrong: 0,
            first_wrong: None,
        }))
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
        let runs: Vec<&[ChunkEntry]> = batch.chunk_by(|a, b| a.address == b.address).collect();
        let wanted: Vec<ChunkAddress> = runs.iter().map(|run| run[0].address).collect();
        let chunk_index = &self.repository.shared.parts.index;
        let found = chunk_index
            .locate(self.repository.pool(), &wanted)
            .await
            .map_err(index("look chunks up"))?;
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
