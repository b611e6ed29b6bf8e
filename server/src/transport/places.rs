//! Places for connections: so many are served at once, of all peers together and of each.
//!
//! A connection without a place is accepted all the same, so that a client does not give up its handshake and a probe
//! is answered; its other requests wait until it has one. A place that comes free goes to the peer that has the fewest,
//! and there to the connection that came first. When too many wait, the last one of the peer that has most of them
//! waiting is turned away: a peer without patience displaces no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::peer::Peer;

/// How many connections may wait for a place.
const MOST_WAITING: usize = 1024;

/// How many connections are served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all peers together.
    pub in_all: usize,
    /// Of one peer. Trusted proxies have no such bound.
    pub per_peer: usize,
}

/// What a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits for a place.
    Waits,
    /// It has a place.
    Served,
    /// It shall end, as too many wait.
    TurnedAway,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    limits: ConnectionLimits,
    most_waiting: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next connection.
    next: u64,
    served: usize,
    waiting: usize,
    /// How many of those that are served end to make room.
    yielding: usize,
    /// Each with a connection that is served or waits; nothing stands for all trusted proxies.
    peers: HashMap<Option<Peer>, OfPeer>,
}

#[derive(Debug, Default)]
struct OfPeer {
    served: usize,
    yielding: usize,
    /// On how many that are served and do not end only idle streams run.
    idle: usize,
    /// In the order in which they came.
    waiting: BTreeMap<u64, watch::Sender<Standing>>,
}

/// One connection, served or waiting, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    peer: Option<Peer>,
    number: u64,
    /// Kept so that its receivers see when the seat is gone.
    sender: watch::Sender<Standing>,
    is_yielding: AtomicBool,
    /// Whether it is counted as idle.
    is_idle: AtomicBool,
}

impl Places {
    /// All are free.
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Self::with_waiting(limits, MOST_WAITING)
    }

    fn with_waiting(limits: ConnectionLimits, most_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            most_waiting,
            state: Mutex::default(),
        })
    }

    /// Takes a connection in: of a peer, or of a trusted proxy, which speaks for many.
    pub(super) fn enter(self: &Arc<Self>, peer: Option<Peer>) -> Seat {
        let (sender, _) = watch::channel(Standing::Waits);
        let mut state = self.state.lock();
        let state = &mut *state;
        let number = state.next;
        state.next += 1;
        let of_peer = state.peers.entry(peer).or_default();
        // Where places are free, all that wait are of peers that have as many as they may.
        let has_room = of_peer.waiting.is_empty() && of_peer.served < self.per_peer(peer);
        if has_room && state.served < self.limits.in_all {
            state.serve(peer, &sender);
        } else {
            of_peer.waiting.insert(number, sender.clone());
            state.waiting += 1;
            if state.waiting > self.most_waiting {
                state.turn_one_away();
            }
        }
        Seat {
            places: Arc::clone(self),
            peer,
            number,
            sender,
            is_yielding: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
        }
    }

    fn per_peer(&self, peer: Option<Peer>) -> usize {
        match peer {
            Some(_) => self.limits.per_peer,
            None => usize::MAX,
        }
    }

    /// Gives places that are free to connections that wait.
    fn serve_waiting(&self, state: &mut State) {
        while state.waiting > 0 && state.served < self.limits.in_all {
            let next = state
                .peers
                .iter()
                .filter(|(peer, of_peer)| of_peer.served < self.per_peer(**peer))
                .filter_map(|(peer, of_peer)| {
                    let (first, _) = of_peer.waiting.first_key_value()?;
                    Some((of_peer.served, *first, *peer))
                })
                .min();
            let Some((_, _, peer)) = next else {
                return;
            };
            let of_peer = state.peers.entry(peer).or_default();
            if let Some((_, sender)) = of_peer.waiting.pop_first() {
                state.waiting -= 1;
                state.serve(peer, &sender);
            }
        }
    }
}

impl State {
    fn serve(&mut self, peer: Option<Peer>, sender: &watch::Sender<Standing>) {
        self.served += 1;
        self.peers.entry(peer).or_default().served += 1;
        sender.send_replace(Standing::Served);
    }

    fn turn_one_away(&mut self) {
        let of_peers = self.peers.values_mut();
        let longest = of_peers.max_by_key(|of_peer| of_peer.waiting.len());
        if let Some((_, sender)) = longest.and_then(|of_peer| of_peer.waiting.pop_last()) {
            self.waiting -= 1;
            sender.send_replace(Standing::TurnedAway);
        }
    }
}

impl Seat {
    /// What the connection has by now, and what it will have.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.sender.subscribe()
    }

    /// Whether a connection on which nothing runs, or the last thing ends, shall end as well, because another one waits
    /// for its place. It is expected to end when it was told so once.
    pub(super) fn is_wanted(&self) -> bool {
        let limits = self.places.limits;
        let per_peer = self.places.per_peer(self.peer);
        let mut state = self.places.state.lock();
        if self.is_yielding.load(Ordering::Relaxed) || *self.sender.borrow() != Standing::Served {
            return self.is_yielding.load(Ordering::Relaxed);
        }
        let state = &mut *state;
        let by_any = state.served >= limits.in_all && state.waiting > state.yielding;
        let of_peer = state.peers.entry(self.peer).or_default();
        let by_own = of_peer.served >= per_peer && of_peer.waiting.len() > of_peer.yielding;
        if by_any || by_own {
            self.yield_place(state);
        }
        by_any || by_own
    }

    /// The same for a connection on which streams run. Where they are idle its place is given up to a peer that has fewer,
    /// by the peer that has the most.
    pub(super) fn is_wanted_from_streams(&self, is_idle: bool) -> bool {
        let limits = self.places.limits;
        let per_peer = self.places.per_peer(self.peer);
        let mut state = self.places.state.lock();
        if self.is_yielding.load(Ordering::Relaxed) || *self.sender.borrow() != Standing::Served {
            return self.is_yielding.load(Ordering::Relaxed);
        }
        let state = &mut *state;
        let of_peer = state.peers.entry(self.peer).or_default();
        let was_idle = self.is_idle.swap(is_idle, Ordering::Relaxed);
        of_peer.idle = of_peer.idle + usize::from(is_idle) - usize::from(was_idle);
        if !is_idle {
            return false;
        }
        let by_own = of_peer.served >= per_peer && of_peer.waiting.len() > of_peer.yielding;
        let by_any = || {
            let has = state.peers.get(&self.peer).map_or(0, OfPeer::keeps);
            let is_full = state.served >= limits.in_all && state.waiting > state.yielding;
            let mut waiting = state.peers.iter().filter(|(_, of)| !of.waiting.is_empty());
            let mut idle = state.peers.values().filter(|of| of.idle > 0);
            is_full
                && waiting.any(|(peer, of)| of.served < has.min(self.places.per_peer(*peer)))
                && idle.all(|of| of.keeps() <= has)
        };
        let is_wanted = by_own || by_any();
        if is_wanted {
            self.yield_place(state);
        }
        is_wanted
    }

    fn yield_place(&self, state: &mut State) {
        let of_peer = state.peers.entry(self.peer).or_default();
        of_peer.yielding += 1;
        of_peer.idle -= usize::from(self.is_idle.swap(false, Ordering::Relaxed));
        state.yielding += 1;
        self.is_yielding.store(true, Ordering::Relaxed);
    }
}

impl OfPeer {
    /// How many places it has when those that end are gone.
    fn keeps(&self) -> usize {
        self.served - self.yielding
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        let state = &mut *state;
        let of_peer = state.peers.entry(self.peer).or_default();
        let was_waiting = of_peer.waiting.remove(&self.number).is_some();
        let was_served = !was_waiting && *self.sender.borrow() == Standing::Served;
        of_peer.served -= usize::from(was_served);
        let is_yielding = *self.is_yielding.get_mut();
        of_peer.yielding -= usize::from(is_yielding);
        of_peer.idle -= usize::from(*self.is_idle.get_mut());
        if of_peer.served == 0 && of_peer.waiting.is_empty() {
            state.peers.remove(&self.peer);
        }
        state.waiting -= usize::from(was_waiting);
        state.served -= usize::from(was_served);
        state.yielding -= usize::from(is_yielding);
        self.places.serve_waiting(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Option<Peer> {
        Some(Peer::of([10, 0, 0, last].into()))
    }

    fn places(in_all: usize, per_peer: usize, waiting: usize) -> Arc<Places> {
        Places::with_waiting(ConnectionLimits { in_all, per_peer }, waiting)
    }

    fn standings(seats: &[Seat]) -> Vec<Standing> {
        let of_seat = |seat: &Seat| *seat.standing().borrow();
        seats.iter().map(of_seat).collect()
    }

    use Standing::{Served, TurnedAway, Waits};

    #[test]
    fn a_peer_has_so_many_and_another_is_served_all_the_same() {
        let places = places(10, 2, 100);
        let mut seats: Vec<_> = (0..4).map(|_| places.enter(peer(1))).collect();
        seats.push(places.enter(peer(2)));
        assert_eq!(standings(&seats), [Served, Served, Waits, Waits, Served]);
        drop(seats.remove(0));
        assert_eq!(
            standings(&seats),
            [Served, Served, Waits, Served],
            "in turn"
        );
        // One that goes away while it waits holds up no other.
        drop(seats.remove(2));
        drop(seats);
        assert!(places.state.lock().peers.is_empty());
        assert_eq!(places.state.lock().served, 0);
        assert_eq!(places.state.lock().waiting, 0);
    }

    #[test]
    fn a_trusted_proxy_is_bounded_by_all_places_alone() {
        let places = places(5, 2, 100);
        let seats: Vec<_> = (0..6).map(|_| places.enter(None)).collect();
        assert_eq!(standings(&seats)[4..], [Served, Waits]);
    }

    #[test]
    fn a_place_goes_to_the_peer_that_has_the_fewest() {
        let places = places(3, 3, 100);
        let mut of_one: Vec<_> = (0..8).map(|_| places.enter(peer(1))).collect();
        let mut of_two: Vec<_> = (0..2).map(|_| places.enter(peer(2))).collect();
        drop(of_one.remove(0));
        assert_eq!(standings(&of_two), [Served, Waits]);
        // Of peers that have as many, the connection that came first is served.
        drop(of_one.remove(0));
        assert_eq!(standings(&of_two), [Served, Waits]);
        assert_eq!(standings(&of_one)[..3], [Served, Served, Waits]);
        drop(of_two.remove(0));
        assert_eq!(standings(&of_two), [Served]);
    }

    #[test]
    fn when_too_many_wait_the_peer_with_most_of_them_loses_its_last() {
        let places = places(1, 1, 3);
        let _served = places.enter(peer(9));
        let mut of_one: Vec<_> = (0..3).map(|_| places.enter(peer(1))).collect();
        let of_two = places.enter(peer(2));
        assert_eq!(standings(&of_one), [Waits, Waits, TurnedAway]);
        of_one.push(places.enter(peer(1)));
        assert_eq!(standings(&of_one)[3..], [TurnedAway]);
        assert_eq!(*of_two.standing().borrow(), Waits);
        drop((of_one, of_two));
        assert_eq!(places.state.lock().waiting, 0);
        assert_eq!(places.state.lock().peers.len(), 1);
    }

    #[test]
    fn as_many_idle_ones_end_as_others_wait() {
        let places = places(10, 3, 100);
        let mut idle: Vec<_> = (0..3).map(|_| places.enter(peer(1))).collect();
        let other = places.enter(peer(2));
        assert!(idle.iter().all(|seat| !seat.is_wanted()), "nobody waits");
        let waiting = places.enter(peer(1));
        assert!(idle[0].is_wanted() && !idle[1].is_wanted());
        assert!(idle[0].is_wanted(), "it goes on to be");
        assert!(!other.is_wanted(), "its place is of no use");
        drop(idle.remove(0));
        assert_eq!(*waiting.standing().borrow(), Served);
        assert!(!idle[0].is_wanted());
        drop((idle, other, waiting));
        assert_eq!(places.state.lock().yielding, 0);
    }

    #[test]
    fn idle_streams_give_up_places_of_the_peer_that_has_the_most() {
        let places = places(5, 5, 100);
        let of_one: Vec<_> = (0..3).map(|_| places.enter(peer(1))).collect();
        let of_two: Vec<_> = (0..2).map(|_| places.enter(peer(2))).collect();
        let all_idle = |seats: &[Seat]| -> Vec<bool> {
            let wanted = seats.iter().map(|seat| seat.is_wanted_from_streams(true));
            wanted.collect()
        };
        assert_eq!(all_idle(&of_two), [false; 2], "no other waits");
        assert_eq!(all_idle(&of_one), [false; 3]);
        let waiting = [places.enter(peer(3)), places.enter(peer(3))];
        assert!(
            !of_one[0].is_wanted_from_streams(false),
            "something is done"
        );
        assert_eq!(all_idle(&of_two), [false; 2], "another has more");
        // Both have two from then on.
        assert_eq!(all_idle(&of_one), [true, true, false]);
        assert_eq!(all_idle(&of_two), [false; 2]);
        drop(of_one);
        assert_eq!(standings(&waiting), [Served, Served]);
        let more: Vec<_> = (0..3).map(|_| places.enter(peer(3))).collect();
        assert_eq!(standings(&more), [Served, Waits, Waits]);
        assert_eq!(all_idle(&of_two), [false; 2], "the other has more already");
        drop((of_two, waiting, more));
        assert_eq!(places.state.lock().yielding, 0);
        assert!(places.state.lock().peers.is_empty());
    }

    #[test]
    fn idle_streams_give_up_places_to_connections_of_their_own_peer() {
        let places = places(10, 2, 100);
        let streams = [places.enter(peer(1)), places.enter(peer(1))];
        let waiting = places.enter(peer(1));
        assert!(streams[0].is_wanted_from_streams(true));
        assert!(!streams[1].is_wanted_from_streams(true), "one is enough");
        drop(streams);
        assert_eq!(*waiting.standing().borrow(), Served);
    }

    #[tokio::test]
    async fn who_watches_a_seat_sees_when_it_is_gone() {
        let places = places(1, 1, 3);
        let _served = places.enter(peer(1));
        let seat = places.enter(peer(1));
        let mut standing = seat.standing();
        drop(seat);
        assert!(standing.wait_for(|now| *now == Served).await.is_err());
    }
}
