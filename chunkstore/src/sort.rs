//! Sorting more records than fit into memory.
//!
//! A [`Sorter`] takes records of a fixed size in any order. It gathers them up to a budget of bytes, sorts
//! what it has and puts it aside as a run; a set that fits into the budget never touches the disk. The
//! [`Sorted`] result can be read any number of times, also from several threads at once, and merges the runs
//! as it is read.
//!
//! Records are compared as plain bytes, so numbers inside them are big-endian.
//!
//! * Truth: none; a sorted set can always be made again.
//! * Crash and cleanup: runs lie in files without a name, which the system removes when the last handle goes.
//! * Memory: the budget while sorting; at most 4 MiB plus one block for each run while reading.
//! * Room: asked of a [`SpillRoom`] before anything is written, and given back with the last handle.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::items::ItemReader;
use crate::merge::Merge;
use crate::pool::about_to_block;

/// What the blocks of all runs together take while they are merged.
const MERGE_BYTES: usize = 4 << 20;

/// The smallest block that a run is read by.
const MIN_BLOCK_BYTES: usize = 4 << 10;

/// The largest block that a run is read and written by.
const MAX_BLOCK_BYTES: usize = 256 << 10;

/// More runs than this are merged into one before more are made.
const MAX_RUNS: usize = 1024;

/// Where a sorter may put what does not fit, and how much it keeps in memory.
#[derive(Debug, Clone)]
pub struct SortOptions {
    /// The directory of the nameless files.
    pub directory: PathBuf,
    /// How many bytes of records are kept in memory; at least one record is.
    pub memory_bytes: usize,
    /// Who grants the room for the files; nobody if there is enough for sure.
    pub room: Option<Arc<dyn SpillRoom>>,
}

/// Grants room on a disk that others write to as well.
pub trait SpillRoom: Send + Sync + fmt::Debug {
    /// Begins a file of which nothing is written yet.
    fn begin(&self) -> io::Result<Arc<dyn SpilledRoom>>;
}

/// The room that one file takes. Dropping it gives the room back.
pub trait SpilledRoom: Send + Sync + fmt::Debug {
    /// Grants room for so many more bytes, or fails with [`io::ErrorKind::StorageFull`].
    fn grow(&self, more: u64) -> io::Result<()>;
}

/// Takes records of `N` bytes in any order.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    options: SortOptions,
    gathered: Vec<[u8; N]>,
    /// How many records may be gathered before they are put aside.
    limit: usize,
    spilled: Option<Spilled>,
    /// Whether equal records are kept apart.
    keeps_equal: bool,
    max_runs: usize,
}

/// Runs in one nameless file.
#[derive(Debug)]
struct Spilled {
    file: SpilledFile,
    runs: Vec<Run>,
    end: u64,
}

/// A nameless file and the room that it takes.
#[derive(Debug, Clone)]
struct SpilledFile {
    bytes: Arc<File>,
    room: Option<Arc<dyn SpilledRoom>>,
}

/// Sorted records that lie one behind the other in a file.
#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    len: u64,
}

impl<const N: usize> Sorter<N> {
    /// Begins an empty set in which equal records stay apart.
    pub fn new(options: SortOptions) -> Self {
        Self::begin(options, true)
    }

    /// Begins an empty set in which equal records may become one at any time. [`Sorted::distinct`] reads it.
    pub fn merging_equal(options: SortOptions) -> Self {
        Self::begin(options, false)
    }

    fn begin(options: SortOptions, keeps_equal: bool) -> Self {
        let limit = (options.memory_bytes / N.max(1)).max(1);
        Self {
            options,
            gathered: Vec::new(),
            limit,
            spilled: None,
            keeps_equal,
            max_runs: MAX_RUNS,
        }
    }

    /// Where this set may put what does not fit.
    pub fn options(&self) -> &SortOptions {
        &self.options
    }

    /// Adds a record.
    pub fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.gathered.len() >= self.limit {
            self.spill()?;
        }
        if self.gathered.len() == self.gathered.capacity() {
            // Doubling must not pass the budget.
            let more = self
                .gathered
                .len()
                .max(64)
                .min(self.limit - self.gathered.len());
            self.gathered.reserve_exact(more);
        }
        self.gathered.push(record);
        Ok(())
    }

    /// Ends the set.
    pub fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.spilled.is_some() && !self.gathered.is_empty() {
            self.spill()?;
        }
        self.sort_gathered();
        let source = match self.spilled {
            Some(spilled) => Source::Runs {
                file: spilled.file,
                runs: spilled.runs.into(),
            },
            None => Source::Memory(Arc::new(self.gathered)),
        };
        Ok(Sorted { source })
    }

    fn sort_gathered(&mut self) {
        sort_records(&mut self.gathered);
        if !self.keeps_equal {
            self.gathered.dedup();
        }
    }

    /// Puts what was gathered aside as a run.
    fn spill(&mut self) -> io::Result<()> {
        self.sort_gathered();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled::begin(&self.options)?),
        };
        if spilled.runs.len() >= self.max_runs {
            spilled.merge::<N>(&self.options)?;
        }
        spilled.add_run(self.gathered.iter().map(|record| Ok(*record)))?;
        self.gathered.clear();
        Ok(())
    }
}

impl Spilled {
    fn begin(options: &SortOptions) -> io::Result<Self> {
        let room = options.room.as_ref().map(|room| room.begin()).transpose()?;
        Ok(Self {
            file: SpilledFile {
                bytes: Arc::new(tempfile::tempfile_in(&options.directory)?),
                room,
            },
            runs: Vec::new(),
            end: 0,
        })
    }

    fn add_run<const N: usize>(
        &mut self,
        records: impl Iterator<Item = io::Result<[u8; N]>>,
    ) -> io::Result<()> {
        let start = self.end;
        let mut block = Vec::with_capacity(MAX_BLOCK_BYTES);
        for record in records {
            block.extend_from_slice(&record?);
            if block.len() + N > MAX_BLOCK_BYTES {
                self.write(&block)?;
                block.clear();
            }
        }
        self.write(&block)?;
        self.runs.push(Run {
            offset: start,
            len: self.end - start,
        });
        Ok(())
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        if let Some(room) = &self.file.room {
            room.grow(block.len() as u64)?;
        }
        about_to_block();
        self.file.bytes.write_all_at(block, self.end)?;
        self.end += block.len() as u64;
        Ok(())
    }

    /// Merges all runs into one, in a new file.
    fn merge<const N: usize>(&mut self, options: &SortOptions) -> io::Result<()> {
        let merged = MergedRuns::<N>::open(&self.file, &self.runs)?;
        let mut next = Self::begin(options)?;
        next.add_run(merged)?;
        *self = next;
        Ok(())
    }
}

/// Sorts records as plain bytes.
pub(crate) fn sort_records<const N: usize>(records: &mut [[u8; N]]) {
    // Nearly all comparisons end in the first eight bytes, which compare faster as a number.
    records.sort_unstable_by(|left, right| {
        head(left)
            .cmp(&head(right))
            .then_with(|| left.as_slice().cmp(right.as_slice()))
    });
}

/// The first eight bytes as a number; a shorter record is padded.
fn head(record: &[u8]) -> u64 {
    match record.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => record
            .iter()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    }
}

/// A sorted set of records. Clones share the records.
#[derive(Debug, Clone)]
pub struct Sorted<const N: usize> {
    source: Source<N>,
}

#[derive(Debug, Clone)]
enum Source<const N: usize> {
    Memory(Arc<Vec<[u8; N]>>),
    Runs { file: SpilledFile, runs: Arc<[Run]> },
}

impl<const N: usize> Sorted<N> {
    /// How many records there are. Of a set that merges equal records, at most so many.
    pub fn len(&self) -> u64 {
        match &self.source {
            Source::Memory(records) => records.len() as u64,
            Source::Runs { runs, .. } => {
                let bytes: u64 = runs.iter().map(|run| run.len).sum();
                bytes / N as u64
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the set lies on disk.
    pub fn is_spilled(&self) -> bool {
        matches!(self.source, Source::Runs { .. })
    }

    /// Reads the records in ascending order. Reading a set on disk blocks.
    pub fn iter(&self) -> io::Result<SortedIter<N>> {
        let source = match &self.source {
            Source::Memory(records) => IterSource::Memory {
                records: Arc::clone(records),
                next: 0,
            },
            Source::Runs { file, runs } => IterSource::Runs(MergedRuns::open(file, runs)?),
        };
        Ok(SortedIter { source })
    }

    /// Reads each distinct record once, in ascending order.
    pub fn distinct(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<[u8; N]>> + Send + use<N>> {
        let mut last = None;
        Ok(self.iter()?.filter(move |record| match record {
            Ok(record) if last == Some(*record) => false,
            Ok(record) => {
                last = Some(*record);
                true
            }
            Err(_) => true,
        }))
    }
}

/// The records of a [`Sorted`] set in ascending order.
#[derive(Debug)]
pub struct SortedIter<const N: usize> {
    source: IterSource<N>,
}

#[derive(Debug)]
enum IterSource<const N: usize> {
    Memory {
        records: Arc<Vec<[u8; N]>>,
        next: usize,
    },
    Runs(MergedRuns<N>),
}

impl<const N: usize> Iterator for SortedIter<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            IterSource::Memory { records, next } => {
                let record = records.get(*next)?;
                *next += 1;
                Some(Ok(*record))
            }
            IterSource::Runs(merged) => merged.next(),
        }
    }
}

/// Several runs read as one.
#[derive(Debug)]
struct MergedRuns<const N: usize> {
    /// Kept for its room.
    _file: SpilledFile,
    records: Merge<N>,
}

impl<const N: usize> MergedRuns<N> {
    fn open(file: &SpilledFile, runs: &[Run]) -> io::Result<Self> {
        let block_bytes = (MERGE_BYTES / runs.len().max(1)).clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES);
        let readers = runs.iter().map(|run| {
            ItemReader::<N>::new(Arc::clone(&file.bytes), run.offset, run.len, block_bytes)
        });
        Ok(Self {
            _file: file.clone(),
            records: Merge::open(readers.collect())?,
        })
    }
}

impl<const N: usize> Iterator for MergedRuns<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, RngExt as _, SeedableRng as _};

    fn records(seed: u64, count: usize) -> Vec<[u8; 12]> {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        (0..count)
            .map(|_| {
                let mut record = [0; 12];
                random.fill_bytes(&mut record);
                record[0] = random.random_range(0..3);
                record
            })
            .collect()
    }

    fn sorted_with(records: &[[u8; 12]], memory_bytes: usize, max_runs: usize) -> Sorted<12> {
        let mut sorter = Sorter::new(SortOptions {
            directory: std::env::temp_dir(),
            memory_bytes,
            room: None,
        });
        sorter.max_runs = max_runs;
        for record in records {
            sorter.push(*record).unwrap();
        }
        sorter.finish().unwrap()
    }

    fn read(sorted: &Sorted<12>) -> Vec<[u8; 12]> {
        sorted.iter().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn every_budget_gives_the_same_order() {
        let mut wanted = records(1, 5000);
        wanted.extend_from_within(..100);
        let given = wanted.clone();
        wanted.sort();
        for (memory_bytes, max_runs) in [(1 << 20, 8), (12 * 700, 8), (12 * 40, 4), (1, 16)] {
            let sorted = sorted_with(&given, memory_bytes, max_runs);
            assert_eq!(sorted.is_spilled(), memory_bytes < 1 << 20);
            assert_eq!(sorted.len(), 5100);
            assert_eq!(read(&sorted), wanted);
            assert_eq!(read(&sorted), wanted, "a second reading");
        }
    }

    #[test]
    fn distinct_records_come_once() {
        let mut given = records(2, 300);
        given.extend_from_within(..);
        let sorted = sorted_with(&given, 12 * 50, 64);
        let distinct: Vec<_> = sorted.distinct().unwrap().map(Result::unwrap).collect();
        let wanted: std::collections::BTreeSet<_> = given.into_iter().collect();
        assert_eq!(distinct, wanted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn equal_records_merge_where_that_is_wanted() {
        let mut sorter = Sorter::merging_equal(SortOptions {
            directory: std::env::temp_dir(),
            memory_bytes: 12 * 10,
            room: None,
        });
        for _ in 0..1000 {
            sorter.push([5; 12]).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        assert!(sorted.len() <= 100, "one record for each run");
        let distinct: Vec<_> = sorted.distinct().unwrap().map(Result::unwrap).collect();
        assert_eq!(distinct, [[5; 12]]);
    }

    #[test]
    fn nothing_sorts_to_nothing() {
        let sorted = sorted_with(&[], 0, 4);
        assert!(sorted.is_empty() && read(&sorted).is_empty());
    }

    #[test]
    fn runs_leave_no_name_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::<12>::new(SortOptions {
            directory: directory.path().to_owned(),
            memory_bytes: 24,
            room: None,
        });
        for record in records(3, 100) {
            sorter.push(record).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        assert!(sorted.is_spilled());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(read(&sorted).len(), 100);
    }
}
