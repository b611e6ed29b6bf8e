//! Log lines of which the first tells as much as thousands: said once, and then not for a while.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Knows when a line was written last, and how many were not since.
#[derive(Debug)]
pub struct Spaced {
    quiet: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    left_out: u64,
}

impl Spaced {
    /// Leaves out what comes within `quiet` after a line that was written.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            state: Mutex::default(),
        }
    }

    /// How many lines were left out before this one; nothing where it is left out too.
    #[expect(
        clippy::disallowed_methods,
        reason = "it spaces log lines, and nothing else depends on it"
    )]
    pub fn turn(&self) -> Option<u64> {
        self.turn_at(Instant::now())
    }

    fn turn_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let is_due = state
            .said
            .is_none_or(|said| now.duration_since(said) >= self.quiet);
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
        let quiet = Duration::from_secs(5);
        let (spaced, now) = (Spaced::new(quiet), Instant::now());
        assert_eq!(spaced.turn_at(now), Some(0));
        assert_eq!(spaced.turn_at(now), None);
        assert_eq!(spaced.turn_at(now + quiet / 2), None);
        assert_eq!(spaced.turn_at(now + quiet), Some(2));
    }
}
