//! The words of eight lanes in registers of AVX-512, where rotations and functions of three words are single
//! instructions.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;

use super::vectors::{LANES, Vectors};

/// One word of every lane.
type Words = __m512i;

/// Exclusive or of three words, as a table of its results.
const XOR: i32 = 0x96;

/// Where the first is set the second, else the third.
const CHOICE: i32 = 0xca;

/// What at least two of three say.
const MAJORITY: i32 = 0xe8;

impl Vectors for V4 {
    type Words = Words;

    #[inline(always)]
    fn words(self, lanes: [u64; LANES]) -> Words {
        pulp::cast(lanes)
    }

    #[inline(always)]
    fn numbers(self, words: Words) -> [u64; LANES] {
        pulp::cast(words)
    }

    #[inline(always)]
    fn add(self, one: Words, other: Words) -> Words {
        self.avx512f._mm512_add_epi64(one, other)
    }

    #[inline(always)]
    fn rotate<const BITS: i32>(self, words: Words) -> Words {
        self.avx512f._mm512_ror_epi64::<BITS>(words)
    }

    #[inline(always)]
    fn shift<const BITS: u32>(self, words: Words) -> Words {
        self.avx512f._mm512_srli_epi64::<BITS>(words)
    }

    #[inline(always)]
    fn xor(self, one: Words, two: Words, three: Words) -> Words {
        self.avx512f
            ._mm512_ternarylogic_epi64::<XOR>(one, two, three)
    }

    #[inline(always)]
    fn choice(self, which: Words, set: Words, unset: Words) -> Words {
        self.avx512f
            ._mm512_ternarylogic_epi64::<CHOICE>(which, set, unset)
    }

    #[inline(always)]
    fn majority(self, one: Words, two: Words, three: Words) -> Words {
        self.avx512f
            ._mm512_ternarylogic_epi64::<MAJORITY>(one, two, three)
    }

    #[inline(always)]
    fn schedule(self, blocks: &[[u8; 128]; LANES]) -> [Words; 16] {
        let mut schedule = [self.words([0; LANES]); 16];
        let (halves, _) = schedule.as_chunks_mut::<8>();
        for (half, out) in halves.iter_mut().enumerate() {
            let rows = std::array::from_fn(|lane| row(self, &blocks[lane], half));
            *out = transpose(self, rows);
        }
        schedule
    }
}

/// Half a block of one lane as eight words.
#[inline(always)]
fn row(processor: V4, block: &[u8; 128], half: usize) -> Words {
    let (halves, _) = block.as_chunks::<64>();
    // Words are big-endian in a message. A place counts within its sixteen bytes.
    let turned: [u8; 64] = const {
        let mut turned = [0; 64];
        let mut at = 0;
        while at < 64 {
            turned[at] = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8][at % 16];
            at += 1;
        }
        turned
    };
    let (bytes, turned): (Words, Words) = (pulp::cast(halves[half]), pulp::cast(turned));
    processor.avx512bw._mm512_shuffle_epi8(bytes, turned)
}

/// Eight words of each of eight lanes become eight lanes of each of eight words.
#[inline(always)]
fn transpose(processor: V4, rows: [Words; 8]) -> [Words; 8] {
    let simd = processor.avx512f;
    // Pairs of rows: of the first, words 0 2 4 6; of the second, words 1 3 5 7.
    let even = |pair: usize| simd._mm512_unpacklo_epi64(rows[2 * pair], rows[2 * pair + 1]);
    let odd = |pair: usize| simd._mm512_unpackhi_epi64(rows[2 * pair], rows[2 * pair + 1]);
    // The first and third quarters of each, or the second and fourth ones.
    let first = |one, other| simd._mm512_shuffle_i64x2::<0x88>(one, other);
    let second = |one, other| simd._mm512_shuffle_i64x2::<0xdd>(one, other);
    let quarters = |pairs: [Words; 4]| {
        let [a, b, c, d] = pairs;
        let ((low, high), (low_after, high_after)) =
            ((first(a, b), second(a, b)), (first(c, d), second(c, d)));
        [
            first(low, low_after),
            first(high, high_after),
            second(low, low_after),
            second(high, high_after),
        ]
    };
    let [w0, w2, w4, w6] = quarters([even(0), even(1), even(2), even(3)]);
    let [w1, w3, w5, w7] = quarters([odd(0), odd(1), odd(2), odd(3)]);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}
