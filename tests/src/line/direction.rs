//! One direction of a line: when bytes arrive, without anything that carries them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long the last byte before the line may have to wait for its turn.
const QUEUE: Duration = Duration::from_millis(20);

/// What a connection may have under way beyond the bytes of one round trip.
const WINDOW_MARGIN_BYTES: usize = 1024 * 1024;

/// What a line is like, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The time to the other end and back.
    pub round_trip: Duration,
    /// The bytes that pass in a second in each direction.
    pub bytes_per_second: u32,
}

impl Terms {
    /// 40 ms and 500 Mbit/s: between two cities of a continent.
    pub const CONTINENTAL: Self = Self {
        round_trip: Duration::from_millis(40),
        bytes_per_second: 500_000_000 / 8,
    };

    /// As good as none.
    pub const NONE: Self = Self {
        round_trip: Duration::ZERO,
        bytes_per_second: u32::MAX,
    };

    /// How long so many bytes take to pass.
    pub fn time_to_pass(&self, len_bytes: u64) -> Duration {
        let nanoseconds = u128::from(len_bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    fn window_bytes(&self) -> usize {
        let round_trip =
            self.round_trip.as_micros() * u128::from(self.bytes_per_second) / 1_000_000;
        usize::try_from(round_trip).expect("a line holds megabytes") + WINDOW_MARGIN_BYTES
    }
}

/// One direction of the line, which all connections share.
#[derive(Debug)]
pub(super) struct Direction {
    terms: Terms,
    /// When the last byte that was taken in has passed, without the delay.
    free_at: Mutex<Instant>,
    bytes: AtomicU64,
}

impl Direction {
    /// An idle one.
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            free_at: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
        }
    }

    /// What a connection may have under way.
    pub(super) fn window_bytes(&self) -> usize {
        self.terms.window_bytes()
    }

    /// How many bytes it has carried so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Puts bytes that came in at `now` behind all others, and returns when the last of them reaches the far end.
    pub(super) fn carry(&self, now: Instant, len_bytes: usize) -> Instant {
        self.bytes.fetch_add(len_bytes as u64, Ordering::Relaxed);
        let mut free_at = self.free_at.lock().unwrap();
        *free_at = now.max(*free_at) + self.terms.time_to_pass(len_bytes as u64);
        *free_at + self.terms.round_trip / 2
    }

    /// When the queue is short enough for more.
    pub(super) fn ready_at(&self) -> Instant {
        let free_at = *self.free_at.lock().unwrap();
        free_at.checked_sub(QUEUE).unwrap_or(free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms::CONTINENTAL;

    #[test]
    fn bytes_pass_one_after_the_other_and_arrive_after_the_delay() {
        let start = Instant::now();
        let direction = Direction::new(TERMS);
        let (delay, millisecond) = (Duration::from_millis(20), Duration::from_millis(1));
        assert_eq!(TERMS.time_to_pass(62_500), millisecond);

        let later = start + Duration::from_secs(1);
        let first = direction.carry(later, 62_500);
        assert_eq!(first, later + millisecond + delay, "the line was idle");
        let second = direction.carry(later, 125_000);
        assert_eq!(
            second,
            first + 2 * millisecond,
            "it stands behind the first"
        );
        assert_eq!(direction.carry(later, 0), second, "an end takes no time");

        let idle = later + Duration::from_secs(9);
        let third = direction.carry(idle, 62_500);
        assert_eq!(third, idle + millisecond + delay, "nothing was saved up");
    }

    #[test]
    fn the_queue_before_the_line_is_short() {
        let direction = Direction::new(TERMS);
        let now = Instant::now() + Duration::from_secs(1);
        direction.carry(now, 62_500);
        assert!(direction.ready_at() < now, "a millisecond's worth waits");
        direction.carry(now, 99 * 62_500);
        assert_eq!(direction.ready_at(), now + Duration::from_millis(80));
    }

    #[test]
    fn a_window_holds_what_is_under_way_in_a_round_trip() {
        assert_eq!(TERMS.window_bytes(), 2_500_000 + 1024 * 1024);
    }
}
