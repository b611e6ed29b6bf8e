//! Does this store keep its word? Asked once at start-up, on a scratch key.
//!
//! Everything that Holdfast promises rests on one thing: of any number of concurrent creates of a key exactly one
//! succeeds. Some S3-compatible servers accept the header that asks for it and ignore it, so it is tried.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::future::join_all;
use rand::CryptoRng;

use super::{ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _};
use crate::clock::Clock;
use crate::error::ErrorKind;

/// How many try to create the same key at once.
const RACERS: u8 = 16;

/// Why a store cannot be used, or why that could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Not exactly one of the concurrent creates succeeded.
    #[error(
        "the object store lets {winners} of {RACERS} concurrent writers create the same object, where exactly \
         one may: it does not honour `If-None-Match: *`, and pushes could overwrite each other"
    )]
    ManyWinners {
        /// How many succeeded.
        winners: usize,
    },
    /// A create over an existing object succeeded.
    #[error(
        "the object store replaces an existing object when asked to create it: it does not honour \
         `If-None-Match: *`, and pushes could overwrite each other"
    )]
    Replaces,
    /// What was read back is not what was stored.
    #[error("the object store answered other bytes than the winner's after concurrent creates")]
    OtherBytes,
    /// The bucket removes objects by itself.
    #[error(
        "the bucket would destroy data by itself: its lifecycle rule {rule:?} {effect}; remove the rule or \
         narrow it to other keys"
    )]
    Expires {
        /// The name of the rule.
        rule: String,
        /// What it does, as a verb with its object.
        effect: &'static str,
    },
    /// The store could not be asked.
    #[error("try out the object store")]
    Store(#[source] ObjectError),
}

impl ProbeError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ManyWinners { .. } | Self::Replaces | Self::OtherBytes | Self::Expires { .. } => {
                ErrorKind::Refused
            }
            Self::Store(error) => error.kind(),
        }
    }
}

/// How often a store is tried out that fails for a passing reason.
const TRIES: u32 = 5;
/// The wait after the first time; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The same as [`probe_creation`], again after a passing fault: of so many calls at once one may well be answered
/// that the server is busy.
pub async fn probe_patiently(
    store: &dyn ObjectStore,
    random: &mut impl CryptoRng,
    clock: &dyn Clock,
) -> Result<(), ProbeError> {
    for doublings in 0..TRIES - 1 {
        match probe_creation(store, random).await {
            Err(error) if error.kind().is_transient() => {
                tracing::debug!(%error, "trying out the object store failed, trying again");
                clock.sleep(FIRST_WAIT * 2_u32.pow(doublings)).await;
            }
            outcome => return outcome,
        }
    }
    probe_creation(store, random).await
}

/// Proves on a scratch key that concurrent creates have one winner, whose bytes are then read, and that an
/// existing object is not replaced. A transient error proves nothing either way; the caller may ask again.
pub async fn probe_creation(
    store: &dyn ObjectStore,
    random: &mut impl CryptoRng,
) -> Result<(), ProbeError> {
    let mut name = [0; 16];
    random.fill_bytes(&mut name);
    let key = ObjectKey::parse(format!("probe/{}", HEXLOWER.encode(&name)))
        .expect("hexadecimal digits make a key");
    let outcome = race(store, &key).await;
    let removed = store.delete(&key).await;
    outcome?;
    removed.map_err(ProbeError::Store)
}

async fn race(store: &dyn ObjectStore, key: &ObjectKey) -> Result<(), ProbeError> {
    let body = |racer: u8| Bytes::from(format!("probe {racer}"));
    let attempts = (0..RACERS).map(|racer| store.create(key, body(racer)));
    let mut winners = Vec::new();
    let mut failure = None;
    for (racer, outcome) in (0..RACERS).zip(join_all(attempts).await) {
        match outcome {
            Ok(()) => winners.push(racer),
            Err(ObjectError::AlreadyExists { .. }) => {}
            Err(error) => failure = Some(error),
        }
    }
    // More than one winner is proof, whatever else went wrong; one or none only if every racer was answered.
    let winner = match (winners.as_slice(), failure) {
        ([_, _, ..], _) | ([], None) => {
            return Err(ProbeError::ManyWinners {
                winners: winners.len(),
            });
        }
        (_, Some(error)) => return Err(ProbeError::Store(error)),
        ([winner], None) => body(*winner),
    };
    match store.create(key, Bytes::from_static(b"late")).await {
        Err(ObjectError::AlreadyExists { .. }) => {}
        Ok(()) => return Err(ProbeError::Replaces),
        Err(error) => return Err(ProbeError::Store(error)),
    }
    let read = store.read(key, None, 64).await.map_err(ProbeError::Store)?;
    if read == winner {
        Ok(())
    } else {
        Err(ProbeError::OtherBytes)
    }
}
