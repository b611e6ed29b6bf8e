//! How much a message may hold (pure).
//!
//! Decoding a message can take many times its length: an empty hash is two bytes on the wire and a pointer,
//! a length and more in memory. So the fields of each message are counted before it is decoded. Only
//! keys and lengths are looked at; what is malformed is left to the decoder, which refuses it.

/// Fields of a message besides what it lists.
const OTHER_FIELDS: usize = 64;
/// The longest packed list of numbers, in bytes. No client sends more than a few.
const MAX_PACKED: usize = 4096;

/// How much a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long it may be, in bytes.
    pub len: usize,
    /// How many values its list may have.
    pub listed: usize,
    /// The number of the field that is a packed list of numbers, where the message has one.
    pub packed: Option<u64>,
}

/// A message holds more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Too many fields.
    #[error("a message of this call lists at most {most} values")]
    Listed {
        /// How many there may be.
        most: usize,
    },
    /// Too long a list of numbers.
    #[error("the list of capabilities is longer than {MAX_PACKED} bytes")]
    Packed,
}

impl Bounds {
    /// Counts what stands in a message.
    pub fn check(&self, message: &[u8]) -> Result<(), TooMuch> {
        let mut rest = Rest(message);
        let mut fields = 0;
        while let Some(key) = rest.number() {
            fields += 1;
            if fields > self.listed + OTHER_FIELDS {
                return Err(TooMuch::Listed { most: self.listed });
            }
            let passed = match key & 7 {
                0 => rest.number().map(drop),
                1 => rest.skip(8),
                2 => {
                    let len = rest.number().and_then(|len| usize::try_from(len).ok());
                    if self.packed == Some(key >> 3) && len.is_some_and(|len| len > MAX_PACKED) {
                        return Err(TooMuch::Packed);
                    }
                    len.and_then(|len| rest.skip(len))
                }
                // A group: what is inside counts as fields of the message.
                3 | 4 => Some(()),
                5 => rest.skip(4),
                _ => None,
            };
            if passed.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// What of a message is still to be looked at.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// The next number; nothing at the end, and where there is no such number.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.0 = self.0.get(len..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        len: 1 << 20,
        listed: 3,
        packed: Some(5),
    };

    /// A field of bytes.
    fn field(number: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut left = len;
        while left >= 0x80 {
            bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        bytes.push(u8::try_from(left).unwrap());
        bytes.extend(vec![1; len]);
        bytes
    }

    #[test]
    fn fields_are_counted() {
        for len in [0, 1, 20, 300] {
            assert_eq!(BOUNDS.check(&field(2, len).repeat(67)), Ok(()));
            let refused = BOUNDS.check(&field(2, len).repeat(68));
            assert_eq!(refused, Err(TooMuch::Listed { most: 3 }), "{len}");
        }
        // Numbers, and what stands in a group.
        for (bytes, fields) in [(&[8, 0][..], 1), (&[0x0b, 8, 0x80, 1, 0x0c], 3)] {
            assert_eq!(BOUNDS.check(&bytes.repeat(67 / fields)), Ok(()));
            assert!(BOUNDS.check(&bytes.repeat(68 / fields + 1)).is_err());
        }
    }

    #[test]
    fn a_packed_list_is_bounded() {
        assert_eq!(BOUNDS.check(&field(5, 4096)), Ok(()));
        assert_eq!(BOUNDS.check(&field(5, 4097)), Err(TooMuch::Packed));
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        for message in [
            &[0xff; 40][..],
            b"\x07\x07\x07\x07\x07",
            b"\x12\xff\xff\xff\xff\x7f\x12\x00\x12\x00\x12\x00\x12\x00",
            b"\x0a\x05\x00",
            b"\x09\x01",
        ] {
            assert_eq!(BOUNDS.check(message), Ok(()), "{message:?}");
        }
    }
}
