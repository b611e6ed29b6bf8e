//! How far a transfer is.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_client::transfer::{Observer, TransferEvent};
use indicatif::{
    BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use super::rate::Rate;

/// How often it is drawn in a second.
const DRAWN_A_SECOND: u8 = 8;

/// What takes less time is not shown.
const AFTER: Duration = Duration::from_millis(250);

/// Of something whose length is known, and of something else.
const WITH_A_BAR: &str = "{bar:30} {moved}";
const WITHOUT_A_BAR: &str = "{moved}";

/// Draws a bar on a terminal, and nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    expected: AtomicU64,
    is_quiet: bool,
    is_shown: AtomicBool,
    clock: SystemClock,
    /// Warnings that were told.
    warned: Mutex<HashSet<String>>,
}

impl Progress {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let progress = Self {
            bar,
            expected: AtomicU64::new(0),
            is_quiet,
            is_shown: AtomicBool::new(false),
            clock: SystemClock::new(),
            warned: Mutex::default(),
        };
        progress.choose_style(WITHOUT_A_BAR);
        progress
    }

    fn choose_style(&self, template: &str) {
        let (clock, rate) = (self.clock, Arc::new(Mutex::new(Rate::default())));
        let moved = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.note(clock.monotonic(), state.pos());
            // A line that cannot be drawn is no reason to stop.
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
        }
    }

    /// Prints something while the bar is out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
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
            self.aside(|| super::say(&format!("warning: {warning}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
