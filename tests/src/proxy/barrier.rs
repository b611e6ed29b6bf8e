//! Counts the bytes that pass a proxy, and stops all of its connections at a chosen one.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

/// How everything stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All connections of that moment are cut; new ones are whole.
    Cut,
    /// All connections stand still, new ones too.
    Hold,
}

/// Where a proxy's bytes are counted.
#[derive(Debug)]
pub(super) struct Barrier {
    state: Mutex<State>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    moved: u64,
    stop_at: u64,
    stop: Stop,
    is_holding: bool,
}

impl Barrier {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                moved: 0,
                stop_at: u64::MAX,
                stop: Stop::Cut,
                is_holding: false,
            }),
            cuts: watch::Sender::new(0),
        }
    }

    pub(super) fn moved(&self) -> u64 {
        self.lock().moved
    }

    pub(super) fn is_holding(&self) -> bool {
        self.lock().is_holding
    }

    pub(super) fn stop_after(&self, bytes: u64, stop: Stop) {
        let mut state = self.lock();
        state.stop_at = state.moved + bytes;
        state.stop = stop;
    }

    pub(super) fn go_on(&self) {
        let mut state = self.lock();
        state.stop_at = u64::MAX;
        if std::mem::take(&mut state.is_holding) {
            self.cut();
        }
    }

    /// Ends when all connections of now are cut.
    pub(super) fn next_cut(&self) -> impl Future<Output = ()> + use<> {
        let mut cuts = self.cuts.subscribe();
        async move { drop(cuts.changed().await) }
    }

    /// Counts at most `count` bytes that want to pass, and returns how many may; waits where none may.
    pub(super) async fn admit(&self, count: usize) -> usize {
        match self.take(count) {
            Some(count) => count,
            // The connection is one of those that are cut.
            None => std::future::pending().await,
        }
    }

    fn take(&self, count: usize) -> Option<usize> {
        let mut state = self.lock();
        let room = state.stop_at - state.moved;
        let count = count.min(usize::try_from(room).unwrap_or(usize::MAX));
        state.moved += u64::try_from(count).expect("a piece is small");
        if state.moved < state.stop_at {
            return Some(count);
        }
        match state.stop {
            Stop::Cut => {
                state.stop_at = u64::MAX;
                self.cut();
                None
            }
            Stop::Hold => {
                state.is_holding = true;
                (count > 0).then_some(count)
            }
        }
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}
