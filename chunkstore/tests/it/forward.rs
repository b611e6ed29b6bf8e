//! A clock that can be put forward.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};
use parking_lot::Mutex;

/// The system's clock, ahead by as much as was asked for.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    system: SystemClock,
    by: Mutex<Duration>,
}

impl Forward {
    /// Puts the clock forward.
    pub(crate) fn jump(&self, duration: Duration) {
        *self.by.lock() += duration;
    }
}

#[async_trait]
impl Clock for Forward {
    fn now(&self) -> Timestamp {
        self.system.now().plus(*self.by.lock())
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + *self.by.lock()
    }

    async fn sleep(&self, duration: Duration) {
        self.system.sleep(duration).await;
    }
}
