//! Memory for messages: one budget for all that are being received, decoded and answered.
//!
//! ```text
//! head of a message ─▶ room to arrive: twice what came ─▶ whole ─▶ room to work: what decoding and answering take
//! ```
//!
//! A call that finds no room waits, in the order of arrival; nothing is refused for want of room. Each peer gets a part
//! of the budget only, so that one that fills its part keeps no other waiting. What a message declares takes no room: only
//! what came of it does, so that a sender holds little more than it has sent. A call waits for room to work while it
//! holds room to arrive, and never the other way round; messages that all wait for room to go on, and what is held for
//! one that stops, are ended after the time that a message may take.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peer::Peer;

/// Room for messages that arrive, in KiB.
const ARRIVING_KIB: u32 = 64 << 10;
/// Room for what is decoded and answered, in KiB.
const WORKING_KIB: u32 = 256 << 10;
/// A peer gets one part of so many.
const PARTS: u32 = 4;
/// What is taken at least to work on a message, in KiB.
const LEAST_KIB: u32 = 16;
/// How many bytes decoding and answering take for each byte of a message: a hash of 20 bytes becomes a value in a list,
/// an address, a place, an entry of a table and a part of the answer.
const WORK_FACTOR: usize = 16;
/// From how many peers on those of which nothing is held are forgotten.
const REMEMBERED: usize = 256;

/// The memory that the messages of all calls may take.
#[derive(Debug)]
pub struct Budget {
    sizes: Sizes,
    all: Rooms,
    peers: Mutex<HashMap<Peer, Rooms>>,
}

/// How much room there is, in KiB.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    arriving: u32,
    working: u32,
}

#[derive(Debug, Clone)]
struct Rooms {
    arriving: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Rooms {
    fn new(sizes: Sizes) -> Self {
        let room = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        Self {
            arriving: room(sizes.arriving),
            working: room(sizes.working),
        }
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.arriving) == 1
    }
}

/// What room is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Arriving,
    Working,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(ARRIVING_KIB, WORKING_KIB)
    }
}

impl Budget {
    /// A budget of so many KiB.
    pub fn new(arriving: u32, working: u32) -> Self {
        let sizes = Sizes { arriving, working };
        Self {
            sizes,
            all: Rooms::new(sizes),
            peers: Mutex::default(),
        }
    }

    /// How many KiB are free for messages to arrive.
    #[cfg(test)]
    pub fn free_to_arrive(&self) -> usize {
        self.all.arriving.available_permits()
    }

    /// The part of a peer; a call whose peer is not known may take all.
    pub fn share(&self, peer: Option<Peer>) -> Share {
        let parts = Sizes {
            arriving: self.sizes.arriving / PARTS,
            working: self.sizes.working / PARTS,
        };
        let peer = peer.map(|peer| {
            let mut peers = self.peers.lock();
            if peers.len() >= REMEMBERED {
                peers.retain(|_, rooms| !rooms.is_unused());
            }
            let rooms = peers.entry(peer).or_insert_with(|| Rooms::new(parts));
            rooms.clone()
        });
        Share {
            most: if peer.is_some() { parts } else { self.sizes },
            peer,
            all: self.all.clone(),
            held: Arc::default(),
        }
    }
}

/// What one message has taken; given back when dropped.
#[derive(Debug, Default)]
pub struct Taken(Vec<OwnedSemaphorePermit>);

impl Taken {
    /// Adds what was taken for more of the same message.
    pub fn add(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

/// What one call may take, and has taken; given back with the last clone.
#[derive(Debug, Clone)]
pub struct Share {
    peer: Option<Rooms>,
    all: Rooms,
    /// How much of it the call may take.
    most: Sizes,
    held: Arc<Mutex<Vec<OwnedSemaphorePermit>>>,
}

impl Share {
    /// How many KiB a message takes of which so many bytes are to be here: no more than the call may take.
    pub fn arriving_kib(&self, len: usize) -> u32 {
        kib(len).clamp(1, self.most.arriving)
    }

    /// Takes so many KiB more for a message to arrive. They are the message's until it is handed on.
    pub async fn take_to_arrive(self, kib: u32) -> Taken {
        self.take(Use::Arriving, kib).await
    }

    /// Takes room to decode and answer a message of so many bytes that is here.
    pub async fn take_to_work(self, len: usize) -> Taken {
        let kib = kib(len.saturating_mul(WORK_FACTOR));
        self.take(Use::Working, kib).await
    }

    /// Holds what a message took that is handed on, until it is given back.
    pub fn hold(&self, mut taken: Taken) {
        self.held.lock().append(&mut taken.0);
    }

    /// Gives back all that was taken for messages, whose memory is free, and takes room for an answer of so many bytes.
    pub async fn take_to_answer(&self, len: usize) {
        self.give_back();
        let taken = self.clone().take(Use::Working, kib(len)).await;
        self.hold(taken);
    }

    /// Gives back what messages took that were handed on: they are answered.
    pub fn give_back(&self) {
        self.held.lock().clear();
    }

    async fn take(self, wanted: Use, kib: u32) -> Taken {
        let kib = match wanted {
            Use::Arriving => kib,
            // What needs more than there is takes all there is.
            Use::Working => kib.max(LEAST_KIB).min(self.most.working),
        };
        let of = |rooms: &Rooms| match wanted {
            Use::Arriving => Arc::clone(&rooms.arriving),
            Use::Working => Arc::clone(&rooms.working),
        };
        let mut taken = Taken::default();
        for rooms in self.peer.iter().chain(Some(&self.all)) {
            let permit = of(rooms).acquire_many_owned(kib).await;
            taken.0.push(permit.expect("the semaphore is never closed"));
        }
        taken
    }
}

fn kib(len: usize) -> u32 {
    u32::try_from(len.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures::FutureExt as _;

    use super::*;

    const KIB: usize = 1 << 10;

    fn peers() -> [Option<Peer>; 5] {
        [1, 2, 3, 4, 5].map(|last| Some(Peer::of(IpAddr::from([10, 0, 0, last]))))
    }

    #[test]
    fn one_peer_fills_its_part_and_keeps_no_other_waiting() {
        let budget = Budget::new(400, 400);
        let [greedy, modest, ..] = peers();
        let full = budget.share(greedy);
        full.hold(full.clone().take_to_arrive(100).now_or_never().unwrap());
        let next = budget.share(greedy);
        let mut waiting = Box::pin(next.clone().take_to_arrive(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        let other = budget.share(modest);
        assert!(other.take_to_arrive(100).now_or_never().is_some());
        full.give_back();
        assert!(waiting.now_or_never().is_some());
    }

    #[test]
    fn all_peers_together_take_no_more_than_there_is() {
        let budget = Budget::new(400, 400);
        let shares = peers().map(|peer| budget.share(peer));
        let takes = |share: &Share| share.clone().take_to_work(usize::MAX).now_or_never();
        let taken: Vec<_> = shares.iter().map(takes).collect();
        let is_taken: Vec<_> = taken.iter().map(Option::is_some).collect();
        assert_eq!(is_taken, [true, true, true, true, false]);
        drop(taken);
        assert_eq!(budget.all.working.available_permits(), 400);
    }

    #[test]
    fn an_answer_takes_the_place_of_its_message() {
        let budget = Budget::new(400, 400);
        let share = budget.share(peers()[0]);
        let mut taken = share.clone().take_to_arrive(50).now_or_never().unwrap();
        taken.add(share.clone().take_to_work(50 * KIB).now_or_never().unwrap());
        share.hold(taken);
        share.take_to_answer(90 * KIB).now_or_never().unwrap();
        assert_eq!(budget.all.arriving.available_permits(), 400);
        assert_eq!(budget.all.working.available_permits(), 310);
    }

    #[test]
    fn peers_of_which_nothing_is_held_are_forgotten() {
        let budget = Budget::default();
        let kept = budget.share(peers()[0]);
        for number in 0..10 * u32::try_from(REMEMBERED).unwrap() {
            drop(budget.share(Some(Peer::of(std::net::Ipv4Addr::from(number).into()))));
        }
        assert!(budget.peers.lock().len() <= REMEMBERED);
        assert!(budget.peers.lock().contains_key(&peers()[0].unwrap()));
        drop(kept);
    }
}
