//! Where a node of a prolly tree ends.
//!
//! A node's size follows a Weibull distribution of shape 4 around 4 KiB: after each entry a boundary comes with the
//! probability that the size just passed is the node's, given that it was not smaller, and the low 32 bits of the
//! key's seeded XXH3 are the throw of the dice. Source: `go/store/prolly/tree/node_splitter.go` of Dolt, as
//! described in the data model specification, section 2.4.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// No boundary comes before so many bytes.
const MIN_BYTES: usize = 512;

/// A boundary comes after more than so many bytes, whatever the keys are.
const MAX_BYTES: usize = 16 << 10;

/// The scale of the distribution, in bytes.
const SCALE: f64 = 4096.0;

/// Per level, the first 8 bytes of the SHA-512 of the byte `level + 1`, read as little-endian.
const SALTS: [u64; 15] = [
    0xddfb_c136_68b6_547b,
    0x53a8_57b6_c948_b8fa,
    0xaa94_df7d_81f5_5be4,
    0x135b_7b50_25c7_b8b5,
    0x2cfa_558a_443e_5f09,
    0x047c_5bf9_7d08_1558,
    0xb610_e6df_a111_5d36,
    0xb801_0bf4_f86b_5af6,
    0xbba2_5ed3_f85b_7bf2,
    0xe586_86ca_3888_68be,
    0x0fbc_df6f_2bff_7c52,
    0xa444_571e_649a_b32a,
    0x2a04_7bf3_cc02_719f,
    0x2e88_18c8_7b88_473e,
    0xd663_69bd_2feb_a7c5,
];

/// Tells for each entry of one node whether the node ends behind it.
#[derive(Debug)]
pub(super) struct Splitter {
    salt: u64,
    size: usize,
}

impl Splitter {
    /// Begins a node of a level, which is one of [`crate::tree::MAX_LEVELS`].
    pub(super) fn new(level: u8) -> Self {
        Self {
            salt: SALTS[usize::from(level) % SALTS.len()],
            size: 0,
        }
    }

    /// Adds an entry and tells whether a node ends behind it.
    pub(super) fn add(&mut self, key: &[u8], value_len: usize) -> bool {
        let before = self.size;
        self.size += key.len() + value_len;
        if self.size < MIN_BYTES {
            return false;
        }
        if self.size > MAX_BYTES {
            return true;
        }
        let throw = xxh3_64_with_seed(key, self.salt) & u64::from(u32::MAX);
        let throw = u32::try_from(throw).expect("32 bits are left");
        f64::from(throw) / f64::from(u32::MAX) < hazard(before, self.size)
    }
}

/// The probability that a node ends between two sizes, given that it did not end before.
fn hazard(before: usize, after: usize) -> f64 {
    let (start, end) = (distribution(before), distribution(after));
    let left = 1.0 - start;
    if left <= 0.0 {
        1.0
    } else {
        (end - start) / left
    }
}

fn distribution(size: usize) -> f64 {
    // Sizes are below 100 KB.
    let x = f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / SCALE;
    -(-(x * x * x * x)).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specified_vectors_come_out() {
        for (size, len, wanted) in [
            (512, 8, 1.490_476_085_5e-5),
            (1024, 8, 1.206_399_594_7e-4),
            (4096, 8, 7.759_380_970_2e-3),
            (4096, 200, 0.165_954_533_7),
            (8000, 100, 0.510_351_098_6),
        ] {
            let found = hazard(size - len, size);
            assert!(
                (found - wanted).abs() < wanted * 1e-9,
                "{size}, {len}: {found}"
            );
        }
        let hash = |key: &[u8]| xxh3_64_with_seed(key, SALTS[0]);
        assert_eq!(hash(b""), 0x565a_70c2_c437_f96d);
        assert_eq!(hash(b"a"), 0x7cee_3819_460a_a796);
        assert_eq!(hash(&[1, 0, 0, 0, 1, 0]), 0x3829_c5a5_8389_2c79);
    }

    #[test]
    fn sizes_have_a_least_and_a_most() {
        let mut splitter = Splitter::new(0);
        assert!(!splitter.add(&[0; 400], 20));
        let mut largest = 0;
        for number in 0..20_000_u32 {
            if splitter.add(&number.to_be_bytes(), 20) {
                assert!(splitter.size >= MIN_BYTES);
                largest = largest.max(splitter.size);
                splitter = Splitter::new(0);
            }
        }
        assert!(largest <= MAX_BYTES + 24);
        assert!(splitter.add(&[1; MAX_BYTES], 1));
    }
}
