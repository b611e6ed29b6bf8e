//! Places of chunks in a bounded piece of memory, found with two looks into it.
//!
//! # Form
//! Sets of eight entries of 64 bytes, chosen by the address, which is already as good as random. Beside each set
//! lie a tag of 16 bits per entry, so that an entry is looked at only when it is very likely the right one, and a
//! bit that says whether it was found since its last turn. The table begins small and doubles while it fills,
//! until it has its bound; from then on a full set forgets an entry that was not found lately.
//!
//! # Cost
//! What a question waits for is memory, not work. Questions come by the thousand, so the tags of a run of
//! addresses are read first and the entries after them: the waits of a run lie side by side.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::RwLock;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{ByteSpan, ChunkLocation, ChunkSpan};

/// Entries of one set.
const WAYS: usize = 8;

/// What one entry takes in memory, in bytes: the entry, its tag, and its part of the set's marks.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u16>() + 1;

/// How many sets a table begins with.
const FIRST_SETS: usize = 1 << 7;

/// How many addresses are looked for under one hold of the lock.
const RUN: usize = 64;

/// Places of chunks, at most so many. Shared by threads.
#[derive(Debug)]
pub(super) struct Places {
    table: RwLock<Table>,
    /// A power of two.
    max_sets: usize,
}

/// Address (20 bytes), pool (4), file (16), offset (8) and length (4) of the data, the same of the dictionary. All
/// zero where there is none, so that a new table costs nothing before it is used.
type Entry = [u8; 64];

/// The part of an [`Entry`] that it is found by.
type Key = [u8; 24];

#[derive(Debug)]
struct Table {
    /// Per set, the tags of its entries; 0 where there is none.
    tags: Vec<[u16; WAYS]>,
    /// Per set, one bit per entry that was found since its last turn.
    found: Vec<AtomicU8>,
    /// Per set, whose turn it is to be forgotten.
    turns: Vec<u8>,
    entries: Vec<Entry>,
    len: usize,
}

/// Reads one item after the other and does nothing with them: the processor waits for many at a time.
fn bring_near<'a, T: Copy + Into<u64> + 'a>(items: impl Iterator<Item = &'a T>) {
    let sum = items.fold(0, |sum, item| sum ^ (*item).into());
    std::hint::black_box(sum);
}

/// Where a key is looked for.
#[derive(Clone, Copy, Default)]
struct Slot {
    set: usize,
    tag: u16,
}

impl Places {
    /// A table that takes at most about `bytes` of memory.
    pub(super) fn new(bytes: usize) -> Self {
        let sets = (bytes / ENTRY_BYTES / WAYS).max(1);
        let max_sets = 1 << sets.ilog2();
        Self {
            table: RwLock::new(Table::new(max_sets.min(FIRST_SETS))),
            max_sets,
        }
    }

    /// How many places there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.max_sets * WAYS
    }

    /// Calls `visit` for each address in order, with its place if that is known.
    pub(super) fn find(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
        mut visit: impl FnMut(usize, Option<ChunkLocation>),
    ) {
        for (run, addresses) in addresses.chunks(RUN).enumerate() {
            let table = self.table.read();
            let mut slots = [Slot::default(); RUN];
            for (slot, address) in slots.iter_mut().zip(addresses) {
                *slot = table.slot(&key(pool, address));
            }
            let slots = &slots[..addresses.len()];
            bring_near(slots.iter().map(|slot| &table.tags[slot.set][0]));
            let mut ways = [None; RUN];
            for (way, slot) in ways.iter_mut().zip(slots) {
                *way = table.likely(*slot);
            }
            let likely = ways.iter().flatten().map(|way| &table.entries[*way]);
            bring_near(likely.flat_map(|entry| [&entry[0], &entry[size_of::<Entry>() - 1]]));
            for (position, (address, way)) in addresses.iter().zip(ways).enumerate() {
                let place = way.and_then(|way| table.place(way, &key(pool, address)));
                visit(run * RUN + position, place);
            }
        }
    }

    /// Keeps a place of each address, and forgets others where there is no room.
    pub(super) fn keep(
        &self,
        pool: PoolId,
        places: impl IntoIterator<Item = (ChunkAddress, ChunkLocation)>,
    ) {
        let mut places = places.into_iter().peekable();
        while places.peek().is_some() {
            let mut table = self.table.write();
            for (address, place) in places.by_ref().take(RUN) {
                if table.is_crowded() && table.tags.len() < self.max_sets {
                    table.double();
                }
                table.put(entry(pool, &address, &place));
            }
        }
    }
}

impl Table {
    fn new(sets: usize) -> Self {
        Self {
            tags: vec![[0; WAYS]; sets],
            found: (0..sets).map(|_| AtomicU8::new(0)).collect(),
            turns: vec![0; sets],
            entries: vec![[0; 64]; sets * WAYS],
            len: 0,
        }
    }

    /// Whether sets begin to overflow.
    fn is_crowded(&self) -> bool {
        self.len * 8 > self.entries.len() * 5
    }

    fn slot(&self, key: &Key) -> Slot {
        let [low, middle, high] = [0, 8, 16].map(|at| u64::from_le_bytes(part(key, at)));
        // The high word ends with the pool: the same address in two pools goes to two sets.
        let chosen = low ^ high.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
        let [tag @ .., _, _, _, _, _, _] = middle.to_le_bytes();
        Slot {
            set: usize::try_from(chosen % self.tags.len() as u64).unwrap_or(0),
            tag: u16::from_le_bytes(tag).max(1),
        }
    }

    /// The entry that has the tag. Where several have it, the first one: the others are found no more, which
    /// costs a question to the index behind and nothing else.
    fn likely(&self, slot: Slot) -> Option<usize> {
        let way = self.tags[slot.set]
            .iter()
            .position(|tag| *tag == slot.tag)?;
        Some(slot.set * WAYS + way)
    }

    fn place(&self, way: usize, key: &Key) -> Option<ChunkLocation> {
        let entry = &self.entries[way];
        if entry[..size_of::<Key>()] != *key {
            return None;
        }
        let bit = 1 << (way % WAYS);
        let found = &self.found[way / WAYS];
        // Most are marked already, and reading is cheaper than writing what others read.
        if found.load(Ordering::Relaxed) & bit == 0 {
            found.fetch_or(bit, Ordering::Relaxed);
        }
        Some(location(entry))
    }

    fn put(&mut self, entry: Entry) {
        let slot = self.slot(&part(&entry, 0));
        let tags = &self.tags[slot.set];
        let same_or_free = |wanted| tags.iter().position(|tag| *tag == wanted);
        let way = match same_or_free(slot.tag) {
            Some(way) => way,
            None => {
                let free = same_or_free(0);
                self.len += usize::from(free.is_some());
                free.unwrap_or_else(|| self.forget(slot.set))
            }
        };
        self.tags[slot.set][way] = slot.tag;
        self.entries[slot.set * WAYS + way] = entry;
    }

    /// Chooses an entry of a full set: the next in turn that was not found since its last turn.
    fn forget(&mut self, set: usize) -> usize {
        let found = self.found[set].get_mut();
        let turn = &mut self.turns[set];
        loop {
            let way = usize::from(*turn) % WAYS;
            *turn = turn.wrapping_add(1);
            let bit = 1 << way;
            if *found & bit == 0 {
                return way;
            }
            *found &= !bit;
        }
    }

    fn double(&mut self) {
        let mut larger = Self::new(self.tags.len() * 2);
        let kept = self.tags.as_flattened().iter().zip(&self.entries);
        for (_, entry) in kept.filter(|(tag, _)| **tag != 0) {
            larger.put(*entry);
        }
        *self = larger;
    }
}

fn key(pool: PoolId, address: &ChunkAddress) -> Key {
    let mut key = [0; size_of::<Key>()];
    let (of_address, of_pool) = key.split_at_mut(ChunkAddress::LEN);
    of_address.copy_from_slice(address.as_bytes());
    // Four bytes of a random id: a wrong place would name a file that nobody of this pool asks for.
    of_pool.copy_from_slice(&pool.as_bytes()[..4]);
    key
}

fn entry(pool: PoolId, address: &ChunkAddress, place: &ChunkLocation) -> Entry {
    let ChunkSpan { data, dictionary } = place.span;
    // No dictionary is empty.
    let dictionary = dictionary.unwrap_or(ByteSpan { offset: 0, len: 0 });
    let mut entry = [0; size_of::<Entry>()];
    entry[..24].copy_from_slice(&key(pool, address));
    entry[24..40].copy_from_slice(place.file.as_bytes());
    entry[40..48].copy_from_slice(&data.offset.to_le_bytes());
    entry[48..52].copy_from_slice(&data.len.to_le_bytes());
    entry[52..60].copy_from_slice(&dictionary.offset.to_le_bytes());
    entry[60..].copy_from_slice(&dictionary.len.to_le_bytes());
    entry
}

fn location(entry: &Entry) -> ChunkLocation {
    let span = |at| ByteSpan {
        offset: u64::from_le_bytes(part(entry, at)),
        len: u32::from_le_bytes(part(entry, at + 8)),
    };
    let dictionary = span(52);
    ChunkLocation {
        file: UploadId::new(part(entry, 24)),
        span: ChunkSpan {
            data: span(40),
            dictionary: (dictionary.len > 0).then_some(dictionary),
        },
    }
}

/// The `N` bytes at `at`, which must lie inside.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a part of an entry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash_chunk;

    fn pool(number: u8) -> PoolId {
        PoolId::new([number; 16])
    }

    fn address(number: u32) -> ChunkAddress {
        hash_chunk(&number.to_be_bytes())
    }

    fn place(number: u32) -> ChunkLocation {
        let dictionary = number.is_multiple_of(2).then_some(ByteSpan {
            offset: u64::from(number) << 31,
            len: 4096,
        });
        ChunkLocation {
            file: UploadId::new([number.to_le_bytes()[0]; 16]),
            span: ChunkSpan {
                data: ByteSpan {
                    offset: u64::from(number) << 30,
                    len: number,
                },
                dictionary,
            },
        }
    }

    fn found(places: &Places, pool: PoolId, numbers: std::ops::Range<u32>) -> usize {
        let addresses: Vec<_> = numbers.clone().map(address).collect();
        let (mut hits, mut next) = (0, 0);
        places.find(pool, &addresses, |position, found| {
            assert_eq!(position, next);
            next += 1;
            if let Some(found) = found {
                let position = u32::try_from(position).unwrap();
                assert_eq!(found, place(numbers.start + position));
                hits += 1;
            }
        });
        assert_eq!(next, addresses.len());
        hits
    }

    fn keep(places: &Places, pool: PoolId, numbers: std::ops::Range<u32>) {
        places.keep(pool, numbers.map(|number| (address(number), place(number))));
    }

    #[test]
    fn what_fits_is_found_again_and_only_in_its_pool() {
        let places = Places::new(1 << 20);
        let number = u32::try_from(places.capacity()).unwrap() / 2;
        keep(&places, pool(1), 0..number);
        let hits = found(&places, pool(1), 0..number);
        assert!(hits * 100 >= number as usize * 97, "{hits} of {number}");
        assert_eq!(found(&places, pool(1), number..2 * number), 0);
        assert_eq!(found(&places, pool(2), 0..number), 0);
    }

    #[test]
    fn one_address_is_kept_for_many_pools() {
        let places = Places::new(1 << 20);
        for number in 1..=100 {
            keep(&places, pool(number), 7..8);
        }
        let hits: usize = (1..=100)
            .map(|number| found(&places, pool(number), 7..8))
            .sum();
        assert!(hits > 90, "{hits}");
    }

    #[test]
    fn a_full_table_keeps_what_is_asked_for() {
        let places = Places::new(1 << 18);
        let number = u32::try_from(places.capacity()).unwrap();
        keep(&places, pool(1), 0..100);
        for round in 1..40 {
            assert!(found(&places, pool(1), 0..100) >= 80, "round {round}");
            keep(
                &places,
                pool(1),
                round * number / 8..(round + 1) * number / 8,
            );
        }
        assert!(places.table.read().entries.len() <= places.capacity());
    }

    #[test]
    fn a_newer_place_takes_the_older_ones_room() {
        let places = Places::new(1 << 16);
        places.keep(pool(1), [(address(1), place(9))]);
        keep(&places, pool(1), 1..2);
        assert_eq!(found(&places, pool(1), 1..2), 1);
        assert_eq!(places.table.read().len, 1);
    }
}
