//! A clock that stands until a test lets time pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use tokio::sync::watch;

/// The date when such a clock is made, in milliseconds: a moment in 2027.
const BEGIN: u64 = 1_800_000_000_000;

/// What waits on the clock of every running server: the watch for damaged files.
pub(crate) const WATCH: usize = 1;

/// The clock.
#[derive(Debug)]
pub(crate) struct Standing(watch::Sender<Duration>);

impl Standing {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::channel(Duration::ZERO).0))
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }

    /// Waits until so many wait for time to pass.
    pub(crate) async fn is_waited_for_by(&self, count: usize) {
        let waited_for = async {
            while self.0.receiver_count() < count {
                tokio::task::yield_now().await;
            }
        };
        let waited_for = tokio::time::timeout(Duration::from_secs(30), waited_for);
        waited_for.await.expect("somebody waits");
    }
}

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let end = self.monotonic() + duration;
        let mut now = self.0.subscribe();
        // Without a clock time stands still.
        now.wait_for(|now| *now >= end).await.ok();
    }
}
