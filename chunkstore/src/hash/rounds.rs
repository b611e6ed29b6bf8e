//! One block of each lane mixed into the states of all lanes: SHA-512 over [`Vectors`].
//!
//! A vector holds one word of every lane. The operations are those of FIPS 180-4. The rounds are written out sixteen
//! at a time, so that which vector plays which part is known when this is compiled, and the words stay in registers.

use super::vectors::{LANES, Vectors};

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
pub(super) struct State<W>([W; 8]);

impl<W: Copy> State<W> {
    /// The same state in each lane.
    #[inline(always)]
    pub(super) fn new<V: Vectors<Words = W>>(vectors: V, state: &[u64; 8]) -> Self {
        Self(state.map(|word| vectors.words([word; LANES])))
    }

    #[inline(always)]
    pub(super) fn lane<V: Vectors<Words = W>>(&self, vectors: V, lane: usize) -> [u64; 8] {
        self.0.map(|words| vectors.numbers(words)[lane])
    }

    #[inline(always)]
    pub(super) fn set_lane<V: Vectors<Words = W>>(
        &mut self,
        vectors: V,
        lane: usize,
        state: &[u64; 8],
    ) {
        for (all, word) in self.0.iter_mut().zip(state) {
            let mut lanes = vectors.numbers(*all);
            lanes[lane] = *word;
            *all = vectors.words(lanes);
        }
    }
}

/// Mixes one block per lane into the states.
#[inline(always)]
pub(super) fn compress<V: Vectors>(
    vectors: V,
    state: &mut State<V::Words>,
    blocks: &[[u8; 128]; LANES],
) {
    let mut schedule = vectors.schedule(blocks);
    let mut mixed = state.0;
    let (all_constants, _) = ROUND_CONSTANTS.as_chunks::<16>();
    for (number, constants) in all_constants.iter().enumerate() {
        if number > 0 {
            sixteen_times!(|AT| extend::<V, AT>(vectors, &mut schedule));
        }
        sixteen_times!(|ROUND| step::<V, ROUND>(vectors, &mut mixed, constants, &schedule));
    }
    for (words, mixed) in state.0.iter_mut().zip(&mixed) {
        *words = vectors.add(*words, *mixed);
    }
}

/// One of sixteen rounds: the parts that the vectors play move on by one with each.
#[inline(always)]
fn step<V: Vectors, const ROUND: usize>(
    vectors: V,
    state: &mut [V::Words; 8],
    constants: &[u64; 16],
    schedule: &[V::Words; 16],
) {
    let [a, b, c, d, e, f, g, h] = const { parts(ROUND) };
    let add = |one, other| vectors.add(one, other);
    let constant = vectors.words([constants[ROUND]; LANES]);
    let sum = vectors.xor(
        vectors.rotate::<14>(state[e]),
        vectors.rotate::<18>(state[e]),
        vectors.rotate::<41>(state[e]),
    );
    let choice = vectors.choice(state[e], state[f], state[g]);
    let given = add(state[h], add(constant, schedule[ROUND]));
    let first = add(add(given, choice), sum);
    let sum = vectors.xor(
        vectors.rotate::<28>(state[a]),
        vectors.rotate::<34>(state[a]),
        vectors.rotate::<39>(state[a]),
    );
    let majority = vectors.majority(state[a], state[b], state[c]);
    state[d] = add(state[d], first);
    state[h] = add(first, add(sum, majority));
}

/// Which vectors play `a` to `h` in a round.
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
fn extend<V: Vectors, const AT: usize>(vectors: V, schedule: &mut [V::Words; 16]) {
    let [two, seven, fifteen] = const { [(AT + 14) % 16, (AT + 9) % 16, (AT + 1) % 16] };
    let add = |one, other| vectors.add(one, other);
    let (near, far) = (schedule[two], schedule[fifteen]);
    let small = vectors.xor(
        vectors.rotate::<1>(far),
        vectors.rotate::<8>(far),
        vectors.shift::<7>(far),
    );
    let large = vectors.xor(
        vectors.rotate::<19>(near),
        vectors.rotate::<61>(near),
        vectors.shift::<6>(near),
    );
    schedule[AT] = add(add(schedule[AT], schedule[seven]), add(small, large));
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
