//! A clock whose date moves only when the test says so; waiting takes real time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};

/// The clock.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicU64,
    system: SystemClock,
}

impl ManualClock {
    /// Shows this date until told otherwise.
    pub fn new(now: Timestamp) -> Self {
        Self {
            millis: AtomicU64::new(now.0),
            system: SystemClock::new(),
        }
    }

    /// Moves the date on.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).expect("tests move by months at most");
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Moves the date back.
    pub fn put_back(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).expect("tests move by months at most");
        self.millis.fetch_sub(millis, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.system.sleep(duration).await;
    }
}
