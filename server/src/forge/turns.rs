//! Turns to check a file that was received.
//!
//! A check takes threads, memory and places on disk to sort in. Files come in side by side, as slowly as their
//! senders like, and wait for their turn only when they are there: on disk, but for their last piece.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// So many checks at once. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

/// One's turn, until dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Lets `count` have their turn at once.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for a turn, behind those who came before.
    pub async fn take(&self) -> Turn {
        let permit = match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                tracing::info!("a received file waits for its turn to be checked");
                let permit = Arc::clone(&self.0).acquire_owned().await;
                permit.expect("the semaphore is never closed")
            }
        };
        Turn { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn who_comes_first_has_his_turn_first_and_who_goes_away_holds_up_nobody() {
        let turns = Turns::new(2);
        let [first, _second] = [(), ()].map(|()| turns.take().now_or_never().unwrap());
        let mut third = Box::pin(turns.take());
        let mut fourth = Box::pin(turns.take());
        let mut fifth = Box::pin(turns.take());
        for waiting in [&mut third, &mut fourth, &mut fifth] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(third);
        drop(first);
        assert!((&mut fifth).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_some());
    }
}
