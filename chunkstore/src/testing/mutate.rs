//! Bytes that were changed where it hurts: what a decoder meets when something lies, was cut short, or is noise.
//!
//! The same generator in the same state gives the same bytes.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use crate::format::{archive, table};

/// Numbers that stand where a count, a length or an id should.
pub const NUMBERS: [u64; 9] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff0,
    u64::MAX,
];

/// How many bytes the longest footer and what stands before it take.
const FOOTER_REACH: usize = 240;

/// Makes up to 600 random bytes, half of them with the end of a table file or of an archive.
pub fn noise(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..600)];
    random.fill_bytes(&mut bytes);
    match random.random_range(0..4) {
        0 => bytes.extend_from_slice(&table::MAGIC),
        1 => {
            bytes.push(random.random_range(0..5));
            bytes.extend_from_slice(archive::MAGIC);
        }
        _ => {}
    }
    bytes
}

/// Takes one of `bases` and changes it in one to three ways: a bit, a number, a cut at either end, the end of
/// another base, a run that comes twice.
///
/// # Panics
/// When there is no base, or one of them is empty.
pub fn mutated(bases: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bases[random.random_range(0..bases.len())].clone();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = place(bytes.len(), random);
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => put_number(&mut bytes[at..], random),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(..at)),
            4 => {
                let other = &bases[random.random_range(0..bases.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[place(other.len(), random)..]);
            }
            _ => {
                let end = (at + random.random_range(0..64)).min(bytes.len());
                let run = bytes[at..end].to_vec();
                bytes.splice(at..at, run);
            }
        }
    }
    bytes
}

/// A place in the input: half of the time near its end, where footers are.
fn place(len: usize, random: &mut StdRng) -> usize {
    let behind = match random.random_range(0..4) {
        0 => 24,
        1 => FOOTER_REACH,
        _ => len,
    };
    len - 1 - random.random_range(0..behind.min(len))
}

fn put_number(bytes: &mut [u8], random: &mut StdRng) {
    let mut number = NUMBERS[random.random_range(0..NUMBERS.len())];
    if random.random_range(0..4) == 0 {
        number = random.random_range(0..1000);
    }
    let width = if random.random_range(0..2) == 0 { 4 } else { 8 };
    put(bytes, number, width);
}

/// Overwrites the front with the last `width` bytes of a number, as far as there is room.
fn put(bytes: &mut [u8], number: u64, width: usize) {
    let number = number.to_be_bytes();
    for (byte, value) in bytes.iter_mut().zip(&number[8 - width..]) {
        *byte = *value;
    }
}
