//! How fast bytes come, and how long the rest takes at that speed.

use std::collections::VecDeque;
use std::time::Duration;

/// Over how long a time the rate is taken.
const WINDOW: Duration = Duration::from_secs(15);

/// How far apart the moments are that are remembered.
const STEP: Duration = Duration::from_millis(250);

/// Before so much time nothing is said of what is left.
const LEAST: Duration = Duration::from_secs(2);

/// A moving average: what came in the last seconds. A line that stands still gets slower and slower.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Moments and how many bytes had come by then, the oldest first.
    moments: VecDeque<(Duration, u64)>,
    now: (Duration, u64),
}

impl Rate {
    /// Takes down how many bytes have come by now. Time is counted from the beginning.
    pub(super) fn note(&mut self, now: Duration, bytes: u64) {
        self.now = (now, bytes);
        let is_due = |(last, _): &(Duration, u64)| now.saturating_sub(*last) >= STEP;
        if self.moments.back().is_none_or(is_due) {
            self.moments.push_back(self.now);
        }
        // One moment stays that is as old as the window.
        while let Some((second, _)) = self.moments.get(1)
            && now.saturating_sub(*second) >= WINDOW
        {
            self.moments.pop_front();
        }
    }

    fn span(&self) -> Option<(Duration, u64)> {
        let (begin, before) = self.moments.front()?;
        let (now, bytes) = self.now;
        let span = now.checked_sub(*begin).filter(|span| !span.is_zero())?;
        Some((span, bytes.saturating_sub(*before)))
    }

    /// Bytes in a second.
    pub(super) fn per_second(&self) -> Option<u64> {
        let (span, bytes) = self.span()?;
        let per_second = u128::from(bytes) * 1000 / span.as_millis().max(1);
        u64::try_from(per_second).ok()
    }

    /// How long it takes until there are `all` bytes; nothing while that cannot be told.
    pub(super) fn left(&self, all: u64) -> Option<Duration> {
        let (span, bytes) = self.span()?;
        if span < LEAST || bytes == 0 {
            return None;
        }
        let missing = u128::from(all.saturating_sub(self.now.1));
        let millis = missing * span.as_millis() / u128::from(bytes);
        u64::try_from(millis).ok().map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_line_is_told_as_it_is() {
        let mut rate = Rate::default();
        assert_eq!((rate.per_second(), rate.left(1)), (None, None));
        for second in 0..=60 {
            rate.note(at(second), second * 1000);
        }
        assert_eq!(rate.per_second(), Some(1000));
        assert_eq!(rate.left(90_000), Some(at(30)));
        assert_eq!(rate.left(10), Some(at(0)), "more came than was said");
        assert!(rate.moments.len() <= 17);
    }

    #[test]
    fn nothing_is_said_of_what_is_left_before_it_can_be_known() {
        let mut rate = Rate::default();
        rate.note(at(0), 0);
        rate.note(at(1), 5000);
        assert_eq!(rate.left(10_000), None);
        rate.note(at(2), 10_000);
        assert_eq!(rate.left(20_000), Some(at(2)));
    }

    #[test]
    fn a_line_that_changes_is_followed_and_one_that_stands_still_slows_down() {
        let mut rate = Rate::default();
        for second in 0..=30 {
            rate.note(at(second), second * 1000);
        }
        for second in 1..=15 {
            rate.note(at(30 + second), 30_000 + second * 100);
        }
        assert_eq!(rate.per_second(), Some(100));
        let before = rate.left(100_000).unwrap();
        rate.note(at(50), 31_500);
        assert!(rate.left(100_000).unwrap() > before);
        rate.note(at(70), 31_500);
        assert_eq!(rate.left(100_000), None, "nothing came for long");
    }
}
