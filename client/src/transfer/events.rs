//! What a transfer tells while it runs. Whoever shows it decides how.

use std::fmt;

use crate::remote::{Retries, Retry};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEvent {
    /// The length of a file became known.
    Expected {
        /// How many bytes more will come.
        bytes: u64,
    },
    /// Chunks turned out to be needed.
    Found {
        /// How many.
        chunks: u64,
    },
    /// Chunks came that were needed.
    Came {
        /// How many.
        chunks: u64,
    },
    /// Bytes were sent.
    Sent {
        /// How many.
        bytes: u64,
    },
    /// Bytes came.
    Received {
        /// How many.
        bytes: u64,
    },
}

/// Takes what a transfer tells, from several threads.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Something happened.
    fn tell(&self, event: TransferEvent);

    /// Something was left out, or will be; the transfer goes on. The text gives a terminal no orders, and may come more
    /// than once.
    fn warn(&self, warning: &str);

    /// Something failed and will be tried again.
    fn retry(&self, _retry: &Retry<'_>) {}
}

/// Tells an observer of retries.
#[derive(Debug)]
pub(crate) struct Told<'a>(pub(crate) &'a dyn Observer);

impl Retries for Told<'_> {
    fn tell(&self, retry: &Retry<'_>) {
        self.0.retry(retry);
    }
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn tell(&self, _event: TransferEvent) {}

    fn warn(&self, _warning: &str) {}
}
