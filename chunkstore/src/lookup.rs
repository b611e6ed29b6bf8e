//! Sorted records in a file without a name, found by the bytes that they begin with.
//!
//! # Memory
//! The first bytes of each of 64 records. Everything here blocks.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use crate::pool::about_to_block;
use crate::sort::Sorter;

/// So many records are read at once.
const BLOCK: usize = 64;

/// The bytes by which records are found: those of an address.
const KEY: usize = 20;

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 256 << 10;

/// Records of `N` bytes, at least 20, each of them once.
#[derive(Debug)]
pub struct Lookup<const N: usize> {
    file: File,
    /// What each block begins with.
    firsts: Vec<[u8; KEY]>,
    count: usize,
}

impl<const N: usize> Lookup<N> {
    /// Takes what was sorted, and puts it down where the sorter puts what does not fit.
    pub fn of(sorter: Sorter<N>) -> io::Result<Self> {
        let folder = sorter.options().directory.clone();
        let sorted = sorter.finish()?;
        about_to_block();
        let file = tempfile::tempfile_in(&folder)?;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let (mut firsts, mut count) = (Vec::new(), 0_usize);
        for record in sorted.distinct()? {
            let record = record?;
            if count.is_multiple_of(BLOCK) {
                firsts.extend(record.first_chunk::<KEY>().copied());
            }
            count += 1;
            writer.write_all(&record)?;
        }
        Ok(Self {
            file: writer.into_inner()?,
            firsts,
            count,
        })
    }

    /// Visits the records that begin with a key, in their order.
    pub fn each_of(
        &self,
        key: &[u8; KEY],
        mut visit: impl FnMut(&[u8; N]) -> io::Result<()>,
    ) -> io::Result<()> {
        about_to_block();
        // Records with it may begin in the block before the first that begins with it.
        let begin = self.firsts.partition_point(|first| first < key);
        let mut records = [[0; N]; BLOCK];
        for block in begin.saturating_sub(1)..self.firsts.len() {
            if self.firsts[block] > *key {
                break;
            }
            let first = block * BLOCK;
            let records = &mut records[..BLOCK.min(self.count - first)];
            let bytes = records.as_flattened_mut();
            self.file.read_exact_at(bytes, (first * N) as u64)?;
            for record in records.iter().filter(|record| record[..KEY] == *key) {
                visit(record)?;
            }
        }
        Ok(())
    }
}
