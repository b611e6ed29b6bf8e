//! The line between commits that are done and those that are not.
//!
//! Commits leave it by falling height. Since a commit's ancestors all have smaller heights, none that left can
//! come again, and nobody needs to remember what was seen.

use std::collections::{BTreeMap, HashMap};

use holdfast_chunkstore::ChunkAddress;

use super::{History, WalkedCommit};
use crate::error::ReadError;
use crate::source::ChunkSource;

/// From which of two commits another one is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

impl Side {
    fn join(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}

/// What commits leave a front by, the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    height: u64,
    at_millis: i64,
    address: ChunkAddress,
}

/// Commits that are read and whose parents are not looked at yet.
#[derive(Debug)]
pub(super) struct Front<'s, S: ?Sized> {
    history: History<'s, S>,
    waiting: BTreeMap<Order, WalkedCommit>,
    /// The height of each commit that waits, and from where it is reached.
    reached: HashMap<ChunkAddress, (u64, Side)>,
    /// How many commits wait that are reached from one side only.
    one_sided: usize,
    /// Whether a ghost was left out that is reached from one side only.
    is_cut: bool,
}

impl<'s, S: ChunkSource + ?Sized> Front<'s, S> {
    pub(super) fn new(history: History<'s, S>) -> Self {
        Self {
            history,
            waiting: BTreeMap::new(),
            reached: HashMap::new(),
            one_sided: 0,
            is_cut: false,
        }
    }

    /// Whether no commit waits that is reached from one side only.
    pub(super) fn is_common(&self) -> bool {
        self.one_sided == 0
    }

    /// Whether a ghost was left out that is reached from one side only, as far as commits came.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Adds commits, each with the side it is reached from and the height that it must be below, and reads those
    /// that do not wait already. Ghosts are left out.
    pub(super) async fn add(
        &mut self,
        links: impl IntoIterator<Item = (ChunkAddress, Side, u64)>,
    ) -> Result<(), ReadError> {
        let mut fresh: HashMap<ChunkAddress, (u64, Side)> = HashMap::new();
        let mut order = Vec::new();
        for (address, side, below) in links {
            if self.history.is_ghost(&address) {
                self.is_cut |= side != Side::Both;
                continue;
            }
            if let Some((height, reached)) = self.reached.get_mut(&address) {
                check_height(address, *height, below)?;
                let joined = reached.join(side);
                self.one_sided -= usize::from(joined != *reached);
                *reached = joined;
                continue;
            }
            let known = fresh.entry(address).or_insert_with(|| {
                order.push(address);
                (below, side)
            });
            *known = (known.0.min(below), known.1.join(side));
        }
        for commit in self.history.read(&order).await? {
            let (below, side) = fresh[&commit.address];
            check_height(commit.address, commit.height, below)?;
            self.reached.insert(commit.address, (commit.height, side));
            self.one_sided += usize::from(side != Side::Both);
            let order = Order {
                height: commit.height,
                at_millis: commit.at_millis,
                address: commit.address,
            };
            self.waiting.insert(order, commit);
        }
        Ok(())
    }

    /// Takes all commits of the greatest height, the latest first.
    pub(super) fn pop_highest(&mut self) -> Vec<(WalkedCommit, Side)> {
        let mut highest = Vec::new();
        let Some(height) = self.waiting.last_key_value().map(|(order, _)| order.height) else {
            return highest;
        };
        while let Some(last) = self.waiting.last_entry()
            && last.key().height == height
        {
            let commit = last.remove();
            if let Some((_, side)) = self.reached.remove(&commit.address) {
                self.one_sided -= usize::from(side != Side::Both);
                highest.push((commit, side));
            }
        }
        highest
    }
}

pub(super) fn check_height(
    address: ChunkAddress,
    height: u64,
    below: u64,
) -> Result<(), ReadError> {
    if height < below {
        Ok(())
    } else {
        Err(ReadError::Height {
            address,
            height,
            below,
        })
    }
}
