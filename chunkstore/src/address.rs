//! Twenty-byte addresses and their text form.
//!
//! An address is the first 20 bytes of the SHA-512 of a chunk's bytes. Its text is 32 characters of base 32
//! with the alphabet `0-9a-v`, lower case, without padding.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;

/// The base-32 alphabet of Dolt's hashes (RFC 4648 "extended hex" in lower case, no padding).
pub static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789abcdefghijklmnopqrstuv");
    specification
        .encoding()
        .expect("the alphabet has 32 distinct ASCII characters")
});

/// A name or a byte string that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Binary form of the wrong length.
    #[error("an address has 20 bytes, not {have}")]
    Length {
        /// How many bytes there were.
        have: usize,
    },
    /// Text that is not 32 characters of `0-9a-v`.
    #[error("{text:?} is not 32 characters of 0-9a-v")]
    Text {
        /// The text, cut at 64 characters.
        text: String,
    },
}

macro_rules! address_newtype {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 20]);

        impl $name {
            /// Length of the binary form in bytes.
            pub const LEN: usize = 20;
            /// Twenty zero bytes: "none".
            pub const ZERO: Self = Self([0; 20]);

            /// Takes the binary form.
            pub const fn new(bytes: [u8; 20]) -> Self {
                Self(bytes)
            }

            /// Returns the binary form.
            pub const fn as_bytes(&self) -> &[u8; 20] {
                &self.0
            }

            /// Whether this is [`Self::ZERO`].
            pub fn is_zero(&self) -> bool {
                self.0 == [0; 20]
            }

            /// The leading 8 bytes as a number: what every table index sorts by.
            pub fn prefix(&self) -> u64 {
                let (head, _) = self.0.split_first_chunk::<8>().expect("20 bytes hold 8");
                u64::from_be_bytes(*head)
            }

            /// The trailing 12 bytes.
            pub fn suffix(&self) -> [u8; 12] {
                let (_, tail) = self.0.split_last_chunk::<12>().expect("20 bytes hold 12");
                *tail
            }

            /// Joins a prefix and a suffix.
            pub fn from_parts(prefix: u64, suffix: [u8; 12]) -> Self {
                let mut bytes = [0; 20];
                bytes[..8].copy_from_slice(&prefix.to_be_bytes());
                bytes[8..].copy_from_slice(&suffix);
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = AddressError;
            fn try_from(bytes: &[u8]) -> Result<Self, AddressError> {
                let bytes = bytes.try_into().map_err(|_| AddressError::Length { have: bytes.len() })?;
                Ok(Self(bytes))
            }
        }

        impl FromStr for $name {
            type Err = AddressError;
            fn from_str(text: &str) -> Result<Self, AddressError> {
                let bad = || AddressError::Text { text: text.chars().take(64).collect() };
                if text.len() != 32 {
                    return Err(bad());
                }
                let bytes = BASE32.decode(text.as_bytes()).map_err(|_| bad())?;
                Self::try_from(bytes.as_slice()).map_err(|_| bad())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 32];
                BASE32.encode_mut(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).expect("base 32 is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

address_newtype!(
    /// Address of a chunk: the first 20 bytes of the SHA-512 of its bytes.
    ChunkAddress
);
address_newtype!(
    /// Address of the chunk that roots a whole store; [`RootAddress::ZERO`] is the empty store.
    RootAddress
);
address_newtype!(
    /// The name of a table file or an archive. It says nothing certain about the bytes: a classic id hashes
    /// only address suffixes, and the rule for archives changed three times.
    TableFileId
);

impl RootAddress {
    /// The chunk this root is stored in, or nothing for the empty store.
    pub fn chunk(&self) -> Option<ChunkAddress> {
        (!self.is_zero()).then_some(ChunkAddress(self.0))
    }
}

impl From<ChunkAddress> for RootAddress {
    fn from(address: ChunkAddress) -> Self {
        Self(address.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let text = "pu1u2dbutusbrsak518dcrc00vb21p05";
        let address: ChunkAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(
            ChunkAddress::from_parts(address.prefix(), address.suffix()),
            address
        );
        assert_eq!(ChunkAddress::ZERO.to_string(), "0".repeat(32));
        assert_eq!(ChunkAddress::new([0xff; 20]).to_string(), "v".repeat(32));
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "v",
            &"w".repeat(32),
            &"V".repeat(32),
            &"0".repeat(33),
            "é000000000000000000000000000000",
        ] {
            assert!(text.parse::<ChunkAddress>().is_err(), "{text}");
        }
        assert_eq!(
            ChunkAddress::try_from(&[0; 19][..]),
            Err(AddressError::Length { have: 19 })
        );
    }
}
