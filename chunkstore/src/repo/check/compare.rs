//! The index against the bytes: two sorted sets read side by side.
//!
//! The index gives each number (of a record, of a span) an address; hashing gave each number an address too.
//! Both must be the same. Of equal addresses neither side has an order, so they are compared group by group.

use std::io;

use super::UploadError;
use crate::address::ChunkAddress;
use crate::repo::entries::{RECORD_LEN, StoredEntry};
use crate::sort::{Sorted, SortedIter};

/// More numbers of the same address, or of the same prefix, are not compared.
const MAX_ALIKE: usize = 1 << 18;

/// Takes the index in ascending order and compares it with the sorted entries.
pub(super) struct Comparison<K> {
    entries: SortedIter<RECORD_LEN>,
    ahead: Option<StoredEntry>,
    /// What part of an address the index is compared by.
    key: fn(ChunkAddress) -> K,
    group: Option<(K, ChunkAddress)>,
    numbers: Vec<u32>,
}

impl<K: Ord + Copy> Comparison<K> {
    pub(super) fn new(
        entries: &Sorted<RECORD_LEN>,
        key: fn(ChunkAddress) -> K,
    ) -> Result<Self, UploadError> {
        let mut entries = entries.iter().map_err(UploadError::Scratch)?;
        let ahead = next(&mut entries)?;
        Ok(Self {
            entries,
            ahead,
            key,
            group: None,
            numbers: Vec::new(),
        })
    }

    /// Takes the next line of the index. What of the address is not part of the key need not be right.
    pub(super) fn push(&mut self, listed: ChunkAddress, number: u32) -> Result<(), UploadError> {
        let key = (self.key)(listed);
        if self.group.is_none_or(|(last, _)| last != key) {
            self.end_group()?;
            self.group = Some((key, listed));
        }
        if self.numbers.len() >= MAX_ALIKE {
            return Err(UploadError::TooManyAlike {
                address: listed,
                limit: MAX_ALIKE,
            });
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Ends the index.
    pub(super) fn finish(mut self) -> Result<(), UploadError> {
        self.end_group()?;
        match self.ahead {
            Some(entry) => Err(misplaced(&entry)),
            None => Ok(()),
        }
    }

    fn end_group(&mut self) -> Result<(), UploadError> {
        let Some((key, listed)) = self.group else {
            return Ok(());
        };
        self.numbers.sort_unstable();
        // Entries of one address come in the order of their numbers, but those of one prefix need not.
        let mut found = Vec::with_capacity(self.numbers.len());
        while let Some(entry) = self.ahead
            && (self.key)(entry.address) <= key
        {
            let is_listed = (self.key)(entry.address) == key
                && self.numbers.binary_search(&entry.number).is_ok();
            if !is_listed {
                return Err(misplaced(&entry));
            }
            found.push(entry.number);
            self.ahead = next(&mut self.entries)?;
        }
        found.sort_unstable();
        let differs = |(at, number): (usize, &u32)| found.get(at) != Some(number);
        if let Some(at) = self.numbers.iter().enumerate().position(differs) {
            return Err(UploadError::NotThere {
                number: self.numbers[at],
                listed,
            });
        }
        self.numbers.clear();
        Ok(())
    }
}

fn next(entries: &mut SortedIter<RECORD_LEN>) -> Result<Option<StoredEntry>, UploadError> {
    let record: io::Result<_> = entries.next().transpose();
    let record = record.map_err(UploadError::Scratch)?;
    Ok(record.map(|record| StoredEntry::decode(&record)))
}

fn misplaced(entry: &StoredEntry) -> UploadError {
    UploadError::Address {
        number: entry.number,
        actual: entry.address,
    }
}
