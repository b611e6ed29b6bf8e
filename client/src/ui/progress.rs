//! How far a transfer is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_client::transfer::{Observer, TransferEvent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it is drawn in a second.
const DRAWN_A_SECOND: u8 = 8;

/// Draws a bar on a terminal, and nothing elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    expected: AtomicU64,
}

impl Progress {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let target = match is_quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(DRAWN_A_SECOND),
        };
        let style = ProgressStyle::with_template(
            "{bar:30} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left",
        );
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            expected: AtomicU64::new(0),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn tell(&self, event: TransferEvent) {
        match event {
            TransferEvent::Expected { bytes } => {
                let all = self.expected.fetch_add(bytes, Ordering::Relaxed) + bytes;
                self.bar.set_length(all);
            }
            TransferEvent::Received { bytes } => self.bar.inc(bytes),
            _ => {}
        }
    }
}
