//! Looks over messages as their bytes pass, and counts what stands in them (pure).
//!
//! Decoding a message can take many times its length: an empty hash is two bytes on the wire and a pointer,
//! a length and more in memory. So the fields of each message are counted before anybody decodes it. Only
//! keys and lengths are looked at; what is malformed is left to the decoder, which refuses it.

use super::MAX_MESSAGE;

/// A message longer than this waits for room before its body is asked for, in bytes.
pub const LARGE: usize = 1 << 20;
/// Fields of a message besides what it lists.
const OTHER_FIELDS: usize = 64;
/// The longest packed list of numbers, in bytes. No client sends more than a few.
const MAX_PACKED: u64 = 4096;

/// The length of what comes before each message: a flag and the length.
const HEADER_LEN: usize = 5;
const VARINT_BITS: u32 = 64;

/// How much a message may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
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

/// How far a walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walked {
    /// Through all bytes.
    All,
    /// To the last byte of the head of a large message, which was not walked over.
    Large {
        /// How many bytes come before it.
        at: usize,
        /// The length of the message in bytes.
        len: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between two messages, or in a message's head.
    Header { have: usize, len: usize },
    /// In a field's key.
    Key(Varint),
    /// In a field that is one number.
    Number,
    /// In the length of a field.
    Length { field: u64, so_far: Varint },
    /// In the bytes of a field.
    Bytes { left: usize },
    /// In the rest of a message that is not looked at any more.
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Varint {
    value: u64,
    bits: u32,
}

/// Walks over messages with their heads, one behind the other.
#[derive(Debug)]
pub struct Walker {
    bounds: Bounds,
    at: At,
    left_in_message: usize,
    fields: usize,
    messages: u64,
    /// The head of a large message may be walked over.
    let_in: bool,
}

const BETWEEN: At = At::Header { have: 0, len: 0 };
const NEXT_KEY: At = At::Key(Varint { value: 0, bits: 0 });

impl Walker {
    /// Begins before the first message.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            at: BETWEEN,
            left_in_message: 0,
            fields: 0,
            messages: 0,
            let_in: false,
        }
    }

    /// Whether the last message, if any, has been walked over to its end.
    pub fn is_between(&self) -> bool {
        self.at == BETWEEN
    }

    /// How many whole messages were walked over.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Lets the next walk go on over the head of a large message.
    pub fn let_in(&mut self) {
        self.let_in = true;
    }

    /// Walks on over the next bytes. After [`Walked::Large`] the bytes from there on come again.
    pub fn walk(&mut self, bytes: &[u8]) -> Result<Walked, TooMuch> {
        let mut i = 0;
        while i < bytes.len() {
            if let At::Header { have, len } = self.at {
                let is_last = have + 1 == HEADER_LEN;
                let len = if have == 0 {
                    0
                } else {
                    len << 8 | usize::from(bytes[i])
                };
                if is_last && len > LARGE && len <= MAX_MESSAGE && !self.let_in {
                    return Ok(Walked::Large { at: i, len });
                }
                i += 1;
                if is_last {
                    self.begin(len);
                } else {
                    self.at = At::Header {
                        have: have + 1,
                        len,
                    };
                }
                continue;
            }
            let within = &bytes[i..bytes.len().min(i.saturating_add(self.left_in_message))];
            let passed = self.step(within)?;
            i += passed;
            self.left_in_message -= passed;
            if self.left_in_message == 0 {
                self.at = BETWEEN;
                self.messages += 1;
            }
        }
        Ok(Walked::All)
    }

    fn begin(&mut self, len: usize) {
        self.let_in = false;
        self.fields = 0;
        self.left_in_message = len;
        self.at = match len {
            0 => BETWEEN,
            // The decoder refuses it by its head alone.
            len if len > MAX_MESSAGE => At::Rest,
            _ => NEXT_KEY,
        };
        self.messages += u64::from(len == 0);
    }

    /// Goes on within a message; returns how many of the bytes, of which there are some, it went over.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, TooMuch> {
        let byte = bytes[0];
        match self.at {
            At::Rest => return Ok(bytes.len()),
            At::Bytes { left } => {
                let passed = left.min(bytes.len());
                self.at = match left - passed {
                    0 => NEXT_KEY,
                    left => At::Bytes { left },
                };
                return Ok(passed);
            }
            At::Number => {
                if byte < 0x80 {
                    self.at = NEXT_KEY;
                }
            }
            At::Key(so_far) => match so_far.and(byte) {
                Read::More(so_far) => self.at = At::Key(so_far),
                Read::Whole(key) => self.field(key)?,
                Read::Malformed => self.at = At::Rest,
            },
            At::Length { field, so_far } => match so_far.and(byte) {
                Read::More(so_far) => self.at = At::Length { field, so_far },
                Read::Whole(len) => self.bytes(field, len)?,
                Read::Malformed => self.at = At::Rest,
            },
            At::Header { .. } => {}
        }
        Ok(1)
    }

    fn field(&mut self, key: u64) -> Result<(), TooMuch> {
        self.fields += 1;
        if self.fields > self.bounds.listed + OTHER_FIELDS {
            let most = self.bounds.listed;
            return Err(TooMuch::Listed { most });
        }
        let field = key >> 3;
        self.at = match key & 7 {
            0 => At::Number,
            1 => At::Bytes { left: 8 },
            2 => At::Length {
                field,
                so_far: Varint::default(),
            },
            // A group: what is inside counts as fields of the message.
            3 | 4 => NEXT_KEY,
            5 => At::Bytes { left: 4 },
            _ => At::Rest,
        };
        Ok(())
    }

    fn bytes(&mut self, field: u64, len: u64) -> Result<(), TooMuch> {
        if self.bounds.packed == Some(field) && len > MAX_PACKED {
            return Err(TooMuch::Packed);
        }
        self.at = match usize::try_from(len) {
            Ok(0) => NEXT_KEY,
            Ok(left) if left < self.left_in_message => At::Bytes { left },
            Ok(_) | Err(_) => At::Rest,
        };
        Ok(())
    }
}

enum Read {
    More(Varint),
    Whole(u64),
    Malformed,
}

impl Varint {
    fn and(self, byte: u8) -> Read {
        if self.bits >= VARINT_BITS {
            return Read::Malformed;
        }
        let value = self.value | u64::from(byte & 0x7f) << self.bits;
        if byte < 0x80 {
            return Read::Whole(value);
        }
        Read::More(Self {
            value,
            bits: self.bits + 7,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        listed: 3,
        packed: Some(5),
    };

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    }

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

    fn hashes(count: usize, len: usize) -> Vec<u8> {
        framed(&field(2, len).repeat(count))
    }

    /// Walks over the bytes in pieces of every length, and lets every large message in.
    fn walk(bytes: &[u8], piece: usize) -> Result<Walker, TooMuch> {
        let mut walker = Walker::new(BOUNDS);
        for piece in bytes.chunks(piece) {
            let mut rest = piece;
            while let Walked::Large { at, .. } = walker.walk(rest)? {
                rest = &rest[at..];
                walker.let_in();
            }
        }
        Ok(walker)
    }

    #[test]
    fn fields_are_counted_however_the_bytes_are_cut() {
        for piece in 1..64 {
            for len in [0, 1, 20, 300] {
                let good = [hashes(67, len), framed(b""), hashes(2, len)].concat();
                let walker = walk(&good, piece).unwrap();
                assert!(walker.is_between());
                assert_eq!(walker.messages(), 3);
                let bad = [hashes(3, len), hashes(68, len)].concat();
                assert_eq!(
                    walk(&bad, piece).unwrap_err(),
                    TooMuch::Listed { most: 3 },
                    "{piece} {len}"
                );
            }
        }
    }

    #[test]
    fn a_packed_list_is_bounded() {
        let of_len = |len| framed(&field(5, len));
        assert!(walk(&of_len(4096), 100).unwrap().is_between());
        assert_eq!(walk(&of_len(4097), 100).unwrap_err(), TooMuch::Packed);
    }

    #[test]
    fn a_large_message_stops_the_walk_at_the_end_of_its_head() {
        let mut walker = Walker::new(BOUNDS);
        let small = hashes(1, 20);
        let large = framed(&vec![0; LARGE + 1]);
        let both = [small.as_slice(), &large].concat();
        let at = small.len() + 4;
        let len = LARGE + 1;
        assert_eq!(walker.walk(&both), Ok(Walked::Large { at, len }));
        assert_eq!(walker.walk(&both[at..]), Ok(Walked::Large { at: 0, len }));
        walker.let_in();
        let refused = walker.walk(&both[at..]);
        assert_eq!(refused, Err(TooMuch::Listed { most: 3 }));
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        for message in [
            &[0xff; 40][..],
            b"\x07\x07\x07\x07\x07",
            b"\x12\xff\xff\xff\xff\x7f\x12\x00\x12\x00\x12\x00\x12\x00",
            b"\x0a\x05\x00",
        ] {
            for piece in [1, 3, 100] {
                let walker = walk(&framed(message), piece).unwrap();
                assert!(walker.is_between(), "{message:?}");
            }
        }
    }
}
