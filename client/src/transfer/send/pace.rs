//! How long the files of a push are, and how many are under way: as the line takes them.
//!
//! What a cut takes away is what is under way then: that begins small, in one file. Each file that arrives soon doubles
//! it, and so does one that takes longer where more under way brings more in the same time, as on a long line. A file that
//! takes long halves it, and for some files it stays there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is under way at least. Shorter files take more requests than they are worth.
const LEAST_BYTES: u64 = 64 << 10;

/// How long a file is at most: the next one is read and digested meanwhile, and few of them make a large push.
const FILE_BYTES: u64 = 24 << 20;

/// How many files are sent at once.
const AT_ONCE: u64 = 3;

/// What is under way at most.
const MOST_BYTES: u64 = AT_ONCE * FILE_BYTES;

/// When a file took longer than this soon after a cut, less is under way, unless more brings more.
const LATE: Duration = Duration::from_millis(400);

/// The same where nothing was cut for long.
const LATE_AT_MOST: Duration = Duration::from_secs(1);

/// Between the two, as much as this part of the time since the last cut: a cut takes away little of what went.
const LATE_PART: u32 = 20;

/// Where nothing is known of less and of more, more is tried up to this.
const UNKNOWN: Duration = Duration::from_millis(900);

/// No file takes longer than this by choice.
const LATEST: Duration = Duration::from_secs(3);

/// How much more must arrive in the same time, that twice as much may be under way.
const GAIN: f64 = 1.4;

/// How much more must arrive in the same time, that as much stays under way although it takes long.
const WORTH: f64 = 1.15;

/// For so many files nothing grows after it was halved.
const RESTING: u32 = 16;

/// How long a file becomes; read where files are made.
#[derive(Debug, Clone)]
pub(super) struct FileLength(Arc<AtomicU64>);

impl FileLength {
    /// The length from which on a file is whole.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Learns from each file that arrives.
#[derive(Debug)]
pub(super) struct Pace {
    /// What may be under way.
    bytes: u64,
    length: FileLength,
    arrived: u64,
    /// How long nothing was cut, about.
    steady: Duration,
    /// For how many files more nothing grows.
    resting: u32,
    /// Bytes in a second, as the last file showed: by the number of the digits of what was under way.
    rates: BTreeMap<u32, f64>,
}

impl Pace {
    /// Begins with files of `first` bytes at least.
    pub(super) fn new(first: u64) -> Self {
        let mut bytes = LEAST_BYTES;
        while bytes < MOST_BYTES && bytes / at_once(bytes) < first {
            bytes *= 2;
        }
        let mut pace = Self {
            bytes,
            length: FileLength(Arc::new(AtomicU64::new(0))),
            arrived: 0,
            steady: Duration::ZERO,
            resting: 0,
            rates: BTreeMap::new(),
        };
        pace.set(bytes);
        pace
    }

    /// How long files are to be.
    pub(super) fn length(&self) -> &FileLength {
        &self.length
    }

    /// How many files may be under way.
    pub(super) fn at_once(&self) -> usize {
        let files = at_once(self.bytes).min(1 + self.arrived);
        usize::try_from(files).expect("a small number")
    }

    /// A file of `len` bytes arrived and took so long.
    pub(super) fn arrived(&mut self, len: u64, took: Duration) {
        self.arrived += 1;
        self.resting = self.resting.saturating_sub(1);
        let late = self.late();
        self.steady = match took > 2 * late {
            true => Duration::ZERO,
            false => self.steady + took / u32::try_from(self.at_once()).expect("a small number"),
        };
        // The last one, or one from when less was under way.
        if len < self.length.get() / 4 * 3 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let rate = (len * at_once(self.bytes)) as f64 / took.as_secs_f64().max(1e-3);
        let class = self.bytes.ilog2();
        self.rates.insert(class, rate);
        let less = class.checked_sub(1).and_then(|it| self.rates.get(&it));
        let gain = less.map_or(0.0, |less| rate / less);
        let gain = if took < LATEST { gain } else { 0.0 };
        let is_first = less.is_none() && !self.rates.contains_key(&(class + 1)) && took <= UNKNOWN;
        let late = self.late();
        if took < late * 3 / 8 || gain > GAIN || is_first {
            if self.resting == 0 {
                self.set(self.bytes * 2);
            }
        } else if took > late && gain < WORTH {
            self.set(self.bytes / 2);
            self.resting = RESTING;
        }
    }

    fn late(&self) -> Duration {
        (self.steady / LATE_PART).clamp(LATE, LATE_AT_MOST)
    }

    fn set(&mut self, bytes: u64) {
        self.bytes = bytes.clamp(LEAST_BYTES, MOST_BYTES);
        let length = self.bytes / at_once(self.bytes);
        self.length.0.store(length, Ordering::Relaxed);
    }
}

/// In how many files as many bytes are under way.
fn at_once(bytes: u64) -> u64 {
    match bytes {
        ..0x8_0000 => 1,
        0x8_0000..0x20_0000 => 2,
        _ => AT_ONCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_BYTES: u64 = 128 << 10;

    /// A line: its rate is shared by what is under way, and each file costs a time beside.
    fn send(pace: &mut Pace, bytes: u64, rate: f64, beside: f64) -> f64 {
        let (mut sent, mut seconds) = (0, 0.0);
        while sent < bytes {
            let (len, at_once) = (pace.length().get(), pace.at_once());
            #[expect(clippy::cast_precision_loss, reason = "a model")]
            let took = beside + (len * at_once as u64) as f64 / rate;
            for _ in 0..at_once {
                pace.arrived(len, Duration::from_secs_f64(took));
                sent += len;
            }
            seconds += took;
        }
        seconds
    }

    #[test]
    fn on_a_fast_line_files_soon_become_as_long_as_they_may() {
        let mut pace = Pace::new(FIRST_BYTES);
        assert_eq!((pace.at_once(), pace.length().get()), (1, FIRST_BYTES));
        send(&mut pace, 64 << 20, 1e9, 0.001);
        assert_eq!((pace.at_once(), pace.length().get()), (3, FILE_BYTES));
    }

    #[test]
    fn on_a_long_line_they_grow_although_none_arrives_soon() {
        let mut pace = Pace::new(FIRST_BYTES);
        let seconds = send(&mut pace, 400 << 20, 125e6, 0.6);
        assert_eq!(pace.length().get(), FILE_BYTES);
        assert!(seconds < 13.0, "{seconds}");
    }

    #[test]
    fn on_a_slow_line_that_is_cut_what_is_under_way_takes_about_a_quarter_of_a_second() {
        for (rate, most) in [(2e6, 512 << 10), (500e3, 128 << 10), (100e3, 64 << 10)] {
            let mut pace = Pace::new(FIRST_BYTES);
            let mut more = 0;
            for number in 0..200 {
                send(&mut pace, 1, rate, 0.01);
                if number % 20 == 19 {
                    pace.arrived(pace.length().get(), Duration::from_secs(9));
                }
                more += u32::from(pace.bytes > most);
            }
            // Now and then it tries whether more brings more.
            assert!(more < 20, "{rate}: {more} times more");
        }
    }

    #[test]
    fn on_a_slow_line_that_is_not_cut_it_grows_with_what_arrives() {
        let mut pace = Pace::new(FIRST_BYTES);
        let seconds = send(&mut pace, 200 << 20, 2e6, 0.01);
        assert!((512 << 10..=2 << 20).contains(&pace.bytes), "{pace:?}");
        assert!(seconds < 120.0, "{seconds}");
    }

    #[test]
    fn a_cut_halves_it_and_it_comes_back() {
        let mut pace = Pace::new(FIRST_BYTES);
        send(&mut pace, 64 << 20, 1e9, 0.001);
        pace.arrived(FILE_BYTES, Duration::from_secs(9));
        assert_eq!(pace.bytes, MOST_BYTES / 2);
        send(&mut pace, 1 << 30, 1e9, 0.001);
        assert_eq!(pace.bytes, MOST_BYTES);
    }

    #[test]
    fn the_last_file_says_nothing() {
        let mut pace = Pace::new(FILE_BYTES);
        assert_eq!(pace.length().get(), FILE_BYTES);
        for _ in 0..9 {
            pace.arrived(1000, Duration::from_secs(5));
        }
        assert_eq!(pace.length().get(), FILE_BYTES);
    }
}
