//! Turns that senders share: so many at once, and none of them all.
//!
//! A turn that comes free goes to the sender that has the fewest, of those to the one whose last turn is longest ago, and
//! there to what came first. So what one sender has waiting holds up that sender alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Whose files, calls or the like are counted together: a number that the caller chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender(pub u128);

/// How many of all turns one sender may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// All: turns are short.
    All,
    /// As many as are free beside them, so that some are left to others: turns are long.
    Half,
}

/// Turns of one kind. Clones share them.
#[derive(Debug, Clone)]
pub struct SharedTurns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    portion: Portion,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// The number of the next turn that is asked for or given.
    next: u64,
    /// Each with a turn, or waiting for one.
    senders: HashMap<Sender, OfSender>,
}

#[derive(Debug, Default)]
struct OfSender {
    running: usize,
    /// The number of its last turn.
    last: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, oneshot::Sender<SharedTurn>>,
}

/// One turn, until dropped.
#[derive(Debug)]
pub struct SharedTurn {
    shared: Arc<Shared>,
    sender: Sender,
}

/// Takes itself off the queue when it is dropped, and only then drops what a turn is given by: so each that is given is
/// received.
struct Waiting {
    shared: Arc<Shared>,
    sender: Sender,
    number: u64,
    given: oneshot::Receiver<SharedTurn>,
}

impl SharedTurns {
    /// Lets `count` have their turn at once, at least one.
    pub fn new(count: usize, portion: Portion) -> Self {
        Self(Arc::new(Shared {
            count: count.max(1),
            portion,
            state: Mutex::default(),
        }))
    }

    /// A turn, if there is one for this sender now.
    pub fn try_take(&self, sender: Sender) -> Option<SharedTurn> {
        let mut state = self.0.state.lock();
        let state = &mut *state;
        let of_sender = state.senders.entry(sender).or_default();
        let is_first = of_sender.waiting.is_empty();
        if is_first && self.0.has_turn(state.running, of_sender.running) {
            return Some(self.0.give(state, sender));
        }
        state.forget(sender);
        None
    }

    /// Waits for a turn.
    pub async fn take(&self, sender: Sender) -> SharedTurn {
        if let Some(turn) = self.try_take(sender) {
            return turn;
        }
        let (give, given) = oneshot::channel();
        let mut waiting = {
            let mut state = self.0.state.lock();
            let number = state.next;
            state.next += 1;
            let of_sender = state.senders.entry(sender).or_default();
            of_sender.waiting.insert(number, give);
            // One may have come free since.
            self.0.give_free(&mut state);
            Waiting {
                shared: Arc::clone(&self.0),
                sender,
                number,
                given,
            }
        };
        let turn = (&mut waiting.given).await;
        turn.expect("who waits is given a turn before it is forgotten")
    }
}

impl Shared {
    fn has_turn(&self, running: usize, of_sender: usize) -> bool {
        let free = self.count.saturating_sub(running);
        match self.portion {
            Portion::All => free > 0,
            Portion::Half => free > of_sender,
        }
    }

    fn give(self: &Arc<Self>, state: &mut State, sender: Sender) -> SharedTurn {
        state.running += 1;
        let of_sender = state.senders.entry(sender).or_default();
        of_sender.running += 1;
        of_sender.last = state.next;
        state.next += 1;
        SharedTurn {
            shared: Arc::clone(self),
            sender,
        }
    }

    /// Gives the turns that are free to those that wait.
    fn give_free(self: &Arc<Self>, state: &mut State) {
        loop {
            let running = state.running;
            let may_run = state.senders.iter().filter(|(_, of_sender)| {
                !of_sender.waiting.is_empty() && self.has_turn(running, of_sender.running)
            });
            let next = may_run.min_by_key(|(_, of_sender)| (of_sender.running, of_sender.last));
            let Some(sender) = next.map(|(sender, _)| *sender) else {
                return;
            };
            let of_sender = state.senders.entry(sender).or_default();
            if let Some((_, waiting)) = of_sender.waiting.pop_first() {
                let turn = self.give(state, sender);
                let sent = waiting.send(turn);
                assert!(
                    sent.is_ok(),
                    "what goes away takes itself off the queue first"
                );
            }
        }
    }
}

impl State {
    fn forget(&mut self, sender: Sender) {
        let of_sender = self.senders.get(&sender);
        if of_sender.is_some_and(|of| of.running == 0 && of.waiting.is_empty()) {
            self.senders.remove(&sender);
        }
    }
}

impl Drop for SharedTurn {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.running -= 1;
        if let Some(of_sender) = state.senders.get_mut(&self.sender) {
            of_sender.running -= 1;
        }
        self.shared.give_free(&mut state);
        state.forget(self.sender);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(of_sender) = state.senders.get_mut(&self.sender) {
            of_sender.waiting.remove(&self.number);
        }
        state.forget(self.sender);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn take(turns: &SharedTurns, sender: u128) -> futures::future::BoxFuture<'_, SharedTurn> {
        Box::pin(turns.take(Sender(sender)))
    }

    #[test]
    fn what_comes_first_has_its_turn_first_and_what_goes_away_holds_up_no_other() {
        let turns = SharedTurns::new(2, Portion::All);
        let [first, second] = [(), ()].map(|()| take(&turns, 1).now_or_never().unwrap());
        let mut third = take(&turns, 1);
        let mut fourth = take(&turns, 1);
        let mut fifth = take(&turns, 1);
        for waiting in [&mut third, &mut fourth, &mut fifth] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(third);
        drop(first);
        assert!((&mut fifth).now_or_never().is_none());
        // One that was given a turn and never took it gives it on.
        drop(fourth);
        assert!((&mut fifth).now_or_never().is_some());
        drop(second);
        assert!(turns.0.state.lock().senders.is_empty());
        assert_eq!(turns.0.state.lock().running, 0);
    }

    #[test]
    fn senders_have_their_turns_one_after_the_other() {
        let turns = SharedTurns::new(1, Portion::All);
        let mut turn = take(&turns, 1).now_or_never();
        let mut waiting: Vec<_> = [1, 1, 1, 2, 3, 3]
            .into_iter()
            .map(|sender| (sender, take(&turns, sender)))
            .collect();
        for (_, waiting) in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(turn.take());
            let given = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(i, (_, waiting))| {
                    let given = waiting.now_or_never()?;
                    Some((i, given))
                });
            let (i, given) = given.unwrap();
            order.push(waiting.remove(i).0);
            turn = Some(given);
        }
        // Those that come for the first time are before those that had one.
        let position = |sender| order.iter().position(|had| *had == sender).unwrap();
        assert!(position(2) < 3 && position(3) < 3, "{order:?}");
        assert_eq!(order[order.len() - 1], 1, "{order:?}");
    }

    #[test]
    fn a_sender_leaves_as_many_turns_as_it_has() {
        let turns = SharedTurns::new(16, Portion::Half);
        let mut running = Vec::new();
        for (sender, count) in [(1, 8), (2, 4), (3, 2), (4, 1), (5, 1)] {
            while let Some(turn) = turns.try_take(Sender(sender)) {
                running.push((sender, turn));
            }
            let of_sender = running.iter().filter(|(of, _)| *of == sender);
            assert_eq!(of_sender.count(), count, "{sender}");
        }
        let mut waiting = take(&turns, 1);
        assert!((&mut waiting).now_or_never().is_none());
        running.retain(|(sender, _)| *sender != 1);
        assert!(waiting.now_or_never().is_some());
        drop(running);
        let alone = SharedTurns::new(1, Portion::Half);
        assert!(alone.try_take(Sender(1)).is_some(), "there is always one");
    }
}
