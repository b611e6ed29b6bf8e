//! What is told of failures after which the same is tried again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_client::remote::{Retries, Retry};
use serde_json::json;

use super::failure;
use crate::args::Format;

/// Tells people and programs of retries, on standard error. What many requests run into at once is told once.
#[derive(Debug)]
pub(crate) struct ToldRetries {
    clock: SystemClock,
    /// Until when what was told last holds.
    until: Mutex<Duration>,
}

impl ToldRetries {
    /// Has told nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            clock: SystemClock::new(),
            until: Mutex::default(),
        }
    }

    /// Whether a wait is news: it began after the one before it had ended.
    fn is_news(&self, wait: Duration) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let is_news = now >= *until;
        if is_news {
            *until = now + wait;
        }
        is_news
    }
}

impl Retries for ToldRetries {
    fn tell(&self, retry: &Retry<'_>) {
        if !self.is_news(retry.wait) {
            return;
        }
        super::say(&match super::format() {
            Format::Text => line(retry),
            Format::Json => json!({
                "retry": {
                    "seconds": retry.wait.as_secs_f64(),
                    "number": retry.number,
                    "most": retry.most,
                    "cause": failure::in_a_line(retry.error),
                },
            })
            .to_string(),
        });
    }
}

fn line(retry: &Retry<'_>) -> String {
    let seconds = match retry.wait.as_secs() {
        0..10 => format!("{:.1}", retry.wait.as_secs_f64()),
        seconds => seconds.to_string(),
    };
    format!(
        "retrying in {} s ({} of {}): {}",
        seconds.strip_suffix(".0").unwrap_or(&seconds),
        retry.number,
        retry.most,
        failure::in_a_line(retry.error)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_says_when_which_and_why() {
        let error = std::io::Error::other("no room\r");
        for (millis, wanted) in [
            (400, "retrying in 0.4 s (2 of 5): no room\u{fffd}"),
            (2_000, "retrying in 2 s (2 of 5): no room\u{fffd}"),
            (60_499, "retrying in 60 s (2 of 5): no room\u{fffd}"),
        ] {
            let wait = Duration::from_millis(millis);
            let retry = Retry {
                error: &error,
                wait,
                number: 2,
                most: 5,
            };
            assert_eq!(line(&retry), wanted);
        }
    }

    #[test]
    fn what_fails_at_once_is_told_once() {
        let told = ToldRetries::new();
        assert!(told.is_news(Duration::from_secs(60)));
        assert!(!told.is_news(Duration::from_secs(60)));
        let told = ToldRetries::new();
        assert!(told.is_news(Duration::ZERO));
        assert!(told.is_news(Duration::ZERO));
    }
}
