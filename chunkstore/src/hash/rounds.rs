//! One block of each lane mixed into the states of all lanes: SHA-512 in registers of AVX-512.
//!
//! A register holds one word of every lane. The operations are those of FIPS 180-4; rotations and functions of three
//! words are single instructions. The rounds are written out sixteen at a time, so that which register plays which
//! part is known when this is compiled, and the words stay in registers.

use std::arch::x86_64::__m512i;

use pulp::x86::V4;

/// How many lanes fill a register.
pub(super) const LANES: usize = 8;

/// One word of every lane.
type Words = __m512i;

/// Exclusive or of three words, as a table of its results.
const XOR: i32 = 0x96;

/// Where the first is set the second, else the third.
const CHOICE: i32 = 0xca;

/// What at least two of three say.
const MAJORITY: i32 = 0xe8;

/// Does something sixteen times, with a constant of that name counting.
macro_rules! sixteen_times {
    (|$at:ident| $act:expr) => {
        sixteen_times!(|$at| $act; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (|$at:ident| $act:expr; $($number:literal)*) => {
        $({
            const $at: usize = $number;
            $act;
        })*
    };
}

/// The states of all lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct State([Words; 8]);

impl State {
    /// The same state in each lane.
    #[inline(always)]
    pub(super) fn new(state: &[u64; 8]) -> Self {
        Self(state.map(|word| words([word; LANES])))
    }

    #[inline(always)]
    pub(super) fn lane(&self, lane: usize) -> [u64; 8] {
        self.0.map(|words| numbers(words)[lane])
    }

    #[inline(always)]
    pub(super) fn set_lane(&mut self, lane: usize, state: &[u64; 8]) {
        for (all, word) in self.0.iter_mut().zip(state) {
            let mut lanes = numbers(*all);
            lanes[lane] = *word;
            *all = words(lanes);
        }
    }
}

fn words(lanes: [u64; LANES]) -> Words {
    pulp::cast(lanes)
}

fn numbers(words: Words) -> [u64; LANES] {
    pulp::cast(words)
}

/// Mixes one block per lane into the states.
#[inline(always)]
pub(super) fn compress(processor: V4, state: &mut State, blocks: &[[u8; 128]; LANES]) {
    let mut schedule = schedule(processor, blocks);
    let mut mixed = state.0;
    let (all_constants, _) = ROUND_CONSTANTS.as_chunks::<16>();
    for (number, constants) in all_constants.iter().enumerate() {
        if number > 0 {
            sixteen_times!(|AT| extend::<AT>(processor, &mut schedule));
        }
        sixteen_times!(|ROUND| step::<ROUND>(processor, &mut mixed, constants, &schedule));
    }
    for (words, mixed) in state.0.iter_mut().zip(&mixed) {
        *words = processor.avx512f._mm512_add_epi64(*words, *mixed);
    }
}

/// One of sixteen rounds: the parts that the registers play move on by one with each.
#[inline(always)]
fn step<const ROUND: usize>(
    processor: V4,
    state: &mut [Words; 8],
    constants: &[u64; 16],
    schedule: &[Words; 16],
) {
    let [a, b, c, d, e, f, g, h] = const { parts(ROUND) };
    let simd = processor.avx512f;
    let add = |one, other| simd._mm512_add_epi64(one, other);
    let constant = words([constants[ROUND]; LANES]);
    let sum = simd._mm512_ternarylogic_epi64::<XOR>(
        simd._mm512_ror_epi64::<14>(state[e]),
        simd._mm512_ror_epi64::<18>(state[e]),
        simd._mm512_ror_epi64::<41>(state[e]),
    );
    let choice = simd._mm512_ternarylogic_epi64::<CHOICE>(state[e], state[f], state[g]);
    let given = add(state[h], add(constant, schedule[ROUND]));
    let first = add(add(given, choice), sum);
    let sum = simd._mm512_ternarylogic_epi64::<XOR>(
        simd._mm512_ror_epi64::<28>(state[a]),
        simd._mm512_ror_epi64::<34>(state[a]),
        simd._mm512_ror_epi64::<39>(state[a]),
    );
    let majority = simd._mm512_ternarylogic_epi64::<MAJORITY>(state[a], state[b], state[c]);
    state[d] = add(state[d], first);
    state[h] = add(first, add(sum, majority));
}

/// Which registers play `a` to `h` in a round.
const fn parts(round: usize) -> [usize; 8] {
    let mut parts = [0; 8];
    let mut at = 0;
    while at < 8 {
        parts[at] = (at + 16 - round) % 8;
        at += 1;
    }
    parts
}

/// The next word of the message schedule, which takes the place of the one 16 rounds before.
#[inline(always)]
fn extend<const AT: usize>(processor: V4, schedule: &mut [Words; 16]) {
    let [two, seven, fifteen] = const { [(AT + 14) % 16, (AT + 9) % 16, (AT + 1) % 16] };
    let simd = processor.avx512f;
    let add = |one, other| simd._mm512_add_epi64(one, other);
    let (near, far) = (schedule[two], schedule[fifteen]);
    let small = simd._mm512_ternarylogic_epi64::<XOR>(
        simd._mm512_ror_epi64::<1>(far),
        simd._mm512_ror_epi64::<8>(far),
        simd._mm512_srli_epi64::<7>(far),
    );
    let large = simd._mm512_ternarylogic_epi64::<XOR>(
        simd._mm512_ror_epi64::<19>(near),
        simd._mm512_ror_epi64::<61>(near),
        simd._mm512_srli_epi64::<6>(near),
    );
    schedule[AT] = add(add(schedule[AT], schedule[seven]), add(small, large));
}

/// Turns a block per lane into a register per word: the first sixteen words of the message schedule.
#[inline(always)]
fn schedule(processor: V4, blocks: &[[u8; 128]; LANES]) -> [Words; 16] {
    let mut schedule = [words([0; LANES]); 16];
    let (halves, _) = schedule.as_chunks_mut::<8>();
    for (half, out) in halves.iter_mut().enumerate() {
        let rows = std::array::from_fn(|lane| row(processor, &blocks[lane], half));
        *out = transpose(processor, rows);
    }
    schedule
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

/// One constant per round: fractions of the cube roots of the first 80 primes.
#[rustfmt::skip]
const ROUND_CONSTANTS: [u64; 80] = [
    0x428a_2f98_d728_ae22, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538, 0x59f1_11f1_b605_d019, 0x923f_82a4_af19_4f9b, 0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242, 0x1283_5b01_4570_6fbe, 0x2431_85be_4ee4_b28c, 0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f, 0x80de_b1fe_3b16_96b1, 0x9bdc_06a7_25c7_1235, 0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2, 0xefbe_4786_384f_25e3, 0x0fc1_9dc6_8b8c_d5b5, 0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275, 0x4a74_84aa_6ea6_e483, 0x5cb0_a9dc_bd41_fbd4, 0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab, 0xa831_c66d_2db4_3210, 0xb003_27c8_98fb_213f, 0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2, 0xd5a7_9147_930a_a725, 0x06ca_6351_e003_826f, 0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc, 0x2e1b_2138_5c26_c926, 0x4d2c_6dfc_5ac4_2aed, 0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de, 0x766a_0abb_3c77_b2a8, 0x81c2_c92e_47ed_aee6, 0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364, 0xa81a_664b_bc42_3001, 0xc24b_8b70_d0f8_9791, 0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218, 0xd699_0624_5565_a910, 0xf40e_3585_5771_202a, 0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8, 0x1e37_6c08_5141_ab53, 0x2748_774c_df8e_eb99, 0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63, 0x4ed8_aa4a_e341_8acb, 0x5b9c_ca4f_7763_e373, 0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc, 0x78a5_636f_4317_2f60, 0x84c8_7814_a1f0_ab72, 0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28, 0xa450_6ceb_de82_bde9, 0xbef9_a3f7_b2c6_7915, 0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c, 0xd186_b8c7_21c0_c207, 0xeada_7dd6_cde0_eb1e, 0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba, 0x0a63_7dc5_a2c8_98a6, 0x113f_9804_bef9_0dae, 0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84, 0x32ca_ab7b_40c7_2493, 0x3c9e_be0a_15c9_bebc, 0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6, 0x597f_299c_fc65_7e2a, 0x5fcb_6fab_3ad6_faec, 0x6c44_198c_4a47_5817,
];
