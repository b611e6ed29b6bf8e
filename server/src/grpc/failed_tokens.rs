//! Callers that show wrong tokens are slowed, each network peer by itself.
//!
//! The first failures of a peer cost nothing: a password was mistyped, or a job has an old one. After them each refusal
//! waits, longer each time, up to [`LONGEST`]; a right token is answered at once beside them. When [`MOST_WAITING`]
//! refusals of a peer wait, nothing from there with a token, right or wrong, is looked at until one of them is over: it is
//! told to come again. So a peer that does not wait for its refusals tries no more tokens than one that does. A peer that
//! fails no more for a while is forgotten.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use parking_lot::Mutex;

use crate::peer::Peer;

/// How many failures of a peer are not slowed.
pub const FREE: u32 = 20;
/// How long the first refusal after them waits; each further one twice as long.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest that a refusal waits.
pub const LONGEST: Duration = Duration::from_secs(5);
/// How many refusals of one peer may wait at once.
pub const MOST_WAITING: usize = 64;
/// How long after its last failure a peer is forgotten.
pub const MEMORY: Duration = Duration::from_mins(10);
/// How many peers are remembered; the one that failed longest ago makes room.
const MOST_PEERS: usize = 4096;

/// What is remembered of those who failed.
#[derive(Debug)]
pub struct FailedTokens {
    clock: Arc<dyn Clock>,
    peers: Mutex<HashMap<Peer, Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    failures: u32,
    last: Duration,
    /// When the refusals that wait are over, by the monotonic clock. A caller that goes away ends none.
    ends: VecDeque<Duration>,
}

impl FailedTokens {
    /// Remembers nobody yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            peers: Mutex::default(),
        }
    }

    /// Whether so many refusals of a peer wait that its tokens are not looked at.
    pub fn is_crowded(&self, peer: IpAddr) -> bool {
        let now = self.clock.monotonic();
        let mut peers = self.peers.lock();
        peers.get_mut(&Peer::of(peer)).is_some_and(|peer| {
            peer.ends.retain(|end| *end > now);
            peer.ends.len() >= MOST_WAITING
        })
    }

    /// Notes a failure, and waits as long as its refusal is to wait.
    pub async fn slow(&self, peer: IpAddr) {
        let delay = self.note(Peer::of(peer));
        if delay > Duration::ZERO {
            self.clock.sleep(delay).await;
        }
    }

    fn note(&self, network: Peer) -> Duration {
        let now = self.clock.monotonic();
        let is_recent = |peer: &Failures| now.saturating_sub(peer.last) < MEMORY;
        let mut peers = self.peers.lock();
        if peers.len() >= MOST_PEERS && !peers.contains_key(&network) {
            peers.retain(|_, peer| is_recent(peer));
            let oldest = peers.iter().min_by_key(|(_, peer)| peer.last);
            if peers.len() >= MOST_PEERS
                && let Some((oldest, _)) = oldest
            {
                let oldest = *oldest;
                peers.remove(&oldest);
            }
        }
        let peer = peers.entry(network).or_default();
        if !is_recent(peer) {
            *peer = Failures::default();
        }
        peer.failures = peer.failures.saturating_add(1);
        peer.last = now;
        let delay = delay(peer.failures);
        if delay > Duration::ZERO {
            peer.ends.push_back(now + delay);
        }
        delay
    }
}

/// How long the refusal of a peer waits that has failed so often.
fn delay(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FREE + 1) else {
        return Duration::ZERO;
    };
    let factor = 2_u32.saturating_pow(doublings);
    SHORTEST.saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use holdfast_chunkstore::clock::SystemClock;

    use super::*;

    #[test]
    fn delays_grow_to_a_bound() {
        assert_eq!(delay(FREE), Duration::ZERO);
        assert_eq!(delay(FREE + 1), SHORTEST);
        assert_eq!(delay(FREE + 2), SHORTEST * 2);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn only_so_many_peers_are_remembered() {
        let tokens = FailedTokens::new(Arc::new(SystemClock::new()));
        let count = u32::try_from(MOST_PEERS).unwrap();
        for number in 0..count + 10 {
            tokens.note(Peer::of(Ipv4Addr::from_bits(number).into()));
        }
        assert_eq!(tokens.peers.lock().len(), MOST_PEERS);
    }
}
