//! Bytes that were changed where it hurts: what a decoder meets when something lies, was cut short, or is noise.
//!
//! The same generator in the same state gives the same bytes.

use std::ops::Range;

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
/// How many bytes the longest header takes.
const HEADER_REACH: usize = 32;

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

/// Takes one of `bases`, which are text, and changes one to three of its words: to a number, to a word of another
/// base, to other letters, to two words or to none.
///
/// # Panics
/// When there is no base.
pub fn reworded(bases: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut text = bases[random.random_range(0..bases.len())].clone();
    for _ in 0..random.random_range(1..4) {
        let Some(word) = any_word(&text, random) else {
            break;
        };
        let new = match random.random_range(0..5) {
            0 => NUMBERS[random.random_range(0..NUMBERS.len())]
                .to_string()
                .into_bytes(),
            1 => {
                let other = &bases[random.random_range(0..bases.len())];
                any_word(other, random).map_or(Vec::new(), |word| other[word].to_vec())
            }
            2 => {
                let mut letters = text[word.clone()].to_vec();
                let at = random.random_range(0..letters.len());
                letters[at] = random.random_range(b' '..0x7f);
                letters
            }
            3 => [&text[word.clone()], b" ", &text[word.clone()]].concat(),
            _ => Vec::new(),
        };
        text.splice(word, new);
    }
    text
}

/// Calls `each` with `base` once for every number of [`NUMBERS`] in every place near either end, in four and in
/// eight bytes: one of them is each count and each length of a header or a footer.
pub fn with_hostile_numbers(base: &[u8], mut each: impl FnMut(&[u8])) {
    let footer = base.len().saturating_sub(FOOTER_REACH).max(HEADER_REACH);
    for at in (0..base.len().min(HEADER_REACH)).chain(footer..base.len()) {
        for number in NUMBERS {
            for width in [4, 8] {
                let mut bytes = base.to_vec();
                put(&mut bytes[at..], number, width);
                each(&bytes);
            }
        }
    }
}

/// Where one of the words of a text stands; nothing if there is none.
fn any_word(text: &[u8], random: &mut StdRng) -> Option<Range<usize>> {
    let is_in_word = |at: &usize| text[*at].is_ascii_alphanumeric();
    let words = (0..text.len()).filter(is_in_word).count();
    let chosen = (0..text.len())
        .filter(is_in_word)
        .nth(random.random_range(0..words.max(1)))?;
    let start = (0..=chosen).rev().take_while(is_in_word).last()?;
    let end = (chosen..text.len()).take_while(is_in_word).last()? + 1;
    Some(start..end)
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
