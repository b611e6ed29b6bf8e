//! TLS handshakes that fail: said in the log, but not each of thousands.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after one that was said the next is not.
const QUIET: Duration = Duration::from_secs(5);

/// Knows when one was said last, and how many were not since.
#[derive(Debug, Default)]
pub(super) struct FailedHandshakes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    left_out: u64,
}

impl FailedHandshakes {
    /// Says that a handshake failed, unless one was said just before.
    #[expect(
        clippy::disallowed_methods,
        reason = "it spaces log lines, and nothing else depends on it"
    )]
    pub(super) fn note(&self, peer: SocketAddr, cause: &str) {
        if let Some(left_out) = self.turn(Instant::now()) {
            tracing::info!(%peer, cause, left_out, "a TLS handshake failed");
        }
    }

    /// How many were left out before this one; nothing where it is left out too.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let is_due = state
            .said
            .is_none_or(|said| now.duration_since(said) >= QUIET);
        if !is_due {
            state.left_out += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn one_in_a_while_is_said_with_how_many_were_not() {
        let (failed, now) = (FailedHandshakes::default(), Instant::now());
        assert_eq!(failed.turn(now), Some(0));
        assert_eq!(failed.turn(now), None);
        assert_eq!(failed.turn(now + QUIET / 2), None);
        assert_eq!(failed.turn(now + QUIET), Some(2));
    }
}
