//! Random, typed identifiers of what Holdfast itself makes: never reused, never a name.
//!
//! Text: a prefix that names the type, `_`, then 26 characters of base 32 (16 random bytes).

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{CryptoRng, Rng as _, SeedableRng as _};

use crate::address::BASE32;

/// Text that is not an identifier of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id that begins with {prefix:?}")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

macro_rules! id_newtype {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes a new one.
            pub fn generate(random: &mut impl CryptoRng) -> Self {
                let mut bytes = [0; 16];
                random.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// Takes the binary form.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Returns the binary form.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), BASE32.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bad = || IdError { text: text.chars().take(64).collect(), prefix: $prefix };
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or_else(bad)?;
                let bytes = BASE32.decode(rest.as_bytes()).map_err(|_| bad())?;
                Ok(Self(bytes.try_into().map_err(|_| bad())?))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id_newtype!(
    /// A repository, whatever its name is today.
    RepoId, "repo"
);
id_newtype!(
    /// A set of table files that one repository, or a repository and its forks, share.
    PoolId, "pool"
);
id_newtype!(
    /// One upload of a table file. The same [`crate::TableFileId`] can come twice with other bytes, so stored
    /// files are told apart by this.
    UploadId, "up"
);
id_newtype!(
    /// One attempt to append to a log: tells a lost reply from a lost race.
    Stamp, "try"
);

/// Makes ids. Handed in, so that a test's ids follow from its seed.
#[derive(Debug)]
pub struct IdSource {
    random: Mutex<StdRng>,
}

impl IdSource {
    /// Seeded by the operating system: never gives an id twice.
    pub fn from_system() -> Self {
        Self {
            random: Mutex::new(rand::make_rng()),
        }
    }

    /// Seeded by a number, for tests.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    /// Makes a repository's id.
    pub fn repo(&self) -> RepoId {
        RepoId::generate(&mut *self.random.lock())
    }

    /// Makes a pool's id.
    pub fn pool(&self) -> PoolId {
        PoolId::generate(&mut *self.random.lock())
    }

    /// Makes an upload's id.
    pub fn upload(&self) -> UploadId {
        UploadId::generate(&mut *self.random.lock())
    }

    /// Makes the stamp of an attempt.
    pub fn stamp(&self) -> Stamp {
        Stamp::generate(&mut *self.random.lock())
    }

    /// Makes 32 bytes that nobody can guess (from [`IdSource::from_system`]).
    pub fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random.lock().fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_types_do_not_mix() {
        let repo = RepoId::new([7; 16]);
        assert_eq!(repo.to_string().parse(), Ok(repo));
        assert!(repo.to_string().parse::<PoolId>().is_err());
        assert!("repo_".parse::<RepoId>().is_err());
    }
}
