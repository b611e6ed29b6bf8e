//! The newest addresses of a set: a hash table that can be sorted where it lies.
//!
//! Open addressing in one vector of plain addresses. It grows fourfold, so that the table that is left and the
//! one that takes its place are together not much more than the last. Pure.

use super::filter::scale;
use crate::sort::sort_records;

/// A slot that nothing stands in. The address of twenty zero bytes is kept elsewhere.
pub(super) const EMPTY: [u8; 20] = [0; 20];

/// A table with at most so many slots is the first.
const FIRST_SLOTS: usize = 4096;

/// How many times as large the next table is.
const GROWTH: usize = 4;

/// Addresses in a table of bounded size.
#[derive(Debug)]
pub(super) struct Fresh {
    slots: Vec<[u8; 20]>,
    len: usize,
    max_slots: usize,
}

impl Fresh {
    /// Makes an empty table that will take at most so much memory, also while it grows. A few addresses always
    /// find room.
    pub(super) fn with_memory(memory_bytes: usize) -> Self {
        let mut first = (memory_bytes / EMPTY.len() * GROWTH / (GROWTH + 1)).max(16);
        let mut scale = 1;
        while first > FIRST_SLOTS {
            first /= GROWTH;
            scale *= GROWTH;
        }
        Self {
            slots: vec![EMPTY; first],
            len: 0,
            max_slots: first * scale,
        }
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether one more address would make the table slow.
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.slots.len() / 8 * 7
    }

    /// Whether a full table may become larger.
    pub(super) fn can_grow(&self) -> bool {
        self.slots.len() < self.max_slots
    }

    /// Moves to a larger table.
    pub(super) fn grow(&mut self, number_of: impl Fn(&[u8; 20]) -> u64) {
        let larger = (self.slots.len() * GROWTH).min(self.max_slots);
        let left = std::mem::replace(&mut self.slots, vec![EMPTY; larger]);
        self.len = 0;
        for address in left.iter().filter(|address| **address != EMPTY) {
            self.insert(number_of(address), address);
        }
    }

    /// Puts an address in and tells whether it was not. The table must not be full; `number` is the address's,
    /// always the same and spread over all 64 bits.
    pub(super) fn insert(&mut self, number: u64, address: &[u8; 20]) -> bool {
        let slot = self.slot(number, address);
        let is_new = self.slots[slot] == EMPTY;
        self.slots[slot] = *address;
        self.len += usize::from(is_new);
        is_new
    }

    /// Whether an address is in.
    pub(super) fn contains(&self, number: u64, address: &[u8; 20]) -> bool {
        self.slots[self.slot(number, address)] == *address
    }

    /// The slot in which the address stands or would stand.
    fn slot(&self, number: u64, address: &[u8; 20]) -> usize {
        let mut slot = scale(number, self.slots.len());
        while self.slots[slot] != EMPTY && self.slots[slot] != *address {
            slot += 1;
            if slot == self.slots.len() {
                slot = 0;
            }
        }
        slot
    }

    /// Sorts the addresses in the table's own memory and returns them; nothing can be looked up until
    /// [`Self::clear`] or [`Self::restore`].
    pub(super) fn sort(&mut self) -> &[[u8; 20]] {
        let mut end = 0;
        for slot in 0..self.slots.len() {
            if self.slots[slot] != EMPTY {
                self.slots.swap(end, slot);
                end += 1;
            }
        }
        let sorted = &mut self.slots[..end];
        sort_records(sorted);
        sorted
    }

    /// Makes a sorted table one again in which addresses can be looked up. Takes the memory of a second table.
    pub(super) fn restore(&mut self, number_of: impl Fn(&[u8; 20]) -> u64) {
        let sorted = self.slots.clone();
        self.clear();
        for address in sorted.iter().filter(|address| **address != EMPTY) {
            self.insert(number_of(address), address);
        }
    }

    /// Empties the table and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.slots.fill(EMPTY);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All begin at few slots, near the end of the table, so that they go around it.
    fn number_of(address: &[u8; 20]) -> u64 {
        u64::MAX - u64::from(address[0] % 3)
    }

    fn address(number: u16) -> [u8; 20] {
        let mut address = [0; 20];
        address[..2].copy_from_slice(&number.to_be_bytes());
        address[19] = 1;
        address
    }

    #[test]
    fn addresses_that_collide_stay_apart_through_growth_and_sorting() {
        let mut fresh = Fresh::with_memory(20 * 20_000);
        let first = fresh.slots.len();
        let mut wanted = BTreeSet::new();
        for number in (0..2000).rev().chain(500..600) {
            if fresh.is_full() {
                fresh.grow(number_of);
            }
            let address = address(number);
            assert_eq!(
                fresh.insert(number_of(&address), &address),
                wanted.insert(address)
            );
        }
        assert!(!fresh.contains(number_of(&address(2000)), &address(2000)));
        fresh.grow(number_of);
        assert!(fresh.slots.len() > first);
        assert_eq!(fresh.len(), 2000);
        assert_eq!(fresh.sort(), wanted.iter().copied().collect::<Vec<_>>());
        fresh.restore(number_of);
        assert!(wanted.iter().all(|at| fresh.contains(number_of(at), at)));
        fresh.clear();
        assert_eq!(fresh.len(), 0);
        assert!(!wanted.iter().any(|at| fresh.contains(number_of(at), at)));
    }

    #[test]
    fn the_table_and_the_one_before_it_fit_into_the_memory() {
        for memory_bytes in [0, 1000, 100_000, 1_000_000, 40_000_000, 64 << 20] {
            let mut fresh = Fresh::with_memory(memory_bytes);
            let mut most = fresh.slots.len();
            while fresh.can_grow() {
                let before = fresh.slots.len();
                fresh.grow(number_of);
                most = before + fresh.slots.len();
            }
            assert!(most * 20 <= memory_bytes.max(16 * 20));
            assert!(most * 20 * 2 >= memory_bytes);
        }
    }
}
