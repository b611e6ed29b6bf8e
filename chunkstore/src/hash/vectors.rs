//! What SHA-512 in lanes asks of a processor: vectors that hold one word of each of eight messages.

/// How many messages run side by side.
pub(super) const LANES: usize = 8;

/// Arithmetic on one word of every lane at once.
pub(super) trait Vectors: Copy {
    /// One word of every lane.
    type Words: Copy;

    /// A vector of these words.
    fn words(self, lanes: [u64; LANES]) -> Self::Words;

    /// The words of a vector.
    fn numbers(self, words: Self::Words) -> [u64; LANES];

    /// Sums that wrap around.
    fn add(self, one: Self::Words, other: Self::Words) -> Self::Words;

    /// Rotations to the right.
    fn rotate<const BITS: i32>(self, words: Self::Words) -> Self::Words;

    /// Shifts to the right.
    fn shift<const BITS: u32>(self, words: Self::Words) -> Self::Words;

    /// Exclusive or of three words.
    fn xor(self, one: Self::Words, two: Self::Words, three: Self::Words) -> Self::Words;

    /// Where a bit of `which` is set the one of `set`, else the one of `unset`.
    fn choice(self, which: Self::Words, set: Self::Words, unset: Self::Words) -> Self::Words;

    /// What at least two of three words say, bit by bit.
    fn majority(self, one: Self::Words, two: Self::Words, three: Self::Words) -> Self::Words;

    /// The first sixteen words of the message schedule: the words of one block per lane, which are big-endian.
    fn schedule(self, blocks: &[[u8; 128]; LANES]) -> [Self::Words; 16];
}

/// One lane after the other, on any processor: slower than no lanes, and the same results.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

#[cfg(test)]
impl Vectors for Portable {
    type Words = [u64; LANES];

    fn words(self, lanes: [u64; LANES]) -> Self::Words {
        lanes
    }

    fn numbers(self, words: Self::Words) -> [u64; LANES] {
        words
    }

    fn add(self, one: Self::Words, other: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| one[lane].wrapping_add(other[lane]))
    }

    fn rotate<const BITS: i32>(self, words: Self::Words) -> Self::Words {
        words.map(|word| word.rotate_right(BITS.unsigned_abs()))
    }

    fn shift<const BITS: u32>(self, words: Self::Words) -> Self::Words {
        words.map(|word| word >> BITS)
    }

    fn xor(self, one: Self::Words, two: Self::Words, three: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| one[lane] ^ two[lane] ^ three[lane])
    }

    fn choice(self, which: Self::Words, set: Self::Words, unset: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| (which[lane] & set[lane]) | (!which[lane] & unset[lane]))
    }

    fn majority(self, one: Self::Words, two: Self::Words, three: Self::Words) -> Self::Words {
        let of = |a: u64, b: u64, c: u64| (a & b) | (a & c) | (b & c);
        std::array::from_fn(|lane| of(one[lane], two[lane], three[lane]))
    }

    fn schedule(self, blocks: &[[u8; 128]; LANES]) -> [Self::Words; 16] {
        let word = |block: &[u8; 128], at: usize| u64::from_be_bytes(block.as_chunks().0[at]);
        std::array::from_fn(|at| std::array::from_fn(|lane| word(&blocks[lane], at)))
    }
}
