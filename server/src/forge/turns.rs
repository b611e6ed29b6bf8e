//! Turns to check a file that was received.
//!
//! A check takes threads, memory and places on disk to sort in. Files come in side by side, as slowly as their
//! senders like, and wait for their turn only when they are there: on disk, but for their last piece. Senders share the
//! turns: however many files of one wait, there is one for another.

use holdfast_chunkstore::repo::spool::Sender;
use holdfast_chunkstore::repo::turns::{Portion, SharedTurn, SharedTurns};

/// So many checks at once. Clones share them.
#[derive(Debug, Clone)]
pub struct Turns(SharedTurns);

impl Turns {
    /// Lets `count` have their turn at once.
    pub fn new(count: usize) -> Self {
        Self(SharedTurns::new(count, Portion::Half))
    }

    /// Waits for a turn, behind what the sender has waiting.
    pub async fn take(&self, sender: Sender) -> SharedTurn {
        match self.0.try_take(sender) {
            Some(turn) => turn,
            None => {
                tracing::info!("a received file waits for its turn to be checked");
                self.0.take(sender).await
            }
        }
    }
}
