//! How often and when a failed call is tried again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock, Timestamp};
use jiff::fmt::rfc2822::DateTimeParser;

/// How often in a row, as Dolt's own client.
const TRIES: u32 = 5;

/// How long is waited for the first time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How long is waited at most.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long is waited at most because a remote asks for it.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// A failure after which the same is tried again.
#[derive(Debug)]
pub struct Retry<'a> {
    /// What failed.
    pub error: &'a (dyn Error + 'static),
    /// How long is waited before the next try.
    pub wait: Duration,
    /// Which of the further tries it is; the first one is 1.
    pub number: u32,
    /// How many there are at most without progress.
    pub most: u32,
}

/// Is told of each retry before the wait, from several tasks.
pub trait Retries: Send + Sync + fmt::Debug {
    /// Something failed and will be tried again.
    fn tell(&self, retry: &Retry<'_>);
}

/// Tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct UntoldRetries;

impl Retries for UntoldRetries {
    fn tell(&self, _: &Retry<'_>) {}
}

/// What is left of the tries. Progress renews it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: u32,
    wait: Duration,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            used: 0,
            wait: FIRST_WAIT,
        }
    }

    /// Something came through.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Waits for the next try, where nothing failed that is told; false when there is none.
    pub(crate) async fn wait(&mut self, clock: &dyn Clock) -> bool {
        match self.next_wait(None) {
            Some(wait) => {
                clock.sleep(wait).await;
                true
            }
            None => false,
        }
    }

    /// Tells of a failure and waits for the next try, for as long as the remote asked for if it did; false when there is
    /// none.
    pub(crate) async fn wait_after(
        &mut self,
        error: &(dyn Error + Send + Sync + 'static),
        asked: Option<Duration>,
        retries: &dyn Retries,
        clock: &dyn Clock,
    ) -> bool {
        let Some(wait) = self.next_wait(asked) else {
            return false;
        };
        retries.tell(&Retry {
            error,
            wait,
            number: self.used,
            most: TRIES,
        });
        clock.sleep(wait).await;
        true
    }

    fn next_wait(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.used >= TRIES {
            return None;
        }
        self.used += 1;
        let wait = jittered(self.wait);
        self.wait = (self.wait * 3 / 2).min(LONGEST_WAIT);
        Some(match asked {
            // Clients that were told the same time do not come back together either.
            Some(asked) => wait.max(asked.min(LONGEST_ASKED) + jittered(FIRST_WAIT)),
            None => wait,
        })
    }
}

/// Between half of it and one and a half: not all who failed together come back together.
fn jittered(wait: Duration) -> Duration {
    let share: f64 = rand::RngExt::random_range(&mut rand::rng(), 0.5..1.5);
    wait.mul_f64(share)
}

/// Time for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::time::Duration;

    use async_trait::async_trait;
    use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};

    /// A clock by which nobody waits.
    #[derive(Debug)]
    pub(crate) struct Hasty(SystemClock);

    impl Hasty {
        pub(crate) fn new() -> Self {
            Self(SystemClock::new())
        }
    }

    #[async_trait]
    impl Clock for Hasty {
        fn now(&self) -> Timestamp {
            self.0.now()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }

        async fn sleep(&self, _: Duration) {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads a `Retry-After` of HTTP: seconds, or a date.
pub(crate) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    // A date that is past asks for no wait.
    let date = u64::try_from(date.as_millisecond()).unwrap_or(0);
    Some(Timestamp(date).since(now))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// Notes how long it was waited, and does not wait.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<Duration>>);

    #[async_trait]
    impl Clock for Noting {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        async fn sleep(&self, duration: Duration) {
            self.0.lock().unwrap().push(duration);
        }
    }

    #[test]
    fn what_a_remote_asks_for_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp(784_111_777_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 01 Jan 1904 00:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            let asked = retry_after(text, now);
            assert_eq!(asked, seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    /// Notes what it is told.
    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<(u32, u32, Duration)>>);

    impl Retries for Told {
        fn tell(&self, retry: &Retry<'_>) {
            assert_eq!(retry.error.to_string(), "no room");
            let told = (retry.number, retry.most, retry.wait);
            self.0.lock().unwrap().push(told);
        }
    }

    #[tokio::test]
    async fn a_wait_is_as_long_as_was_asked_for_within_bounds_and_is_told() {
        let (clock, told) = (Noting::default(), Told::default());
        let error = std::io::Error::other("no room");
        let mut budget = Budget::new();
        let seconds = Duration::from_secs;
        for asked in [
            None,
            Some(seconds(0)),
            Some(seconds(7)),
            Some(Duration::MAX),
        ] {
            assert!(budget.wait_after(&error, asked, &told, &clock).await);
        }
        assert!(budget.wait(&clock).await);
        let asked = Some(seconds(7));
        assert!(
            !budget.wait_after(&error, asked, &told, &clock).await,
            "who asks for a wait gives no more tries"
        );
        let waits = clock.0.into_inner().unwrap();
        let told = told.0.into_inner().unwrap();
        let numbered = (1..).map(|number| (number, TRIES));
        let numbered = numbered.zip(&waits[..4]);
        let numbered = numbered.map(|((number, most), wait)| (number, most, *wait));
        assert_eq!(told, numbered.collect::<Vec<_>>());
        let within = [(0, 1), (0, 2), (7, 8), (60, 61), (0, 5)];
        assert_eq!(waits.len(), within.len());
        for (wait, (least, most)) in waits.into_iter().zip(within) {
            assert!((seconds(least)..seconds(most)).contains(&wait), "{wait:?}");
        }
    }
}
