//! Lines about requests of callers that showed nothing yet: one in a while, of each group of peers, so that what costs a
//! caller some bytes does not fill the log.

use std::time::Duration;

use crate::peer::Peer;
use crate::spaced::Spaced;

/// How many groups of peers there are: one that floods the log leaves out few lines of others.
const GROUPS: usize = 61;
/// How long after a line the next one of its group is left out.
const QUIET: Duration = Duration::from_secs(5);

/// When lines were written.
#[derive(Debug)]
pub struct Strangers {
    groups: Vec<Spaced>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            groups: (0..GROUPS).map(|_| Spaced::new(QUIET)).collect(),
        }
    }
}

impl Strangers {
    /// How many lines of the group of a peer were left out before this one; nothing where it is left out too.
    pub fn turn(&self, peer: Peer) -> Option<u64> {
        // The lower half of an IPv6 network is empty.
        let number = peer.number();
        let group = (number ^ (number >> 64)) % GROUPS as u128;
        self.groups[usize::try_from(group).unwrap_or_default()].turn()
    }
}
