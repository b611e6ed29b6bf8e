//! Addresses that are signed for others, and the keys that sign them.
//!
//! An address dies with the keys that it was signed with, whatever it says of itself. So keys that end are exchanged
//! well before that, if their source has newer ones by then, and what is told of an address is when it really ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder as ConfigBuilder, Credentials, IdentityCache, ProvideCredentials as _,
    SharedCredentialsProvider,
};
use aws_sdk_s3::presigning::PresigningConfig;
use tokio::sync::Mutex;

use super::failure::{self, Failure};
use crate::clock::Timestamp;
use crate::objects::{ObjectError, ObjectKey, SignedAddress};

/// What Signature Version 4 allows.
const LONGEST_SIGNED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Keys of which less than this is left are exchanged; those of unknown end are asked for again after as long.
const RENEWED: Duration = Duration::from_mins(15);
/// How soon the source of keys is asked again that had no newer ones.
const PAUSE: Duration = Duration::from_mins(1);
/// How long the source of keys may take.
const PATIENCE: Duration = Duration::from_secs(30);
const ACTION: &str = "sign an address of";

/// Where keys come from.
#[async_trait]
pub(super) trait KeySource: Send + Sync {
    /// The newest keys, or in one line why there are none.
    async fn keys(&self) -> Result<Credentials, String>;
}

#[async_trait]
impl KeySource for SharedCredentialsProvider {
    async fn keys(&self) -> Result<Credentials, String> {
        let provided = tokio::time::timeout(PATIENCE, self.provide_credentials()).await;
        let provided = provided.map_err(|_| "the source of keys does not answer".to_owned())?;
        provided.map_err(|error| failure::chain(&error))
    }
}

/// What an address is made for.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) bucket: &'a str,
    /// The key as the bucket knows it.
    pub(super) name: String,
    pub(super) signed_at: Timestamp,
    pub(super) valid: Duration,
}

/// Signs addresses.
pub(super) struct Signer {
    /// Whatever else is needed to sign.
    config: ConfigBuilder,
    source: Box<dyn KeySource>,
    kept: Mutex<Option<Keys>>,
}

/// Keys, ready to sign with.
#[derive(Clone)]
struct Keys {
    client: Client,
    /// When they end, if their source knows it.
    end: Option<Timestamp>,
    /// When their source was last asked for newer ones.
    asked: Timestamp,
}

impl Keys {
    /// Whether it is too early to ask for newer ones.
    fn are_fresh(&self, now: Timestamp) -> bool {
        let asked_before = now.since(self.asked);
        match self.end {
            Some(end) => end.since(now) > RENEWED || asked_before < PAUSE,
            None => asked_before < RENEWED,
        }
    }
}

impl Signer {
    /// Takes the settings to sign with, whose keys do not count, and the source of keys.
    pub(super) fn new(config: ConfigBuilder, source: Box<dyn KeySource>) -> Self {
        Self {
            // What is cached here would be the keys that we exchange ourselves.
            config: config.identity_cache(IdentityCache::no_cache()),
            source,
            kept: Mutex::default(),
        }
    }

    /// Signs an address; nothing where the keys at hand have ended and there are no others.
    pub(super) async fn sign(
        &self,
        wanted: Wanted<'_>,
        now: Timestamp,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        let Wanted { key, valid, .. } = wanted;
        let refused = |text: String| ObjectError::refused(ACTION, key, text);
        if valid > LONGEST_SIGNED {
            return Err(refused(format!(
                "{valid:?} is more than the 7 days that S3 allows"
            )));
        }
        let keys = self.keys(now).await;
        let keys = keys.map_err(|text| ObjectError::failed(ACTION, key, text))?;
        if keys.end.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        let begin = wanted.signed_at.seconds();
        let asked_end = begin.saturating_add(valid.as_secs());
        let end = keys
            .end
            .map_or(asked_end, |end| end.seconds().min(asked_end));
        let start = UNIX_EPOCH.checked_add(Duration::from_secs(begin));
        let start = start.ok_or_else(|| refused("the time is out of range".to_owned()))?;
        let config = PresigningConfig::builder()
            .start_time(start)
            .expires_in(Duration::from_secs(end.saturating_sub(begin)))
            .build();
        let config = config.map_err(|error| refused(error.to_string()))?;
        let request = keys.client.get_object().bucket(wanted.bucket);
        match request.key(wanted.name).presigned(config).await {
            Ok(signed) => Ok(Some(SignedAddress {
                url: signed.uri().to_owned(),
                expires: Timestamp(end.saturating_mul(1000)),
            })),
            Err(error) => Err(Failure::new(error).into_error(ACTION, key)),
        }
    }

    /// The keys at hand, or newer ones. Those at hand serve on where the source fails.
    async fn keys(&self, now: Timestamp) -> Result<Keys, String> {
        let mut kept = self.kept.lock().await;
        if let Some(keys) = kept.as_ref().filter(|keys| keys.are_fresh(now)) {
            return Ok(keys.clone());
        }
        match (self.source.keys().await, &mut *kept) {
            (Ok(credentials), kept) => Ok(kept.insert(self.ready(credentials, now)).clone()),
            (Err(error), Some(keys)) => {
                tracing::debug!(%error, "no newer keys to sign addresses with");
                keys.asked = now;
                Ok(keys.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn ready(&self, credentials: Credentials, now: Timestamp) -> Keys {
        let end = credentials.expiry().map(timestamp);
        let config = self.config.clone().credentials_provider(credentials);
        Keys {
            client: Client::from_conf(config.build()),
            end,
            asked: now,
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_sdk_s3::config::{BehaviorVersion, Region};

    use super::*;

    /// Hands out what the test puts there.
    #[derive(Clone, Default)]
    struct Given(Arc<parking_lot::Mutex<Option<Credentials>>>);

    #[async_trait]
    impl KeySource for Given {
        async fn keys(&self) -> Result<Credentials, String> {
            self.0.lock().clone().ok_or_else(|| "none".to_owned())
        }
    }

    impl Given {
        fn put(&self, access_key: &str, end: Option<Timestamp>) {
            let end = end.map(|end| UNIX_EPOCH + Duration::from_millis(end.0));
            let token = Some("a session".to_owned());
            let credentials = Credentials::new(access_key, "secret", token, end, "test");
            *self.0.lock() = Some(credentials);
        }

        fn fail(&self) {
            *self.0.lock() = None;
        }
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn signer() -> (Given, Signer) {
        let given = Given::default();
        let config = ConfigBuilder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"));
        (given.clone(), Signer::new(config, Box::new(given)))
    }

    async fn sign(signer: &Signer, now: Timestamp) -> Option<SignedAddress> {
        let key = ObjectKey::parse("a/b").unwrap();
        let wanted = Wanted {
            key: &key,
            bucket: "forge",
            name: key.to_string(),
            signed_at: NOW,
            valid: DAY,
        };
        signer.sign(wanted, now).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_ends_with_the_keys_that_it_was_signed_with() {
        let (given, signer) = signer();
        let hour = NOW.plus(Duration::from_hours(1));
        given.put("TEMPORARY", Some(hour));
        let signed = sign(&signer, NOW).await.unwrap();
        assert_eq!(signed.expires, hour);
        for part in ["X-Amz-Expires=3600&", "X-Amz-Security-Token=", "TEMPORARY"] {
            assert!(signed.url.contains(part), "{part} is missing");
        }
        let shown = format!("{signed:?}");
        assert!(!shown.contains("X-Amz") && !shown.contains("TEMPORARY"));

        given.put("LASTING", Some(NOW.plus(10 * DAY)));
        let later = NOW.plus(Duration::from_mins(46));
        let signed = sign(&signer, later).await.unwrap();
        assert_eq!(signed.expires, NOW.plus(DAY));
        assert!(signed.url.contains("X-Amz-Expires=86400&") && signed.url.contains("LASTING"));
    }

    #[tokio::test]
    async fn keys_serve_until_little_is_left_of_them_and_newer_ones_are_asked_for_with_pauses() {
        let (given, signer) = signer();
        given.put("FIRST", Some(NOW.plus(Duration::from_hours(1))));
        let first = sign(&signer, NOW).await;
        given.put("SECOND", Some(NOW.plus(Duration::from_mins(61))));
        let at = |minutes| NOW.plus(Duration::from_mins(minutes));
        assert_eq!(sign(&signer, at(44)).await, first, "the same text");
        let second = sign(&signer, at(50)).await;
        assert!(second.as_ref().unwrap().url.contains("SECOND"));
        // The source has nothing newer at first, and then fails.
        given.put("THIRD", Some(NOW.plus(Duration::from_hours(2))));
        let soon = at(50).plus(Duration::from_secs(59));
        assert_eq!(sign(&signer, soon).await, second);
        given.fail();
        assert_eq!(sign(&signer, at(52)).await, second);
        assert_eq!(sign(&signer, at(61)).await, None, "they have ended");
        given.put("THIRD", Some(NOW.plus(Duration::from_hours(2))));
        let third = sign(&signer, at(63)).await.unwrap();
        assert!(third.url.contains("THIRD"));
    }

    #[tokio::test]
    async fn keys_of_unknown_end_are_asked_for_again_and_without_any_there_is_an_error() {
        let (given, signer) = signer();
        let key = ObjectKey::parse("a").unwrap();
        let wanted = Wanted {
            key: &key,
            bucket: "forge",
            name: key.to_string(),
            signed_at: NOW,
            valid: DAY,
        };
        let error = signer.sign(wanted, NOW).await.unwrap_err();
        assert!(error.kind().is_transient(), "{error:?}");
        given.put("FIRST", None);
        let first = sign(&signer, NOW).await.unwrap();
        assert_eq!(first.expires, NOW.plus(DAY));
        given.put("SECOND", None);
        let at = |minutes| NOW.plus(Duration::from_mins(minutes));
        assert_eq!(sign(&signer, at(14)).await, Some(first));
        assert!(sign(&signer, at(15)).await.unwrap().url.contains("SECOND"));
    }
}
