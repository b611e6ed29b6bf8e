//! Asking again after a passing fault.
//!
//! # Retry
//! Only what can be repeated without harm: reads, lists, deletions, hints, and the creation of objects whose key
//! is nobody else's. Any other creation is forwarded once, because after a lost answer only its caller, who
//! stamped the bytes, can tell a success from a lost race. A body that breaks off goes on where it stopped.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use tracing::{debug, warn};

use super::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};
use crate::clock::{Clock, Timestamp};

/// A failure that took longer is said where everybody reads it.
const SLOW: Duration = Duration::from_secs(10);

/// How often and how soon a call is repeated.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How often a call is made in all (at least once).
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles with each further one. The wait is between half
    /// of that and all of it.
    pub first_delay: Duration,
    /// The longest wait of all.
    pub max_delay: Duration,
    /// After how long no further attempt begins: what hangs is not asked as often as what fails at once.
    pub patience: Duration,
    /// Spreads the waits of several servers; any number that differs between them.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            seed: 0,
        }
    }
}

/// Repeats calls as a [`RetryPolicy`] says. Clones share the sequence of waits.
#[derive(Debug, Clone)]
pub struct Retry {
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    drawn: Arc<AtomicU64>,
}

impl Retry {
    /// Takes a policy and the clock to wait by.
    pub fn new(policy: RetryPolicy, clock: Arc<dyn Clock>) -> Self {
        let drawn = Arc::new(AtomicU64::new(policy.seed));
        Self {
            policy,
            clock,
            drawn,
        }
    }

    /// Makes a call until it succeeds, fails for good, or has been made often enough.
    pub async fn run<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        let mut attempt = 1;
        let began = self.clock.monotonic();
        loop {
            let answered = call().await;
            let waited = self.clock.monotonic().saturating_sub(began);
            let may_repeat = attempt < self.policy.attempts && waited < self.policy.patience;
            match answered {
                Err(error) if error.kind().is_transient() && may_repeat => {
                    if waited >= SLOW {
                        let seconds = waited.as_secs();
                        warn!(attempt, seconds, %error, "the object store does not answer, asking again");
                    }
                    debug!(attempt, %error, "call to the object store failed, trying again");
                    self.clock.sleep(self.delay(attempt)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The wait after the attempt with this number, counted from 1.
    fn delay(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let longest = self.policy.first_delay.saturating_mul(doubled);
        let half = longest.min(self.policy.max_delay) / 2;
        // The multiplier of SplitMix64's sequence: its high bits are spread evenly.
        let step = 0x9e37_79b9_7f4a_7c15;
        let drawn = self.drawn.fetch_add(step, Ordering::Relaxed) >> 48;
        let share = u32::try_from(drawn).expect("16 bits fit");
        half + half * share / (1 << 16)
    }
}

/// A store that repeats what failed for a passing reason.
#[derive(Debug, Clone)]
pub struct RetryingStore {
    inner: Arc<dyn ObjectStore>,
    retry: Retry,
}

/// A body on its way, able to ask for the rest of itself.
struct Resumable {
    store: RetryingStore,
    key: ObjectKey,
    object_len: u64,
    /// What has not arrived yet.
    rest: Range<u64>,
    stream: BoxStream<'static, Result<Bytes, ObjectError>>,
    /// How often it broke off since the last piece.
    breaks: u32,
}

impl RetryingStore {
    /// Puts retries in front of a store.
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            retry: Retry::new(policy, clock),
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        self.retry.run(|| self.inner.get(key, range.clone())).await
    }
}

impl Resumable {
    async fn next(&mut self) -> Option<Result<Bytes, ObjectError>> {
        // What breaks after the last byte breaks nothing.
        while !self.rest.is_empty() {
            match self.stream.next().await? {
                Ok(piece) => {
                    self.rest.start += piece.len() as u64;
                    self.breaks = 0;
                    return Some(Ok(piece));
                }
                Err(error) => match self.resume(error).await {
                    Ok(()) => {}
                    Err(error) => {
                        self.stream = stream::empty().boxed();
                        return Some(Err(error));
                    }
                },
            }
        }
        None
    }

    /// Opens the object again where its body broke off.
    async fn resume(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        self.breaks += 1;
        let gives_up = self.breaks >= self.store.retry.policy.attempts;
        if gives_up || !error.kind().is_transient() {
            return Err(error);
        }
        let delay = self.store.retry.delay(self.breaks);
        self.store.retry.clock.sleep(delay).await;
        let body = self.store.open(&self.key, Some(self.rest.clone())).await?;
        if body.object_len != self.object_len {
            // A hint that was overwritten while it was read: its halves do not fit together.
            return Err(error);
        }
        self.stream = body.stream;
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for RetryingStore {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let body = self.open(key, range).await?;
        let resumable = Resumable {
            store: self.clone(),
            key: key.clone(),
            object_len: body.object_len,
            rest: body.range.clone(),
            stream: body.stream,
            breaks: 0,
        };
        let pieces = stream::unfold(resumable, |mut body| async move {
            let piece = body.next().await?;
            Some((piece, body))
        });
        Ok(ObjectBody {
            object_len: body.object_len,
            range: body.range,
            stream: pieces.boxed(),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.retry.run(|| self.inner.head(key)).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.inner.create(key, body).await
    }

    /// What stands there when it is tried again is what an earlier attempt made.
    async fn create_stamped(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let mut attempts = 0;
        self.retry
            .run(|| {
                attempts += 1;
                let is_repeated = attempts > 1;
                let created = self.inner.create_stamped(key, body.clone());
                async move {
                    match created.await {
                        Err(ObjectError::AlreadyExists { .. }) if is_repeated => Ok(()),
                        outcome => outcome,
                    }
                }
            })
            .await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.retry
            .run(|| self.inner.overwrite(key, body.clone()))
            .await
    }

    /// The bytes of an upload come once; a store whose parts can be sent again does that itself.
    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        self.inner.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        self.retry.run(|| self.inner.list(prefix, after)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.retry.run(|| self.inner.delete(key)).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.retry
            .run(|| self.inner.presign(key, signed_at, valid))
            .await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }
}
