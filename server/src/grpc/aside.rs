//! Calls that deal with no repository and may last: so many of each peer.
//!
//! Whoever watches the health of this server needs one, and it lasts as long as the watcher likes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tonic::Status;

use crate::peer::Peer;

/// How many of one peer run at once.
pub const MOST_OF_A_PEER: usize = 64;

/// Those of all peers.
#[derive(Debug, Default)]
pub struct AsideCalls {
    peers: Mutex<HashMap<Peer, usize>>,
}

/// One that runs, until dropped.
#[derive(Debug)]
pub struct AsideCall {
    calls: Arc<AsideCalls>,
    peer: Peer,
}

impl AsideCalls {
    /// Begins one.
    pub fn begin(self: &Arc<Self>, peer: Peer) -> Result<AsideCall, Status> {
        let mut peers = self.peers.lock();
        let count = peers.entry(peer).or_default();
        if *count >= MOST_OF_A_PEER {
            return Err(Status::unavailable(format!(
                "{MOST_OF_A_PEER} watches of health and reflection streams of this address run already: end one first"
            )));
        }
        *count += 1;
        Ok(AsideCall {
            calls: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for AsideCall {
    fn drop(&mut self) {
        let mut peers = self.calls.peers.lock();
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_and_another_has_its_own() {
        let calls = Arc::new(AsideCalls::default());
        let peer = |last| Peer::of([10, 0, 0, last].into());
        let begin = |last| calls.begin(peer(last));
        let mut running: Vec<_> = (0..MOST_OF_A_PEER).map(|_| begin(1).unwrap()).collect();
        assert!(begin(1).is_err());
        drop(begin(2).unwrap());
        running.pop();
        drop(begin(1).unwrap());
        drop(running);
        assert!(calls.peers.lock().is_empty());
    }
}
