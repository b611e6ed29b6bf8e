//! The pace of a body: a client that sends next to nothing is not waited for.

use std::time::Duration;

use futures::FutureExt as _;
use holdfast_chunkstore::clock::Clock;

/// Over how long the pace is taken.
pub const WINDOW: Duration = Duration::from_mins(2);
/// How many bytes must come in that time: 1 KiB a second.
pub const LEAST: u64 = 120 << 10;

/// The body came too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("less than {} KiB came in {} minutes", LEAST >> 10, WINDOW.as_secs() / 60)]
pub struct TooSlow;

/// Counts how long a client was waited for, and what came in that time. What the server itself takes, between two
/// waits, does not count.
#[derive(Debug, Default)]
pub struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Waits for what a client sends next, as long as its pace allows.
    pub async fn next<T>(
        &mut self,
        clock: &dyn Clock,
        next: impl Future<Output = T>,
    ) -> Result<T, TooSlow> {
        let mut next = std::pin::pin!(next);
        if let Some(output) = next.as_mut().now_or_never() {
            return Ok(output);
        }
        let mut begun = clock.monotonic();
        loop {
            let left = WINDOW.saturating_sub(self.waited);
            let output = tokio::select! {
                biased;
                output = &mut next => Some(output),
                () = clock.sleep(left) => None,
            };
            let now = clock.monotonic();
            self.waited += now.saturating_sub(begun);
            begun = now;
            match output {
                Some(output) => return Ok(output),
                None => self.look()?,
            }
        }
    }

    /// Notes that bytes came.
    pub fn came(&mut self, len: usize) -> Result<(), TooSlow> {
        self.bytes += len as u64;
        self.look()
    }

    fn look(&mut self) -> Result<(), TooSlow> {
        if self.waited < WINDOW {
            return Ok(());
        }
        if self.bytes < LEAST {
            return Err(TooSlow);
        }
        *self = Self::default();
        Ok(())
    }
}
