//! Data files that a client doubts are read whole: one at a time, and none again soon after it was found whole. Any
//! caller that may read can ask for it, and uploads must not wait for that.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, MutexGuard};

/// For how long a file that was found whole is not read again.
const REMEMBERED: Duration = Duration::from_mins(10);

/// How many files are remembered; then all are forgotten.
const MOST: usize = 4096;

/// Which files were read, and when.
#[derive(Debug, Default)]
pub struct Rereads {
    turn: Turn<()>,
    whole: Mutex<BTreeMap<String, Duration>>,
}

impl Rereads {
    /// Waits for the turn to read a file; nothing where it was found whole a moment ago.
    pub async fn begin(
        &self,
        file: &str,
        now: impl Fn() -> Duration,
    ) -> Option<MutexGuard<'_, ()>> {
        if self.is_whole(file, now()) {
            return None;
        }
        let turn = self.turn.lock().await;
        // The reading that was waited for may have been of the same file.
        (!self.is_whole(file, now())).then_some(turn)
    }

    /// Remembers that a file is whole.
    pub fn found_whole(&self, file: &str, now: Duration) {
        let mut whole = self.whole.lock();
        if whole.len() >= MOST {
            whole.clear();
        }
        whole.insert(file.to_owned(), now);
    }

    fn is_whole(&self, file: &str, now: Duration) -> bool {
        let found = self.whole.lock().get(file).copied();
        found.is_some_and(|found| now.saturating_sub(found) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_file_is_read_at_a_time_and_not_again_soon() {
        let rereads = Rereads::default();
        let now = || Duration::from_secs(1);
        let first = rereads.begin("a", now).now_or_never().unwrap();
        let mut same = Box::pin(rereads.begin("a", now));
        let mut other = Box::pin(rereads.begin("b", now));
        assert!((&mut same).now_or_never().is_none());
        assert!((&mut other).now_or_never().is_none());
        rereads.found_whole("a", now());
        drop(first);
        assert!(same.now_or_never().unwrap().is_none(), "it is known");
        assert!(other.now_or_never().unwrap().is_some());
        let later = || now() + REMEMBERED;
        assert!(rereads.begin("a", later).now_or_never().unwrap().is_some());
    }
}
