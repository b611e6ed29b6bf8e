//! How many requests for data are on their way at once: as many as the link takes.
//!
//! The number doubles with each round until the first failure, and then grows by one a round. A failure halves it,
//! once for all requests that were on their way with the one that failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many there are at the beginning.
const FIRST: usize = 16;

/// How many there are at most.
pub(super) const MOST: usize = 32;

/// The bound of all requests for data of one server.
#[derive(Debug)]
pub(super) struct Flow {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many permits there are.
    limit: usize,
    /// How many of those that are out do not come back.
    owed: usize,
    /// Successes since the limit grew.
    successes: usize,
    /// How often the limit was halved.
    halvings: u64,
}

/// Leave for one request.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    flow: &'a Flow,
    permit: Option<SemaphorePermit<'a>>,
    /// The halvings when it was given.
    halvings: u64,
}

impl Flow {
    /// Begins anew.
    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(FIRST),
            state: Mutex::new(State {
                limit: FIRST,
                owed: 0,
                successes: 0,
                halvings: 0,
            }),
        }
    }

    /// Waits for leave to make a request.
    pub(super) async fn enter(&self) -> Leave<'_> {
        let permit = self.permits.acquire().await;
        Leave {
            flow: self,
            permit: Some(permit.expect("the semaphore is never closed")),
            halvings: self.state().halvings,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The request was answered in full.
    pub(super) fn succeeded(self) {
        let mut state = self.flow.state();
        state.successes += 1;
        let needed = if state.halvings == 0 { 1 } else { state.limit };
        if state.successes < needed || state.limit >= MOST {
            return;
        }
        state.successes = 0;
        state.limit += 1;
        match state.owed {
            0 => self.flow.permits.add_permits(1),
            _ => state.owed -= 1,
        }
    }

    /// The link or the server did not bear it.
    pub(super) fn failed(self) {
        let mut state = self.flow.state();
        if state.halvings != self.halvings {
            return;
        }
        let limit = (state.limit / 2).max(1);
        let less = state.limit - limit;
        state.limit = limit;
        state.successes = 0;
        state.halvings += 1;
        state.owed += less - self.flow.permits.forget_permits(less);
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.flow.state();
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn enter_all(flow: &Flow) -> Vec<Leave<'_>> {
        std::iter::from_fn(|| flow.enter().now_or_never()).collect()
    }

    #[test]
    fn every_success_before_the_first_failure_adds_one() {
        let flow = Flow::new();
        let leaves = enter_all(&flow);
        assert_eq!(leaves.len(), FIRST);
        leaves.into_iter().for_each(Leave::succeeded);
        assert_eq!(enter_all(&flow).len(), 2 * FIRST);
    }

    #[test]
    fn there_are_never_more_than_the_most() {
        let flow = Flow::new();
        for _ in 0..10 {
            enter_all(&flow).into_iter().for_each(Leave::succeeded);
        }
        assert_eq!(enter_all(&flow).len(), MOST);
    }

    #[test]
    fn requests_that_fail_together_halve_it_once() {
        let flow = Flow::new();
        enter_all(&flow).into_iter().for_each(Leave::failed);
        assert_eq!(enter_all(&flow).len(), FIRST / 2);
    }

    #[test]
    fn one_is_always_left() {
        let flow = Flow::new();
        for _ in 0..10 {
            enter_all(&flow).into_iter().for_each(Leave::failed);
        }
        assert_eq!(enter_all(&flow).len(), 1);
    }

    #[test]
    fn after_a_failure_it_grows_by_one_a_round() {
        let flow = Flow::new();
        enter_all(&flow).into_iter().for_each(Leave::failed);
        for limit in [8, 9, 10] {
            let leaves = enter_all(&flow);
            assert_eq!(leaves.len(), limit);
            leaves.into_iter().for_each(Leave::succeeded);
        }
    }

    #[test]
    fn a_request_that_is_given_up_changes_nothing() {
        let flow = Flow::new();
        drop(enter_all(&flow));
        assert_eq!(enter_all(&flow).len(), FIRST);
    }
}
