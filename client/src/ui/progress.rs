//! How far a transfer is.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_client::remote::{Retries as _, Retry};
use holdfast_client::transfer::{Observer, TransferEvent};
use indicatif::{
    BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::rate::Rate;
use super::retries::ToldRetries;

/// How often it is drawn in a second.
const DRAWN_A_SECOND: u8 = 8;

/// What takes less time is not shown.
const AFTER: Duration = Duration::from_millis(250);

/// Of something whose length is known, and of something else.
const WITH_A_BAR: &str = "{bar:30} {moved}";
const WITHOUT_A_BAR: &str = "{moved}";

/// The bar that is drawn now.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Does something that writes to the terminal while the bar that is drawn is out of the way.
pub(super) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Draws a bar on a terminal, and nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    expected: AtomicU64,
    chunks: Arc<Chunks>,
    is_quiet: bool,
    is_shown: AtomicBool,
    clock: SystemClock,
    retries: ToldRetries,
    /// Warnings that were told.
    warned: Mutex<HashSet<String>>,
}

impl Progress {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let progress = Self {
            bar,
            expected: AtomicU64::new(0),
            chunks: Arc::default(),
            is_quiet,
            is_shown: AtomicBool::new(false),
            clock: SystemClock::new(),
            retries: ToldRetries::new(),
            warned: Mutex::default(),
        };
        progress.choose_style(WITHOUT_A_BAR);
        progress
    }

    fn choose_style(&self, template: &str) {
        let (clock, rate) = (self.clock, Arc::new(Mutex::new(Rate::default())));
        let chunks = Arc::clone(&self.chunks);
        let moved = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.note(clock.monotonic(), state.pos());
            // A line that cannot be drawn is no reason to stop.
            let _ = out.write_str(&chunks.described());
            let _ = out.write_str(&described(&rate, state.pos(), state.len()));
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.with_key("moved", moved));
        }
    }

    /// Begins to draw once enough time went by.
    fn show(&self) {
        if self.is_quiet || self.clock.monotonic() < AFTER {
            return;
        }
        if !self.is_shown.swap(true, Ordering::Relaxed) {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWN_A_SECOND);
            self.bar.set_draw_target(target);
            self.bar.enable_steady_tick(AFTER);
            *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.bar.clone());
        }
    }

    /// How much moved in which time, and the rate: `1.16 KiB in 0.3 s, 3.9 KiB/s`.
    pub(crate) fn summary(&self, bytes: u64) -> String {
        summary(bytes, self.clock.monotonic())
    }

    /// How many seconds went by.
    pub(crate) fn seconds(&self) -> f64 {
        // Microseconds are noise.
        (self.clock.monotonic().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// How many bytes moved.
    pub(crate) fn bytes(&self) -> u64 {
        self.bar.position()
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bar.finish_and_clear();
    }
}

/// How many chunks came of those that are known to be needed: where they are found one by one, no length is known.
#[derive(Debug, Default)]
struct Chunks {
    came: AtomicU64,
    found: AtomicU64,
}

impl Chunks {
    fn described(&self) -> String {
        let [came, found] = [&self.came, &self.found].map(|count| count.load(Ordering::Relaxed));
        match found {
            0 => String::new(),
            found => format!("{came} of {found} chunks  "),
        }
    }
}

/// Bytes, rate, and what is left of the time.
fn described(rate: &Rate, bytes: u64, all: Option<u64>) -> String {
    let mut text = BinaryBytes(bytes).to_string();
    if let Some(all) = all {
        text.push_str(&format!(" of {}", BinaryBytes(all)));
    }
    if let Some(per_second) = rate.per_second() {
        text.push_str(&format!("  {}/s", BinaryBytes(per_second)));
    }
    if let Some(left) = all.and_then(|all| rate.left(all)) {
        text.push_str(&format!("  {} left", HumanDuration(left)));
    }
    text
}

fn summary(bytes: u64, time: Duration) -> String {
    // What takes no time has no rate.
    let time = time.max(Duration::from_millis(1));
    let per_second = u128::from(bytes) * 1000 / time.as_millis();
    let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    format!(
        "{} in {:.1} s, {}/s",
        BinaryBytes(bytes),
        time.as_secs_f64(),
        BinaryBytes(per_second)
    )
}

impl Observer for Progress {
    fn tell(&self, event: TransferEvent) {
        match event {
            TransferEvent::Expected { bytes } => {
                let before = self.expected.fetch_add(bytes, Ordering::Relaxed);
                if before == 0 {
                    self.choose_style(WITH_A_BAR);
                }
                self.bar.set_length(before + bytes);
            }
            TransferEvent::Found { chunks } => {
                self.chunks.found.fetch_add(chunks, Ordering::Relaxed);
            }
            TransferEvent::Came { chunks } => {
                self.chunks.came.fetch_add(chunks, Ordering::Relaxed);
            }
            TransferEvent::Received { bytes } | TransferEvent::Sent { bytes } => {
                self.bar.inc(bytes);
            }
            _ => {}
        }
        self.show();
    }

    fn warn(&self, warning: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(warning.to_owned()) {
            super::warn(warning);
        }
    }

    fn retry(&self, retry: &Retry<'_>) {
        self.retries.tell(retry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_summed_up() {
        let told = summary(4 << 20, Duration::from_secs(2));
        assert_eq!(told, "4.00 MiB in 2.0 s, 2.00 MiB/s");
        assert_eq!(summary(0, Duration::ZERO), "0 B in 0.0 s, 0 B/s");
    }

    #[test]
    fn chunks_that_are_found_one_by_one_are_counted() {
        let progress = Progress::new(true);
        assert_eq!(progress.chunks.described(), "");
        progress.tell(TransferEvent::Found { chunks: 7 });
        progress.tell(TransferEvent::Came { chunks: 3 });
        progress.tell(TransferEvent::Found { chunks: 2 });
        assert_eq!(progress.chunks.described(), "3 of 9 chunks  ");
    }

    #[test]
    fn bytes_rate_and_time_are_said_as_far_as_they_are_known() {
        let mut rate = Rate::default();
        assert_eq!(described(&rate, 0, None), "0 B");
        for second in 0..=4 {
            rate.note(Duration::from_secs(second), second << 20);
        }
        assert_eq!(described(&rate, 4 << 20, None), "4.00 MiB  1.00 MiB/s");
        assert_eq!(
            described(&rate, 4 << 20, Some(64 << 20)),
            "4.00 MiB of 64.00 MiB  1.00 MiB/s  60 seconds left"
        );
    }
}
