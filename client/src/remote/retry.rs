//! How often and when a failed call is tried again.

use std::time::Duration;

use holdfast_chunkstore::clock::Clock;

/// How often in a row, as Dolt's own client.
const TRIES: u32 = 5;

/// How long is waited for the first time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How long is waited at most.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

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

    /// Waits for the next try; false when there is none.
    pub(crate) async fn wait(&mut self, clock: &dyn Clock) -> bool {
        if self.used >= TRIES {
            return false;
        }
        self.used += 1;
        clock.sleep(jittered(self.wait)).await;
        self.wait = (self.wait * 3 / 2).min(LONGEST_WAIT);
        true
    }
}

/// Between half of it and one and a half: not all who failed together come back together.
fn jittered(wait: Duration) -> Duration {
    let share: f64 = rand::RngExt::random_range(&mut rand::rng(), 0.5..1.5);
    wait.mul_f64(share)
}
