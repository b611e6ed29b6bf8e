//! Which backups are kept: restic's rules, and a number below which nothing is forgotten.

use holdfast_chunkstore::clock::Timestamp;
use jiff::tz::TimeZone;

/// How many backups are kept. Of each hour, day, week or month in which backups were made, the newest one counts; times
/// are those of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// The newest ones.
    pub last: usize,
    /// One for each of so many hours.
    pub hourly: usize,
    /// One for each of so many days.
    pub daily: usize,
    /// One for each of so many weeks, which begin on Mondays.
    pub weekly: usize,
    /// One for each of so many months.
    pub monthly: usize,
    /// At least so many in all, whatever the others say; the newest ones fill up.
    pub minimum: usize,
}

/// A span of the calendar, told from all others.
type Span = (i16, i8, i8, i8);

impl KeepRules {
    /// Whether they say nothing that would keep a backup.
    pub fn is_empty(&self) -> bool {
        let Self {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            minimum,
        } = *self;
        [last, hourly, daily, weekly, monthly, minimum] == [0; 6]
    }

    /// Which of some backups are kept, in the order of their times, which are given newest first. The newest one
    /// always is.
    pub fn keep(&self, newest_first: &[Timestamp]) -> Vec<bool> {
        let mut kept: Vec<_> = (0..newest_first.len())
            .map(|at| at < self.last.max(1))
            .collect();
        for (count, span) in [
            (self.hourly, hour as fn(Timestamp) -> Span),
            (self.daily, day),
            (self.weekly, week),
            (self.monthly, month),
        ] {
            let (mut left, mut known) = (count, None);
            for (at, time) in newest_first.iter().enumerate() {
                let this = Some(span(*time));
                if left > 0 && this != known {
                    kept[at] = true;
                    (left, known) = (left - 1, this);
                }
            }
        }
        let count = kept.iter().filter(|is_kept| **is_kept).count();
        let missing = self.minimum.saturating_sub(count);
        let others = kept.iter_mut().filter(|is_kept| !**is_kept);
        others.take(missing).for_each(|is_kept| *is_kept = true);
        kept
    }
}

fn date_time(time: Timestamp) -> jiff::civil::DateTime {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    TimeZone::UTC.to_datetime(time)
}

fn hour(time: Timestamp) -> Span {
    let time = date_time(time);
    (time.year(), time.month(), time.day(), time.hour())
}

fn day(time: Timestamp) -> Span {
    let time = date_time(time);
    (time.year(), time.month(), time.day(), 0)
}

fn week(time: Timestamp) -> Span {
    let week = date_time(time).date().iso_week_date();
    (week.year(), week.week(), 0, 0)
}

fn month(time: Timestamp) -> Span {
    let time = date_time(time);
    (time.year(), time.month(), 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(time.as_millisecond()).unwrap())
    }

    fn kept(rules: KeepRules, times: &[&str]) -> Vec<usize> {
        let times: Vec<_> = times.iter().map(|time| at(time)).collect();
        let kept = rules.keep(&times);
        let kept = kept.into_iter().enumerate();
        kept.filter_map(|(at, is_kept)| is_kept.then_some(at))
            .collect()
    }

    const TIMES: [&str; 8] = [
        "2026-03-03T10:30:00Z", // Tuesday
        "2026-03-03T10:00:00Z",
        "2026-03-03T09:00:00Z",
        "2026-03-02T23:00:00Z", // Monday
        "2026-03-01T23:00:00Z", // Sunday
        "2026-02-27T01:00:00Z", // Friday of the same week
        "2026-02-20T00:00:00Z",
        "2026-01-05T00:00:00Z",
    ];

    #[test]
    fn the_newest_of_each_span_is_kept() {
        let none = KeepRules::default();
        assert_eq!(kept(KeepRules { last: 2, ..none }, &TIMES), [0, 1]);
        assert_eq!(kept(KeepRules { hourly: 3, ..none }, &TIMES), [0, 2, 3]);
        assert_eq!(kept(KeepRules { daily: 3, ..none }, &TIMES), [0, 3, 4]);
        assert_eq!(kept(KeepRules { weekly: 3, ..none }, &TIMES), [0, 4, 6]);
        assert_eq!(kept(KeepRules { monthly: 9, ..none }, &TIMES), [0, 5, 7]);
    }

    #[test]
    fn rules_add_up() {
        let rules = KeepRules {
            last: 2,
            daily: 2,
            monthly: 3,
            ..KeepRules::default()
        };
        assert_eq!(kept(rules, &TIMES), [0, 1, 3, 5, 7]);
    }

    #[test]
    fn the_newest_fill_up_to_the_minimum() {
        let rules = KeepRules {
            weekly: 2,
            minimum: 4,
            ..KeepRules::default()
        };
        assert_eq!(kept(rules, &TIMES), [0, 1, 2, 4]);
        assert_eq!(kept(rules, &TIMES[..3]), [0, 1, 2]);
    }

    #[test]
    fn the_newest_is_never_forgotten() {
        assert_eq!(kept(KeepRules::default(), &TIMES), [0]);
        assert_eq!(kept(KeepRules::default(), &[]), [0; 0]);
        assert!(KeepRules::default().is_empty());
    }
}
