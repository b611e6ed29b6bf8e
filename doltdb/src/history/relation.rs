//! How two commits stand to each other.

use holdfast_chunkstore::ChunkAddress;

use super::History;
use super::front::{Front, Side};
use crate::error::ReadError;
use crate::source::ChunkSource;

/// How many commits two commits do not share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distance {
    /// How many are reached from the left one only, itself included.
    pub ahead: u64,
    /// How many are reached from the right one only, itself included.
    pub behind: u64,
    /// Whether a shallow clone left commits out that may count as well.
    pub is_cut: bool,
}

impl<S: ChunkSource + ?Sized> History<'_, S> {
    /// Whether a commit is an ancestor of another one, or the same. One read for each height between them.
    ///
    /// Of a ghost this is known only as far as somebody names it as a parent; a ghost has no known ancestors.
    pub async fn is_ancestor(
        &self,
        ancestor: ChunkAddress,
        descendant: ChunkAddress,
    ) -> Result<bool, ReadError> {
        if ancestor == descendant {
            return Ok(true);
        }
        // Below its own height an ancestor cannot be found.
        let lowest = match self.is_ghost(&ancestor) {
            true => 0,
            false => self.read(&[ancestor]).await?[0].height,
        };
        let mut front = Front::new(*self);
        front.add([(descendant, Side::Left, u64::MAX)]).await?;
        loop {
            let highest = front.pop_highest();
            match highest.first() {
                Some((commit, _)) if commit.height > lowest => {}
                _ => return Ok(false),
            }
            let mut parents = Vec::new();
            for (commit, side) in highest {
                if commit.parents.contains(&ancestor) {
                    return Ok(true);
                }
                parents.extend(commit.parents.iter().map(|at| (*at, side, commit.height)));
            }
            front.add(parents).await?;
        }
    }

    /// Returns how many commits are reached from `left` and not from `right`, and the other way round. Reads
    /// from both down to where all that is left is common.
    pub async fn ahead_behind(
        &self,
        left: ChunkAddress,
        right: ChunkAddress,
    ) -> Result<Distance, ReadError> {
        let mut distance = Distance::default();
        let mut front = Front::new(*self);
        let heads = [(left, Side::Left), (right, Side::Right)];
        let heads = heads.map(|(head, side)| (head, side, u64::MAX));
        front.add(heads).await?;
        while !front.is_common() {
            let mut parents = Vec::new();
            for (commit, side) in front.pop_highest() {
                distance.ahead += u64::from(side == Side::Left);
                distance.behind += u64::from(side == Side::Right);
                parents.extend(commit.parents.iter().map(|at| (*at, side, commit.height)));
            }
            front.add(parents).await?;
        }
        distance.is_cut = front.is_cut();
        Ok(distance)
    }
}
