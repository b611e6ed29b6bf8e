//! Sorted files beside the database, on their way into it.

use std::path::{Path, PathBuf};

use rocksdb::{DB, Options, SstFileWriter};

use crate::index::rocks::keys::{self, FileNumber, PoolNumber};
use crate::index::rocks::{failure, options, values};
use crate::index::{CheckedEntries, IndexError};

/// How many entries are written before the length of the file is looked at.
const ENTRIES_PER_LOOK: usize = 1024;

/// The sorted files of one stored file. Dropping them removes what was not taken over.
#[derive(Debug)]
pub(super) struct SortedFiles<'a> {
    directory: &'a Path,
    number: FileNumber,
    paths: Vec<PathBuf>,
}

impl<'a> SortedFiles<'a> {
    /// Begins without a file in `directory`; `number` is in the names and in the entries.
    pub(super) fn new(directory: &'a Path, number: FileNumber) -> Self {
        Self {
            directory,
            number,
            paths: Vec::new(),
        }
    }

    /// Writes all entries, in as many files as their size asks for.
    pub(super) fn write_chunks(
        &mut self,
        options: &Options,
        pool: PoolNumber,
        entries: CheckedEntries,
    ) -> Result<(), IndexError> {
        let mut entries = entries.peekable();
        let mut value = Vec::new();
        while entries.peek().is_some() {
            let mut writer = SstFileWriter::create(options);
            writer.open(self.next_path()).map_err(begin())?;
            for (i, entry) in entries.by_ref().enumerate() {
                let entry = entry?;
                value.clear();
                values::encode_place(&mut value, self.number, &entry.span);
                writer
                    .merge(keys::chunk(pool, &entry.address), &value)
                    .map_err(write())?;
                let is_look = i % ENTRIES_PER_LOOK == ENTRIES_PER_LOOK - 1;
                if is_look && writer.file_size() >= options::SORTED_FILE_BYTES {
                    break;
                }
            }
            writer.finish().map_err(write())?;
        }
        Ok(())
    }

    /// Writes one file of records, whose keys must be in order and behind those of all chunks.
    pub(super) fn write_records<'r>(
        &mut self,
        options: &Options,
        records: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Result<(), IndexError> {
        let mut writer = SstFileWriter::create(options);
        writer.open(self.next_path()).map_err(begin())?;
        for (key, value) in records {
            writer.put(key, value).map_err(write())?;
        }
        writer.finish().map_err(write())
    }

    /// Has the database take all files over, in one step.
    pub(super) fn ingest(self, database: &DB) -> Result<(), IndexError> {
        database
            .ingest_external_file_opts(&options::ingestion(), self.paths.clone())
            .map_err(failure::rocks("take sorted files over"))
    }

    fn next_path(&mut self) -> PathBuf {
        let name = format!("{}-{}.sst", self.number.0, self.paths.len());
        let path = self.directory.join(name);
        self.paths.push(path.clone());
        path
    }
}

impl Drop for SortedFiles<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            // What stays is removed at the next opening.
            std::fs::remove_file(path).ok();
        }
    }
}

fn begin() -> impl FnOnce(rocksdb::Error) -> IndexError {
    failure::rocks("begin a sorted file")
}

fn write() -> impl FnOnce(rocksdb::Error) -> IndexError {
    failure::rocks("write a sorted file")
}
