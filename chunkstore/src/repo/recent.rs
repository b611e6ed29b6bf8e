//! The newest moves of a repository's root, remembered: where a reply that was lost is looked for.
//!
//! Records never change, so what is remembered is never wrong. What is not remembered is read from the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::RootAddress;
use crate::clock::Timestamp;
use crate::repo::record::Record;

/// How long after it a lost reply may be asked for again.
pub(crate) const ECHO: Duration = Duration::from_mins(15);
/// How many records are searched for what a lost reply may have reached.
pub(crate) const ECHO_RECORDS: u64 = 256;

/// What a record did to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootMove {
    /// The root before.
    pub(crate) old_root: RootAddress,
    /// The root after; the same if it stayed.
    pub(crate) new_root: RootAddress,
    /// Who asked for it.
    pub(crate) actor: String,
    /// When.
    pub(crate) time: Timestamp,
}

impl RootMove {
    /// Takes it from a record.
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            old_root: record.old_root,
            new_root: record.new_root,
            actor: record.actor.name.clone(),
            time: record.time,
        }
    }
}

/// The moves of the last [`ECHO_RECORDS`] records that are not older than the newest by more than [`ECHO`].
#[derive(Debug, Default)]
pub(crate) struct RecentMoves {
    moves: Mutex<BTreeMap<u64, Arc<RootMove>>>,
}

impl RecentMoves {
    /// Remembers what a record did.
    pub(crate) fn remember(&self, record: &Record) -> Arc<RootMove> {
        let moved = Arc::new(RootMove::of(record));
        let mut moves = self.moves.lock();
        moves.insert(record.sequence, Arc::clone(&moved));
        while is_to_forget(&moves) {
            moves.pop_first();
        }
        moved
    }

    /// What the record with this number did, if it is remembered.
    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<RootMove>> {
        self.moves.lock().get(&sequence).cloned()
    }
}

/// Whether the oldest of some moves is too many or too old.
fn is_to_forget(moves: &BTreeMap<u64, Arc<RootMove>>) -> bool {
    let (Some((_, oldest)), Some((_, newest))) = (moves.first_key_value(), moves.last_key_value())
    else {
        return false;
    };
    moves.len() as u64 > ECHO_RECORDS || newest.time.since(oldest.time) > ECHO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Stamp;
    use crate::repo::record::{Act, Actor, Listed, VERSION};

    fn record(sequence: u64, time: Timestamp) -> Record {
        Record {
            version: VERSION,
            sequence,
            time,
            stamp: Stamp::new([1; 16]),
            previous: None,
            act: Act::Push,
            actor: Actor {
                name: "anyone".into(),
                client: "test".into(),
            },
            old_root: RootAddress::ZERO,
            new_root: RootAddress::new([9; 20]),
            refs: Listed::default(),
            added: Listed::default(),
            retired: Listed::default(),
            released: Listed::default(),
            deleted: Listed::default(),
            cleared: None,
            checkpoint: None,
        }
    }

    #[test]
    fn the_newest_moves_are_remembered_and_no_more() {
        let recent = RecentMoves::default();
        for sequence in 1..=1000 {
            recent.remember(&record(sequence, Timestamp(5)));
        }
        assert_eq!(recent.get(1000).unwrap().actor, "anyone");
        assert!(recent.get(1000 - ECHO_RECORDS + 1).is_some());
        assert!(recent.get(1000 - ECHO_RECORDS).is_none());
        recent.remember(&record(3, Timestamp(5)));
        assert!(
            recent.get(3).is_none(),
            "an old one drives out no newer one"
        );

        let later = Timestamp(5).plus(ECHO);
        recent.remember(&record(1001, later));
        assert!(recent.get(1000).is_some());
        recent.remember(&record(1002, later.plus(Duration::from_millis(1))));
        assert!(recent.get(1000).is_none() && recent.get(1001).is_some());
    }
}
