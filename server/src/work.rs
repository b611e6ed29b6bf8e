//! Work under way: what a stopping server waits for.
//!
//! A clone, a fetch or a push is many requests on many connections. So a server that shall stop goes on taking
//! requests until none has run for a while: only then is nobody in the middle of something.

use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Counts what runs.
#[derive(Debug)]
pub struct Work {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the last one ended, by the monotonic clock; nothing while nothing has ended yet.
    last_end: Option<Duration>,
}

/// One piece of work; it is over when this is dropped.
#[derive(Debug)]
pub struct Running(Arc<Work>);

impl Work {
    /// Begins with nothing under way.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Begins a piece of work.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.state.lock().running += 1;
        Running(Arc::clone(self))
    }

    /// Waits until nothing has run for `quiet`; returns at once if that is so already.
    pub async fn rested(&self, quiet: Duration) {
        loop {
            let missing = {
                let state = self.state.lock();
                let now = self.clock.monotonic();
                let rested = state.last_end.map(|end| now.saturating_sub(end));
                let missing = rested.map_or(Duration::ZERO, |rested| quiet.saturating_sub(rested));
                (state.running == 0).then_some(missing)
            };
            match missing {
                Some(Duration::ZERO) => return,
                Some(missing) => self.clock.sleep(missing).await,
                // An end between the look above and here is not lost: it leaves a permit.
                None => self.changed.notified().await,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        state.last_end = Some(self.0.clock.monotonic());
        if state.running == 0 {
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::FutureExt as _;
    use holdfast_chunkstore::clock::Timestamp;
    use tokio::sync::watch;

    use super::*;

    const QUIET: Duration = Duration::from_secs(5);

    /// A clock that stands until it is set.
    #[derive(Debug)]
    struct Standing(watch::Sender<Duration>);

    #[async_trait]
    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.borrow()
        }

        async fn sleep(&self, duration: Duration) {
            let end = self.monotonic() + duration;
            let mut now = self.0.subscribe();
            now.wait_for(|now| *now >= end).await.unwrap();
        }
    }

    fn work() -> (Arc<Standing>, Arc<Work>) {
        let clock = Arc::new(Standing(watch::channel(Duration::from_secs(1000)).0));
        let work = Work::new(Arc::<Standing>::clone(&clock) as Arc<dyn Clock>);
        (clock, work)
    }

    fn has_passed(clock: &Standing, seconds: u64) {
        clock
            .0
            .send_modify(|now| *now += Duration::from_secs(seconds));
    }

    #[test]
    fn a_server_that_did_nothing_lately_has_rested() {
        let (clock, work) = work();
        assert!(work.rested(QUIET).now_or_never().is_some());
        drop(work.begin());
        assert!(work.rested(QUIET).now_or_never().is_none());
        has_passed(&clock, 5);
        assert!(work.rested(QUIET).now_or_never().is_some());
    }

    #[test]
    fn what_runs_is_waited_for_and_what_comes_meanwhile_as_well() {
        let (clock, work) = work();
        let first = work.begin();
        let mut rested = std::pin::pin!(work.rested(QUIET));
        let mut has_rested = || rested.as_mut().now_or_never().is_some();
        has_passed(&clock, 60);
        assert!(!has_rested(), "it runs");
        drop(first);
        has_passed(&clock, 4);
        assert!(!has_rested(), "it has just ended");
        let second = work.begin();
        has_passed(&clock, 4);
        assert!(!has_rested(), "another one runs");
        drop(second);
        has_passed(&clock, 4);
        assert!(!has_rested(), "and has just ended");
        has_passed(&clock, 1);
        assert!(has_rested());
    }
}
