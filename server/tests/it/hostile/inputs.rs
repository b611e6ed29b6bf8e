//! Where inputs come from.

use holdfast_chunkstore::testing::mutate::{self, NUMBERS};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A generator with the seed of this run, which is printed; `salt` tells targets apart.
pub(super) fn generator(salt: u64) -> StdRng {
    let seed: u64 = std::env::var_os("HOLDFAST_SEED")
        .map_or(20_261_125, |seed| seed.to_str().unwrap().parse().unwrap());
    eprintln!("seed {seed}");
    StdRng::seed_from_u64(seed ^ salt)
}

/// Bytes that are almost one of `bases`; every eighth time no more than noise.
pub(super) fn input(bases: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let is_empty = bases.iter().all(Vec::is_empty);
    match random.random_range(0..8) {
        0 => mutate::noise(random),
        _ if is_empty => noise(40, random),
        1 => inserted(one_of(bases, random).clone(), random),
        _ => {
            let bases: Vec<_> = bases
                .iter()
                .filter(|base| !base.is_empty())
                .cloned()
                .collect();
            mutate::mutated(&bases, random)
        }
    }
}

/// Up to `longest` random bytes.
pub(super) fn noise(longest: usize, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..=longest)];
    random.fill_bytes(&mut bytes);
    bytes
}

fn inserted(mut bytes: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    let at = random.random_range(0..=bytes.len());
    let what = noise(9, random);
    bytes.splice(at..at, what);
    bytes
}

/// Bytes as long as `base` that differ from it in a few places; half of these near the end.
pub(super) fn overwritten(base: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = base.to_vec();
    while bytes == base {
        for _ in 0..random.random_range(1..4) {
            let reach = [24, 240, base.len(), base.len()][random.random_range(0..4)];
            let at = base.len() - 1 - random.random_range(0..reach.min(base.len()));
            let len = random.random_range(1..40).min(base.len() - at);
            match random.random_range(0..5) {
                0 => bytes[at] ^= 1 << random.random_range(0..8),
                1 => random.fill_bytes(&mut bytes[at..at + len]),
                2 => bytes[at..at + len].fill([0, 0xff][random.random_range(0..2)]),
                3 => {
                    let number = *one_of(&NUMBERS, random);
                    let number = number.wrapping_add(random.random_range(0..3)).to_be_bytes();
                    let width = len.min([4, 8][random.random_range(0..2)]);
                    bytes[at..at + width].copy_from_slice(&number[8 - width..]);
                }
                _ => {
                    let from = random.random_range(0..=base.len() - len);
                    bytes.copy_within(from..from + len, at);
                }
            }
        }
    }
    bytes
}

/// One of several.
pub(super) fn one_of<'a, T>(several: &'a [T], random: &mut StdRng) -> &'a T {
    &several[random.random_range(0..several.len())]
}

/// Almost one of `bases`, in characters that any header and address takes.
pub(super) fn printable(bases: &[&str], random: &mut StdRng) -> String {
    let bases: Vec<_> = bases.iter().map(|base| base.as_bytes().to_vec()).collect();
    let bytes = input(&bases, random).into_iter();
    bytes.map(|byte| char::from(b'!' + byte % 94)).collect()
}

/// A path that is almost one of `bases`, as far as an address takes it.
pub(super) fn path(bases: &[&str], random: &mut StdRng) -> String {
    let path = printable(bases, random).replace(['#', '<', '>', '`', '"'], "_");
    format!("/{}", path.trim_start_matches('/'))
}

/// Almost one of `bases`, as text: what is no text is replaced.
pub(super) fn text(bases: &[&str], random: &mut StdRng) -> String {
    let bases: Vec<_> = bases.iter().map(|base| base.as_bytes().to_vec()).collect();
    String::from_utf8_lossy(&input(&bases, random)).into_owned()
}
