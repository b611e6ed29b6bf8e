//! SHA-512 of several messages side by side, in plain arithmetic on arrays.
//!
//! The state and the message schedule hold one word per lane, so that each step is the same operation on a
//! whole array: with AVX-512, eight lanes are one register. A lane whose message ends takes the next one. When
//! nothing waits any more and few lanes are left, each is finished by itself.

use crate::address::ChunkAddress;

/// How many lanes fill a register of AVX-512.
const LANES: usize = 8;

/// With this many lanes left and nothing waiting, one at a time is not slower.
const FINISH_ALONE: usize = 2;

/// One word per lane.
type Words<const N: usize> = [u64; N];

/// Hashes in lanes where that is faster than one by one, which is on processors with AVX-512.
pub(super) fn hash_if_faster<T: AsRef<[u8]>>(chunks: &[T]) -> Option<Vec<ChunkAddress>> {
    #[cfg(target_arch = "x86_64")]
    if chunks.len() > FINISH_ALONE
        && let Some(processor) = pulp::x86::V4::try_new()
    {
        return Some(processor.vectorize(InLanes { chunks }));
    }
    let _ = chunks;
    None
}

/// The work, in the form in which it is compiled for one instruction set.
#[cfg(target_arch = "x86_64")]
struct InLanes<'a, T> {
    chunks: &'a [T],
}

#[cfg(target_arch = "x86_64")]
impl<T: AsRef<[u8]>> pulp::NullaryFnOnce for InLanes<'_, T> {
    type Output = Vec<ChunkAddress>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        hash_in_lanes::<LANES, T>(self.chunks)
    }
}

/// Hashes all messages in `N` lanes.
#[inline(always)]
fn hash_in_lanes<const N: usize, T: AsRef<[u8]>>(messages: &[T]) -> Vec<ChunkAddress> {
    let mut addresses = vec![ChunkAddress::ZERO; messages.len()];
    let mut waiting = messages.iter().map(AsRef::as_ref).enumerate();
    let mut lanes: [Option<Lane<'_>>; N] = std::array::from_fn(|_| waiting.next().map(Lane::new));
    let mut state = [[0; N]; 8];
    for lane in 0..N {
        set_lane(&mut state, lane, &INITIAL);
    }
    let mut nothing_waits = false;
    loop {
        let busy = lanes.iter().flatten().count();
        if busy == 0 || (nothing_waits && busy <= FINISH_ALONE) {
            break;
        }
        let mut schedule = [[0; N]; 16];
        for (at, lane) in lanes.iter_mut().enumerate() {
            if let Some(lane) = lane {
                lane.next_block(|word, value| schedule[word][at] = value);
            }
        }
        compress(&mut state, &mut schedule);
        for (at, slot) in lanes.iter_mut().enumerate() {
            if let Some(lane) = slot
                && lane.is_done()
            {
                addresses[lane.number] = address(&lane_of(&state, at));
                set_lane(&mut state, at, &INITIAL);
                *slot = waiting.next().map(Lane::new);
                nothing_waits |= slot.is_none();
            }
        }
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        if let Some(lane) = lane {
            addresses[lane.number] = finish_alone(lane, lane_of(&state, at));
        }
    }
    addresses
}

/// Hashes what is left of one message.
#[inline(always)]
fn finish_alone(lane: &mut Lane<'_>, state: [u64; 8]) -> ChunkAddress {
    let mut state = state.map(|word| [word]);
    while !lane.is_done() {
        let mut schedule = [[0; 1]; 16];
        lane.next_block(|word, value| schedule[word][0] = value);
        compress(&mut state, &mut schedule);
    }
    address(&lane_of(&state, 0))
}

/// A message on its way through a lane.
struct Lane<'a> {
    /// Its place among all messages.
    number: usize,
    /// Blocks of the message itself that are left.
    whole: std::slice::Iter<'a, [u8; 128]>,
    /// What follows them: the rest of the message, a one bit, zeros, and the length in bits.
    padding: [[u8; 128]; 2],
    padding_left: usize,
}

impl<'a> Lane<'a> {
    #[inline(always)]
    fn new((number, message): (usize, &'a [u8])) -> Self {
        let (whole, rest) = message.as_chunks();
        let blocks = if rest.len() + 17 <= 128 { 1 } else { 2 };
        let mut padding = [[0; 128]; 2];
        let flat = padding.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()] = 0x80;
        let bits = message.len() as u128 * 8;
        flat[blocks * 128 - 16..blocks * 128].copy_from_slice(&bits.to_be_bytes());
        if blocks == 1 {
            // Blocks are taken from the back.
            padding.swap(0, 1);
        }
        Self {
            number,
            whole: whole.iter(),
            padding,
            padding_left: blocks,
        }
    }

    #[inline(always)]
    fn is_done(&self) -> bool {
        self.padding_left == 0
    }

    /// Hands the 16 words of the next block to `put`.
    #[inline(always)]
    fn next_block(&mut self, mut put: impl FnMut(usize, u64)) {
        let block = match self.whole.next() {
            Some(block) => block,
            None => {
                let block = &self.padding[2 - self.padding_left];
                self.padding_left -= 1;
                block
            }
        };
        let (words, _) = block.as_chunks();
        for (at, word) in words.iter().enumerate() {
            put(at, u64::from_be_bytes(*word));
        }
    }
}

#[inline(always)]
fn lane_of<const N: usize>(state: &[Words<N>; 8], lane: usize) -> [u64; 8] {
    state.map(|words| words[lane])
}

#[inline(always)]
fn set_lane<const N: usize>(state: &mut [Words<N>; 8], lane: usize, values: &[u64; 8]) {
    for (words, value) in state.iter_mut().zip(values) {
        words[lane] = *value;
    }
}

fn address(state: &[u64; 8]) -> ChunkAddress {
    let bytes = state.map(u64::to_be_bytes);
    let first = bytes.as_flattened().first_chunk();
    ChunkAddress::new(*first.expect("a SHA-512 has 64 bytes"))
}

/// Mixes one block per lane into the state. `schedule` is used up.
#[inline(always)]
fn compress<const N: usize>(state: &mut [Words<N>; 8], schedule: &mut [Words<N>; 16]) {
    let mut mixed = *state;
    for (round, constant) in ROUND_CONSTANTS.iter().enumerate() {
        let at = round % 16;
        if round >= 16 {
            schedule[at] = extend(schedule, at);
        }
        mixed = step(&mixed, *constant, &schedule[at]);
    }
    for (words, mixed) in state.iter_mut().zip(&mixed) {
        *words = each(|lane| words[lane].wrapping_add(mixed[lane]));
    }
}

/// One of the 80 rounds.
#[inline(always)]
fn step<const N: usize>(state: &[Words<N>; 8], constant: u64, word: &Words<N>) -> [Words<N>; 8] {
    let [a, b, c, d, e, f, g, h] = state;
    let first: Words<N> = each(|i| {
        let sum = e[i].rotate_right(14) ^ e[i].rotate_right(18) ^ e[i].rotate_right(41);
        let choice = (e[i] & f[i]) ^ (!e[i] & g[i]);
        h[i].wrapping_add(sum)
            .wrapping_add(choice)
            .wrapping_add(constant)
            .wrapping_add(word[i])
    });
    let second: Words<N> = each(|i| {
        let sum = a[i].rotate_right(28) ^ a[i].rotate_right(34) ^ a[i].rotate_right(39);
        let majority = (a[i] & b[i]) ^ (a[i] & c[i]) ^ (b[i] & c[i]);
        sum.wrapping_add(majority)
    });
    let new_e = each(|i| d[i].wrapping_add(first[i]));
    let new_a = each(|i| first[i].wrapping_add(second[i]));
    [new_a, *a, *b, *c, new_e, *e, *f, *g]
}

/// The next word of the message schedule, which takes the place of the one 16 rounds before.
#[inline(always)]
fn extend<const N: usize>(schedule: &[Words<N>; 16], at: usize) -> Words<N> {
    let back = |rounds: usize| &schedule[(at + 16 - rounds) % 16];
    let (two, seven, fifteen) = (back(2), back(7), back(15));
    each(|i| {
        let small = fifteen[i].rotate_right(1) ^ fifteen[i].rotate_right(8) ^ (fifteen[i] >> 7);
        let large = two[i].rotate_right(19) ^ two[i].rotate_right(61) ^ (two[i] >> 6);
        schedule[at][i]
            .wrapping_add(small)
            .wrapping_add(seven[i])
            .wrapping_add(large)
    })
}

#[inline(always)]
fn each<const N: usize>(mut word: impl FnMut(usize) -> u64) -> Words<N> {
    let mut words = [0; N];
    for (lane, value) in words.iter_mut().enumerate() {
        *value = word(lane);
    }
    words
}

/// The state before the first block: fractions of the square roots of the first 8 primes.
#[rustfmt::skip]
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179,
];

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

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha512};

    use super::*;

    /// Bytes that differ from place to place and from message to message.
    fn message(len: usize, salt: usize) -> Vec<u8> {
        (0..len)
            .map(|at| u8::try_from((at * 31 + salt * 7 + at / 251) % 256).unwrap())
            .collect()
    }

    fn expected(messages: &[Vec<u8>]) -> Vec<ChunkAddress> {
        let hash = |message: &Vec<u8>| ChunkAddress::try_from(&Sha512::digest(message)[..20]);
        messages
            .iter()
            .map(|message| hash(message).unwrap())
            .collect()
    }

    fn lengths() -> Vec<usize> {
        let around = (1..=40).flat_map(|blocks| (blocks * 128 - 20)..=(blocks * 128 + 20));
        (0..=300).chain(around).collect()
    }

    #[test]
    fn each_lane_gives_the_hash_of_every_length() {
        for len in lengths() {
            let messages: Vec<_> = (0..LANES).map(|lane| message(len, lane)).collect();
            assert_eq!(
                hash_in_lanes::<LANES, _>(&messages),
                expected(&messages),
                "{len}"
            );
        }
    }

    #[test]
    fn lanes_of_different_lengths_are_refilled() {
        let messages: Vec<_> = lengths()
            .into_iter()
            .enumerate()
            .map(|(salt, len)| message(len * 37 % 5000, salt))
            .collect();
        assert_eq!(hash_in_lanes::<LANES, _>(&messages), expected(&messages));
        assert_eq!(hash_in_lanes::<3, _>(&messages), expected(&messages));
        assert_eq!(hash_in_lanes::<1, _>(&messages), expected(&messages));
    }

    #[test]
    fn fewer_messages_than_lanes_and_one_long_among_short_come_out_right() {
        for count in 0..=2 * LANES {
            let mut messages: Vec<_> = (0..count).map(|salt| message(salt * 50, salt)).collect();
            if let Some(first) = messages.first_mut() {
                *first = message(10_000, 1);
            }
            assert_eq!(
                hash_in_lanes::<LANES, _>(&messages),
                expected(&messages),
                "{count}"
            );
        }
    }

    #[test]
    fn what_the_processor_chooses_is_right() {
        let messages: Vec<_> = (0..100).map(|salt| message(salt * 41, salt)).collect();
        match hash_if_faster(&messages) {
            Some(addresses) => assert_eq!(addresses, expected(&messages)),
            None => eprintln!("no AVX-512 here: the lanes ran without it in the other tests"),
        }
    }
}
