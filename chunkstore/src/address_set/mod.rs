//! A set of more addresses than fit into memory.
//!
//! An [`AddressSet`] takes addresses one by one and tells of each whether it was in. The newest lie in a hash
//! table; when that is full it is sorted and put aside as a run. Runs of one level are merged into one of the
//! next as soon as there are `FAN_IN` of them, so there are few, and a filter in front of each answers for
//! nearly all addresses that it does not hold. An address that is in a run costs one read of 5 KiB.
//!
//! ```text
//! table ──full──▶ run, run, run ──four──▶ run, run ──four──▶ run
//!                 level 0                 level 1            level 2
//! ```
//!
//! Everything here blocks: callers are on a thread that may.
//!
//! * Truth: none; a set can always be made again.
//! * Crash and cleanup: runs lie in files without a name, which the system removes when the set goes.
//! * Retry: after an error the set holds what it held before the call that failed.
//!
//! # Memory
//! The table takes what [`SetOptions::memory_bytes`] grants. To that come, for the addresses on disk, 1.25 bytes
//! each for the filters and 0.03 for the indexes; while runs are merged, once more as much for those, and
//! 1.5 MiB. A table that cannot be written takes its memory twice until it is back in order.
//!
//! # Room
//! 20 bytes on disk for each address, and twice that for those being merged.

mod filter;
mod fresh;
mod run;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;

use crate::address::ChunkAddress;
use crate::merge::Merge;
use fresh::Fresh;
use run::Run;

/// So many runs of one level are merged into one of the next.
const FAN_IN: usize = 4;

/// Where a set may put what does not fit, and how much it keeps in memory.
#[derive(Debug, Clone)]
pub struct SetOptions {
    /// The directory of the nameless files.
    pub directory: PathBuf,
    /// How many bytes the newest addresses may take in memory; a few always find room.
    pub memory_bytes: usize,
}

/// A set of addresses, of which the older lie on disk.
#[derive(Debug)]
pub struct AddressSet {
    directory: PathBuf,
    /// Addresses come from strangers, who must not be able to tell where in a table they will stand.
    hasher: RandomState,
    /// Whether twenty zero bytes are in, which the table has no room for.
    has_zero: bool,
    fresh: Fresh,
    /// Runs by their level; no address is in two.
    levels: Vec<Vec<Run>>,
}

impl AddressSet {
    /// Makes an empty set. Nothing is written as long as all fits into memory.
    pub fn new(options: SetOptions) -> Self {
        Self {
            directory: options.directory,
            hasher: RandomState::new(),
            has_zero: false,
            fresh: Fresh::with_memory(options.memory_bytes),
            levels: Vec::new(),
        }
    }

    /// How many addresses are in.
    pub fn len(&self) -> u64 {
        let in_runs: u64 = self.runs().map(Run::len).sum();
        in_runs + self.fresh.len() as u64 + u64::from(self.has_zero)
    }

    /// Whether no address is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an address in. Returns whether it was not in before.
    pub fn insert(&mut self, address: ChunkAddress) -> io::Result<bool> {
        if address.is_zero() {
            return Ok(!std::mem::replace(&mut self.has_zero, true));
        }
        let number = self.number(address.as_bytes());
        if self.fresh.contains(number, address.as_bytes()) || self.is_in_runs(number, &address)? {
            return Ok(false);
        }
        if self.fresh.is_full() {
            self.make_room()?;
        }
        Ok(self.fresh.insert(number, address.as_bytes()))
    }

    /// Puts addresses in and leaves in the list those that were not in before, each once, in their order. After
    /// an error the list is as it was, and some of its addresses may be in.
    pub fn insert_new(&mut self, addresses: &mut Vec<ChunkAddress>) -> io::Result<()> {
        let mut is_new = Vec::with_capacity(addresses.len());
        for address in addresses.iter() {
            is_new.push(self.insert(*address)?);
        }
        let mut is_new = is_new.into_iter();
        addresses.retain(|_| is_new.next().unwrap_or_default());
        Ok(())
    }

    /// Returns whether an address is in.
    pub fn contains(&self, address: ChunkAddress) -> io::Result<bool> {
        if address.is_zero() {
            return Ok(self.has_zero);
        }
        let number = self.number(address.as_bytes());
        Ok(self.fresh.contains(number, address.as_bytes()) || self.is_in_runs(number, &address)?)
    }

    fn is_in_runs(&self, number: u64, address: &ChunkAddress) -> io::Result<bool> {
        for run in self.runs() {
            if run.contains(number, address)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All runs, the largest first: most addresses are there.
    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.levels.iter().rev().flatten()
    }

    /// Spreads an address over all 64 bits.
    fn number(&self, address: &[u8; 20]) -> u64 {
        self.hasher.hash_one(address)
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.fresh.can_grow() {
            self.fresh.grow(|address| self.hasher.hash_one(address));
            return Ok(());
        }
        self.merge_full_levels()?;
        self.spill()
    }

    /// Puts the table aside as a run.
    fn spill(&mut self) -> io::Result<()> {
        let number_of = |address: &[u8; 20]| self.hasher.hash_one(address);
        let len = self.fresh.len() as u64;
        let sorted = self.fresh.sort().iter().map(|address| Ok(*address));
        match Run::write(&self.directory, len, sorted, number_of) {
            Ok(run) => {
                self.fresh.clear();
                add_run(&mut self.levels, 0, run);
                Ok(())
            }
            Err(error) => {
                self.fresh.restore(number_of);
                Err(error)
            }
        }
    }

    /// Merges the runs of each level that has enough of them. Those that are merged stay until that is done.
    fn merge_full_levels(&mut self) -> io::Result<()> {
        let mut level = 0;
        while let Some(runs) = self.levels.get(level) {
            if runs.len() >= FAN_IN {
                let addresses = Merge::open(runs.iter().map(Run::reader).collect())?;
                let len = runs.iter().map(Run::len).sum();
                let number_of = |address: &[u8; 20]| self.hasher.hash_one(address);
                let merged = Run::write(&self.directory, len, addresses, number_of)?;
                self.levels[level].clear();
                add_run(&mut self.levels, level + 1, merged);
            }
            level += 1;
        }
        Ok(())
    }
}

fn add_run(levels: &mut Vec<Vec<Run>>, level: usize, run: Run) {
    if levels.len() <= level {
        levels.resize_with(level + 1, Vec::new);
    }
    levels[level].push(run);
}

#[cfg(test)]
mod tests;
