//! The room of a spool: how much is taken, by whose files, and which files wait for more.
//!
//! A file that is received takes room as its bytes come, whatever length was declared, so that one whose bytes do not
//! come takes none. Where all is taken, or the share of its sender, it waits. Room that comes free goes to the oldest
//! file that it is of use to. Files that have all room between them and all wait for more would wait for ever: the
//! youngest of them gives up at once, and so the oldest ends in any case.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::SpoolError;
use crate::clock::Clock;
use crate::repo::turns::Sender;

/// How long nothing moves before a file gives up that waits for one which does not wait itself.
pub(super) const STUCK: Duration = Duration::from_secs(600);
/// Received files leave one part in so many to what finishes them: to sorting, and to reads.
const LEFT_TO_CHECKS: u64 = 16;

/// The most bytes that the files of one sender take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u64);

impl Share {
    /// Refuses a file that could never be there whole.
    pub(super) fn check(self, len: u64) -> Result<(), SpoolError> {
        match len > self.0 {
            true => Err(SpoolError::TooLarge {
                wanted: len,
                max: self.0,
            }),
            false => Ok(()),
        }
    }
}

/// Whose file it is that is received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) sender: Sender,
    pub(super) share: Share,
}

/// Room, and which uploads hold it.
#[derive(Debug)]
pub(super) struct Room {
    max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The sum of what living files reserved.
    reserved: u64,
    /// How much of that is on the disk already.
    written: u64,
    /// The number of the next file.
    next: u64,
    /// By their numbers, so by their age.
    files: BTreeMap<u64, Taken>,
    senders: HashMap<Sender, OfSender>,
    waiting: BTreeSet<u64>,
    /// How often room was taken or given back.
    moves: u64,
}

/// What one file has.
#[derive(Debug)]
struct Taken {
    owner: Option<Owner>,
    reserved: u64,
    written: u64,
    waits: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    wanted: u64,
    turn: oneshot::Sender<Turn>,
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The room is taken for the file.
    Granted,
    /// The file has to give its room to others.
    GiveUp,
}

#[derive(Debug, Default)]
struct OfSender {
    files: usize,
    reserved: u64,
    moves: u64,
}

/// What room is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lacking {
    /// None.
    Nothing,
    /// That of the sender.
    OfSender(Sender),
    /// All.
    OfAll,
}

impl Room {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            state: Mutex::default(),
        }
    }

    /// What files that are received may take together.
    fn for_received(&self) -> u64 {
        self.max - self.max / LEFT_TO_CHECKS
    }

    /// So many percent of all room.
    pub(super) fn share(&self, percent: u8) -> Share {
        let share = u128::from(self.max) * u128::from(percent) / 100;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        Share(share.min(self.for_received()))
    }

    /// How much was reserved and is not written yet.
    pub(super) fn promised(&self) -> u64 {
        let state = self.state.lock();
        state.reserved.saturating_sub(state.written)
    }

    /// Begins a file without room; returns its number.
    pub(super) fn begin(&self, owner: Option<Owner>) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        let taken = Taken {
            owner,
            reserved: 0,
            written: 0,
            waits: None,
        };
        state.files.insert(number, taken);
        if let Some(owner) = owner {
            state.senders.entry(owner.sender).or_default().files += 1;
        }
        number
    }

    /// Reserves more room at once, or fails; `check` is told how much is promised to all.
    pub(super) fn grow(
        &self,
        number: u64,
        wanted: u64,
        check: impl FnOnce(u64) -> Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        let max = self.max;
        if wanted > max {
            return Err(SpoolError::TooLarge { wanted, max });
        }
        let mut state = self.state.lock();
        if state.reserved.saturating_add(wanted) > max {
            return Err(self.budget(&state, wanted));
        }
        check(state.reserved.saturating_sub(state.written))?;
        state.take(number, wanted);
        Ok(())
    }

    /// Reserves more room for a file that is received, if there is some and no older file waits for it.
    pub(super) fn try_grow(&self, number: u64, wanted: u64) -> Result<bool, SpoolError> {
        let mut state = self.state.lock();
        let Some(Taken {
            owner: Some(owner), ..
        }) = state.files.get(&number)
        else {
            return Ok(false);
        };
        owner.share.check(wanted)?;
        let is_free = state.waiting.is_empty()
            && state.lacking(number, wanted, self.for_received()) == Lacking::Nothing;
        if is_free {
            state.take(number, wanted);
        }
        Ok(is_free)
    }

    /// Reserves more room for a file that is received, when its turn comes. Where that is not to be awaited it fails.
    pub(super) async fn grow_in_turn(
        &self,
        number: u64,
        wanted: u64,
        clock: &dyn Clock,
    ) -> Result<(), SpoolError> {
        let (turn, mut told) = oneshot::channel();
        let waiting = Waiting { room: self, number };
        {
            let mut state = self.state.lock();
            if let Some(taken) = state.files.get_mut(&number) {
                taken.waits = Some(Wait { wanted, turn });
            }
            state.waiting.insert(number);
            state.settle(self.for_received());
        }
        let mut seen = self.moves(number, wanted);
        let turn = loop {
            tokio::select! {
                biased;
                turn = &mut told => break turn.unwrap_or(Turn::GiveUp),
                () = clock.sleep(STUCK) => {}
            }
            let now = self.moves(number, wanted);
            if now == seen {
                break Turn::GiveUp;
            }
            seen = now;
        };
        drop(waiting);
        match turn {
            Turn::Granted => Ok(()),
            Turn::GiveUp => Err(self.budget(&self.state.lock(), wanted)),
        }
    }

    /// What a file lacks, and how often that has moved.
    fn moves(&self, number: u64, wanted: u64) -> (Lacking, u64) {
        let state = self.state.lock();
        let lacking = state.lacking(number, wanted, self.for_received());
        let moves = match lacking {
            Lacking::OfSender(sender) => state.senders.get(&sender).map_or(0, |of| of.moves),
            Lacking::OfAll | Lacking::Nothing => state.moves,
        };
        (lacking, moves)
    }

    /// How much a file has reserved.
    pub(super) fn reserved(&self, number: u64) -> u64 {
        let state = self.state.lock();
        state.files.get(&number).map_or(0, |taken| taken.reserved)
    }

    /// Notes that a part of what a file has reserved is on the disk.
    pub(super) fn note_written(&self, number: u64, len: u64) {
        let mut state = self.state.lock();
        state.written += len;
        if let Some(taken) = state.files.get_mut(&number) {
            taken.written += len;
        }
    }

    /// Ends a file and gives its room to others.
    pub(super) fn end(&self, number: u64) {
        let mut state = self.state.lock();
        let Some(taken) = state.files.remove(&number) else {
            return;
        };
        state.reserved -= taken.reserved;
        state.written -= taken.written;
        state.moves += 1;
        if let Some(Owner { sender, .. }) = taken.owner
            && let Some(of_sender) = state.senders.get_mut(&sender)
        {
            of_sender.files -= 1;
            of_sender.reserved -= taken.reserved;
            of_sender.moves += 1;
            if of_sender.files == 0 {
                state.senders.remove(&sender);
            }
        }
        state.settle(self.for_received());
    }

    fn budget(&self, state: &State, wanted: u64) -> SpoolError {
        SpoolError::Budget {
            wanted,
            reserved: state.reserved,
            max: self.max,
        }
    }
}

impl State {
    fn take(&mut self, number: u64, wanted: u64) {
        let Some(taken) = self.files.get_mut(&number) else {
            return;
        };
        taken.reserved += wanted;
        self.reserved += wanted;
        self.moves += 1;
        if let Some(Owner { sender, .. }) = taken.owner {
            let of_sender = self.senders.entry(sender).or_default();
            of_sender.reserved += wanted;
            of_sender.moves += 1;
        }
    }

    /// What is lacking for more room of a file that is received.
    fn lacking(&self, number: u64, wanted: u64, max: u64) -> Lacking {
        let owner = self.files.get(&number).and_then(|taken| taken.owner);
        if let Some(Owner { sender, share }) = owner {
            let reserved = self.senders.get(&sender).map_or(0, |of| of.reserved);
            if reserved.saturating_add(wanted) > share.0 {
                return Lacking::OfSender(sender);
            }
        }
        match self.reserved.saturating_add(wanted) > max {
            true => Lacking::OfAll,
            false => Lacking::Nothing,
        }
    }

    /// Gives room to those that wait; where none of the files can move any more, one gives up.
    fn settle(&mut self, max: u64) {
        self.serve(max);
        self.untie(max);
    }

    /// Gives room to those that wait, the oldest first. One that waits for its sender's holds up no other sender's.
    fn serve(&mut self, max: u64) {
        let mut held_up = HashSet::new();
        let waiting: Vec<u64> = self.waiting.iter().copied().collect();
        for number in waiting {
            let taken = self.files.get(&number);
            let Some((wanted, owner)) =
                taken.and_then(|taken| Some((taken.waits.as_ref()?.wanted, taken.owner?)))
            else {
                continue;
            };
            if held_up.contains(&owner.sender) {
                continue;
            }
            match self.lacking(number, wanted, max) {
                Lacking::OfAll => return,
                Lacking::OfSender(sender) => {
                    held_up.insert(sender);
                }
                Lacking::Nothing => {
                    self.take(number, wanted);
                    self.waiting.remove(&number);
                    self.tell(number, Turn::Granted);
                }
            }
        }
    }

    /// Of files that have all room of their kind and all wait, the youngest gives up; the oldest never does.
    fn untie(&mut self, max: u64) {
        let mut lacking = HashSet::new();
        for number in &self.waiting {
            if let Some(wait) = self
                .files
                .get(number)
                .and_then(|taken| taken.waits.as_ref())
            {
                lacking.insert(self.lacking(*number, wait.wanted, max));
            }
        }
        let yielding: BTreeSet<u64> = lacking
            .into_iter()
            .filter_map(|lacking| self.yields(lacking))
            .collect();
        for number in yielding {
            self.waiting.remove(&number);
            self.tell(number, Turn::GiveUp);
        }
    }

    /// The youngest file with room where all that have some of what is lacking wait, unless it is the oldest that waits.
    fn yields(&self, lacking: Lacking) -> Option<u64> {
        let concerned = |taken: &Taken| match lacking {
            Lacking::Nothing => false,
            Lacking::OfAll => true,
            Lacking::OfSender(sender) => taken.owner.is_some_and(|owner| owner.sender == sender),
        };
        let (mut oldest, mut youngest) = (None, None);
        for (number, taken) in self.files.iter().filter(|(_, taken)| concerned(taken)) {
            match taken.waits {
                Some(_) => oldest = oldest.or(Some(*number)),
                None if taken.reserved > 0 => return None,
                None => {}
            }
            if taken.reserved > 0 {
                youngest = Some(*number);
            }
        }
        youngest.filter(|_| oldest != youngest)
    }

    /// Ends the waiting of a file. One that waits no more ends, and gives back what it was given.
    fn tell(&mut self, number: u64, turn: Turn) {
        let taken = self.files.get_mut(&number);
        let wait = taken.and_then(|taken| taken.waits.take());
        let _is_told = wait.is_some_and(|wait| wait.turn.send(turn).is_ok());
    }
}

/// A file that waits; dropping it ends the waiting.
struct Waiting<'r> {
    room: &'r Room,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.room.state.lock();
        if state.waiting.remove(&self.number) {
            if let Some(taken) = state.files.get_mut(&self.number) {
                taken.waits = None;
            }
            state.settle(self.room.for_received());
        }
    }
}

#[cfg(test)]
mod tests;
