//! A filter that says of most numbers that they are not in a set, without looking.
//!
//! A Bloom filter in blocks of one cache line: a number picks one block and [`BITS_SET`] bits in it. Pure.

/// How much of the filter each number gets.
const BITS_PER_NUMBER: u64 = 10;

/// How many bits each number sets in its block: what answers wrong least often, about once in 90.
const BITS_SET: u32 = 6;

/// How many bits name a bit of a block.
const BIT_NAME_LEN: u32 = 9;

/// As many bits as [`BIT_NAME_LEN`] can name.
type Block = [u64; 8];

/// A filter of a size that is given once.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// Makes an empty filter for so many numbers.
    pub(super) fn with_room_for(count: u64) -> Self {
        let bits = count.saturating_mul(BITS_PER_NUMBER);
        let blocks = usize::try_from(bits.div_ceil(512)).unwrap_or(usize::MAX);
        Self {
            blocks: vec![Block::default(); blocks.max(1)],
        }
    }

    /// Puts a number in. Numbers must be spread over all 64 bits.
    pub(super) fn insert(&mut self, number: u64) {
        let index = scale(number, self.blocks.len());
        let block = &mut self.blocks[index];
        for (word, bit) in bits(number) {
            block[word] |= bit;
        }
    }

    /// Whether a number may be in; if not, it is not for sure.
    pub(super) fn may_contain(&self, number: u64) -> bool {
        let block = &self.blocks[scale(number, self.blocks.len())];
        bits(number).all(|(word, bit)| block[word] & bit != 0)
    }
}

/// Takes a number that is spread over all 64 bits to one below `len`, and keeps the order of numbers.
pub(super) fn scale(number: u64, len: usize) -> usize {
    let scaled = (u128::from(number) * len as u128) >> 64;
    usize::try_from(scaled).expect("what is below a usize is one")
}

/// The bits that a number sets in its block: the word and the bit in it.
fn bits(number: u64) -> impl Iterator<Item = (usize, u64)> {
    // The upper bits pick the block; multiplied, the lower ones reach the top.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (1..=BITS_SET).map(move |nth| {
        let name = spread >> (u64::BITS - nth * BIT_NAME_LEN);
        (scale(name << (u64::BITS - 3), 8), 1 << (name >> 3 & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};

    #[test]
    fn what_is_in_may_be_in_and_most_else_may_not() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let count = 20_000;
        let numbers: Vec<u64> = (0..count).map(|_| random.random()).collect();
        let mut filter = Filter::with_room_for(count);
        assert!(!numbers.iter().any(|number| filter.may_contain(*number)));
        for number in &numbers {
            filter.insert(*number);
        }
        assert!(numbers.iter().all(|number| filter.may_contain(*number)));
        let wrong = (0..100_000).filter(|_| filter.may_contain(random.random()));
        let wrong = wrong.count();
        assert!(wrong < 2000, "{wrong} of 100,000");
        assert_eq!(filter.blocks.len(), 391, "ten bits for each");
    }

    #[test]
    fn every_bit_of_a_block_is_used() {
        let mut seen = Block::default();
        for number in 0..10_000 {
            for (word, bit) in bits(number) {
                seen[word] |= bit;
            }
        }
        assert_eq!(seen, [u64::MAX; 8]);
    }

    #[test]
    fn numbers_are_scaled_in_order() {
        assert_eq!(scale(0, 7), 0);
        assert_eq!(scale(u64::MAX, 7), 6);
        assert_eq!(scale(u64::MAX / 2 + 1, 8), 4);
    }
}
