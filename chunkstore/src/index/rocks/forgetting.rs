//! Files that nothing names any more leave the index: all but those of a set.
//!
//! # Order
//! Their markers, so that no question counts on their entries; then their places, out of one row after the other; then
//! the records of their numbers. A row is rewritten while no question is answered and nothing goes in.
//!
//! # Crash
//! What was written before is kept, in this order; a number is never without its record while a row names it. Places
//! without a marker are rubbish, which the next time finds.
//!
//! # Cost
//! All rows of the pool are read, and those that change are written; then the pool is compacted. So this is done when
//! there is much to forget.

use std::collections::{BTreeSet, HashMap};

use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::rocks::handle::Handle;
use crate::index::rocks::keys::{self, ChunkKey, FileNumber, PoolNumber};
use crate::index::rocks::{failure, values};
use crate::index::{FileSet, IndexError};

/// How many rows are read in one turn.
const ROWS: usize = 8192;

/// How far it has come.
pub(super) struct Forgetting {
    pool: PoolNumber,
    kept: FileSet,
    /// The row to go on at.
    next: ChunkAddress,
    /// The numbers of files that are forgotten.
    numbers: BTreeSet<FileNumber>,
    /// How many places were taken out.
    forgotten: u64,
}

impl Handle {
    /// Takes the markers of the others away; nothing if they have too few entries together.
    pub(super) fn begin_forgetting(
        &self,
        pool: PoolId,
        kept: FileSet,
        least: u64,
    ) -> Result<Option<Forgetting>, IndexError> {
        let Some(pool) = self.pool_number(&pool)? else {
            return Ok(None);
        };
        let _nobody_asks = self.rewriting.write();
        let others = self.others(pool, &kept)?;
        let mut count = 0;
        for (_, number) in &others {
            let action = "read how many entries a file has";
            let entries = self.get(action, &keys::entries(*number), |value| {
                values::decode_fixed_u32("a number of entries", value)
            })?;
            count += u64::from(entries.unwrap_or(0));
        }
        if others.is_empty() || count < least {
            return Ok(None);
        }
        let mut batch = WriteBatch::default();
        for (file, _) in &others {
            batch.delete(keys::marker(pool, file));
            self.markers.remove(&(pool, *file));
        }
        self.write(batch, "remove the markers of files")?;
        Ok(Some(Forgetting {
            pool,
            kept,
            next: ChunkAddress::new([0; 20]),
            numbers: others.into_iter().map(|(_, number)| number).collect(),
            forgotten: 0,
        }))
    }

    /// The files of a pool that are not kept, with their numbers.
    fn others(
        &self,
        pool: PoolNumber,
        kept: &FileSet,
    ) -> Result<Vec<(UploadId, FileNumber)>, IndexError> {
        let action = "list the files of a pool";
        let first = keys::marker(pool, &UploadId::new([0; 16]));
        let mut others = Vec::new();
        for row in self
            .database
            .iterator(IteratorMode::From(&first, Direction::Forward))
        {
            let (key, value) = row.map_err(failure::rocks(action))?;
            let Some(file) = keys::decode_marker(pool, &key) else {
                break;
            };
            if !kept.contains(&file) {
                let number = values::decode_fixed_u32("a marker", &value);
                others.push((file, FileNumber(number.map_err(failure::damaged(action))?)));
            }
        }
        Ok(others)
    }

    /// Goes through some rows. Whether those were the last.
    pub(super) fn forget_some(&self, forgetting: &mut Forgetting) -> Result<bool, IndexError> {
        let action = "read the places of chunks";
        let first = keys::chunk(forgetting.pool, &forgetting.next);
        let mut changed: Vec<ChunkKey> = Vec::new();
        let mut known = HashMap::new();
        let rows = self
            .database
            .iterator(IteratorMode::From(&first, Direction::Forward));
        for (read, row) in rows.enumerate() {
            let (key, value) = row.map_err(failure::rocks(action))?;
            let Some(address) = keys::decode_chunk(forgetting.pool, &key) else {
                return self
                    .rewrite(forgetting, &changed, &mut known)
                    .map(|()| true);
            };
            // The last of one turn is the first of the next.
            if read == ROWS {
                forgetting.next = address;
                return self
                    .rewrite(forgetting, &changed, &mut known)
                    .map(|()| false);
            }
            let mut numbers = Vec::new();
            values::decode_places(&value, |number, _| numbers.push(number))
                .map_err(failure::damaged(action))?;
            for number in numbers {
                if self.is_gone(forgetting, &mut known, number)? {
                    changed.push(keys::chunk(forgetting.pool, &address));
                    break;
                }
            }
        }
        self.rewrite(forgetting, &changed, &mut known)
            .map(|()| true)
    }

    /// Whether the places under a number go: its record will, or its file is not to be kept and has no marker. A file
    /// that is added again meanwhile has another number.
    fn is_gone(
        &self,
        forgetting: &Forgetting,
        known: &mut HashMap<FileNumber, bool>,
        number: FileNumber,
    ) -> Result<bool, IndexError> {
        if forgetting.numbers.contains(&number) {
            return Ok(true);
        }
        if let Some(is_gone) = known.get(&number) {
            return Ok(*is_gone);
        }
        let (_, file) = match self.files.get(&number) {
            Some(record) => record,
            None => self.read_file_record(number)?,
        };
        let is_gone = !forgetting.kept.contains(&file) && !self.has_file(forgetting.pool, &file)?;
        known.insert(number, is_gone);
        Ok(is_gone)
    }

    /// Takes the places of files that are gone out of rows, read again while nothing changes them.
    fn rewrite(
        &self,
        forgetting: &mut Forgetting,
        rows: &[ChunkKey],
        known: &mut HashMap<FileNumber, bool>,
    ) -> Result<(), IndexError> {
        if rows.is_empty() {
            return Ok(());
        }
        let action = "rewrite the places of chunks";
        let _nobody_asks = self.rewriting.write();
        // What seemed to be gone may have been added again.
        known.clear();
        let is_sorted = true;
        let values =
            self.database
                .batched_multi_get_cf_opt(self.column(), rows, is_sorted, &self.reads);
        let mut batch = WriteBatch::default();
        for (key, value) in rows.iter().zip(values) {
            let Some(value) = value.map_err(failure::rocks(action))? else {
                continue;
            };
            let mut numbers = Vec::new();
            values::decode_places(&value, |number, _| numbers.push(number))
                .map_err(failure::damaged(action))?;
            let mut gone = BTreeSet::new();
            for number in numbers {
                if self.is_gone(forgetting, known, number)? {
                    forgetting.forgotten += 1;
                    gone.insert(number);
                }
            }
            let kept = values::without(&value, |number| gone.contains(&number));
            let kept = kept.map_err(failure::damaged(action))?;
            if kept.is_empty() {
                batch.delete(key);
            } else if !gone.is_empty() {
                batch.put(key, kept);
            }
            forgetting.numbers.extend(gone);
        }
        self.write(batch, action)
    }

    /// Removes the records of the numbers, which no row names any more, and has the database tidy up the pool.
    pub(super) fn end_forgetting(&self, forgetting: &Forgetting) -> Result<u64, IndexError> {
        let Forgetting { pool, numbers, .. } = forgetting;
        {
            let _nobody_asks = self.rewriting.write();
            let mut batch = WriteBatch::default();
            for number in numbers {
                batch.delete(keys::number(*number));
                batch.delete(keys::entries(*number));
                self.files.remove(number);
            }
            self.write(batch, "remove the records of file numbers")?;
        }
        let [low, high] =
            [[0; 20], [0xff; 20]].map(|address| keys::chunk(*pool, &ChunkAddress::new(address)));
        self.database
            .compact_range_cf(self.column(), Some(low), Some(high));
        Ok(forgetting.forgotten)
    }

    fn write(&self, batch: WriteBatch, action: &'static str) -> Result<(), IndexError> {
        let written = self.database.write_opt(batch, &self.writes);
        written.map_err(failure::rocks(action))
    }
}
