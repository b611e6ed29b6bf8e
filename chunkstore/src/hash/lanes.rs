//! SHA-512 of several messages side by side: the chains of states and blocks.
//!
//! Eight lanes fill a vector. A lane whose message ends takes the next one. When nothing waits any
//! more and few lanes are left, each is finished by itself.

use pulp::x86::V4;

use super::rounds::{self, State};
use super::vectors::{LANES, Vectors};
use crate::address::ChunkAddress;

/// With this many lanes left and nothing waiting, one at a time is not slower.
const FINISH_ALONE: usize = 2;

/// Hashes in lanes where that is faster than one by one, which is on processors with AVX-512.
pub(super) fn hash_if_faster<T: AsRef<[u8]>>(chunks: &[T]) -> Option<Vec<ChunkAddress>> {
    if chunks.len() <= FINISH_ALONE {
        return None;
    }
    let processor = V4::try_new()?;
    Some(processor.vectorize(InLanes { processor, chunks }))
}

/// The work, in the form in which it is compiled for one instruction set.
struct InLanes<'a, T> {
    processor: V4,
    chunks: &'a [T],
}

impl<T: AsRef<[u8]>> pulp::NullaryFnOnce for InLanes<'_, T> {
    type Output = Vec<ChunkAddress>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        hash_in_lanes(self.processor, self.chunks)
    }
}

#[inline(always)]
fn hash_in_lanes<V: Vectors, T: AsRef<[u8]>>(vectors: V, messages: &[T]) -> Vec<ChunkAddress> {
    let mut addresses = vec![ChunkAddress::ZERO; messages.len()];
    let mut waiting = messages.iter().map(AsRef::as_ref).enumerate();
    let mut lanes: [Option<Lane<'_>>; LANES] =
        std::array::from_fn(|_| waiting.next().map(Lane::new));
    let mut state = State::new(vectors, &INITIAL);
    let mut nothing_waits = false;
    loop {
        let busy = lanes.iter().flatten().count();
        if busy == 0 || (nothing_waits && busy <= FINISH_ALONE) {
            break;
        }
        let mut blocks = [[0; 128]; LANES];
        let mut some_ended = false;
        for (block, lane) in blocks.iter_mut().zip(&mut lanes) {
            if let Some(lane) = lane {
                *block = *lane.next_block();
                some_ended |= lane.is_done();
            }
        }
        rounds::compress(vectors, &mut state, &blocks);
        if !some_ended {
            continue;
        }
        for (at, slot) in lanes.iter_mut().enumerate() {
            if let Some(lane) = slot
                && lane.is_done()
            {
                addresses[lane.number] = address(&state.lane(vectors, at));
                state.set_lane(vectors, at, &INITIAL);
                *slot = waiting.next().map(Lane::new);
                nothing_waits |= slot.is_none();
            }
        }
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        if let Some(lane) = lane {
            addresses[lane.number] = finish_alone(lane, state.lane(vectors, at));
        }
    }
    addresses
}

/// Hashes what is left of one message.
fn finish_alone(lane: &mut Lane<'_>, mut state: [u64; 8]) -> ChunkAddress {
    while !lane.is_done() {
        sha2::block_api::compress512(&mut state, std::slice::from_ref(lane.next_block()));
    }
    address(&state)
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

    #[inline(always)]
    fn next_block(&mut self) -> &[u8; 128] {
        match self.whole.next() {
            Some(block) => block,
            None => {
                self.padding_left -= 1;
                &self.padding[1 - self.padding_left]
            }
        }
    }
}

fn address(state: &[u64; 8]) -> ChunkAddress {
    let bytes = state.map(u64::to_be_bytes);
    let first = bytes.as_flattened().first_chunk();
    ChunkAddress::new(*first.expect("a SHA-512 has 64 bytes"))
}

/// The state before the first block: fractions of the square roots of the first 8 primes.
#[rustfmt::skip]
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179,
];

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha512};

    use super::*;
    use crate::hash::vectors::Portable;

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

    /// What the lanes say in registers of AVX-512; nothing where the processor has none.
    fn in_registers(messages: &[Vec<u8>]) -> Option<Vec<ChunkAddress>> {
        let processor = V4::try_new()?;
        Some(processor.vectorize(InLanes {
            processor,
            chunks: messages,
        }))
    }

    /// The order of lanes and rounds is checked on every processor, their instructions only where they are.
    fn assert_right(messages: &[Vec<u8>], what: &str) {
        let expected = expected(messages);
        assert_eq!(hash_in_lanes(Portable, messages), expected, "{what}");
        match in_registers(messages) {
            Some(addresses) => assert_eq!(addresses, expected, "{what}, in registers"),
            None => SKIPPED.call_once(|| {
                eprintln!("skipped: no AVX-512 here, so its instructions are not tested");
            }),
        }
    }

    static SKIPPED: std::sync::Once = std::sync::Once::new();

    #[test]
    fn each_lane_gives_the_hash_of_every_length() {
        for len in lengths() {
            let messages: Vec<_> = (0..LANES).map(|lane| message(len, lane)).collect();
            assert_right(&messages, &format!("{len}"));
        }
    }

    #[test]
    fn lanes_of_different_lengths_are_refilled() {
        let messages: Vec<_> = lengths()
            .into_iter()
            .enumerate()
            .map(|(salt, len)| message(len * 37 % 5000, salt))
            .collect();
        assert_right(&messages, "all lengths");
    }

    #[test]
    fn fewer_messages_than_lanes_and_one_long_among_short_come_out_right() {
        for count in 0..=2 * LANES {
            let mut messages: Vec<_> = (0..count).map(|salt| message(salt * 50, salt)).collect();
            if let Some(first) = messages.first_mut() {
                *first = message(10_000, 1);
            }
            assert_right(&messages, &format!("{count}"));
        }
    }
}
