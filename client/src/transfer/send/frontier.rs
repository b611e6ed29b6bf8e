//! What the walk of a push came across and has not asked for, and how much of it is asked for at once.
//!
//! Leaves first, as nothing waits for what is settled; of the others so many at once that what lies below them is not
//! too much: it waits in memory.

use holdfast_chunkstore::ChunkAddress;

use crate::transfer::waiting::{Below, Kind};

/// How many chunks that lie below those of one call wait, about.
const MANY: usize = 100_000;

/// As many are asked for in any case, if they are there.
const FEW: usize = 512;

/// What waits.
#[derive(Debug)]
pub(super) struct Frontier {
    waiting: Below,
    /// How many chunks in one call.
    batch: usize,
    /// The nodes that came, and how many chunks lay below them.
    nodes: usize,
    below_nodes: usize,
}

impl Frontier {
    /// Begins with chunks of which nothing is known; asks for at most `batch` in one call.
    pub(super) fn new(roots: &[ChunkAddress], batch: usize) -> Self {
        Self {
            waiting: Below::inner(roots.to_vec()),
            batch,
            nodes: 1,
            below_nodes: 0,
        }
    }

    /// Adds what lies below `nodes` chunks that came.
    pub(super) fn add(&mut self, nodes: usize, mut below: Below) {
        self.nodes += nodes;
        for kind in Kind::BOTH {
            let addresses = below.of(kind);
            self.below_nodes += addresses.len();
            self.waiting.of(kind).append(addresses);
        }
    }

    /// What is asked for next; nothing if nothing waits.
    pub(super) fn next_batch(&mut self) -> Option<Vec<ChunkAddress>> {
        let (few, inner) = (FEW.min(self.batch), self.inner_batch());
        let leaves = self.waiting.of(Kind::Leaf).len();
        let (kind, count) = match self.waiting.of(Kind::Inner).is_empty() {
            false if leaves < few => (Kind::Inner, inner),
            _ => (Kind::Leaf, self.batch),
        };
        let addresses = self.waiting.of(kind);
        let batch = addresses.split_off(addresses.len().saturating_sub(count));
        (!batch.is_empty()).then_some(batch)
    }

    fn inner_batch(&self) -> usize {
        let each = self.below_nodes / self.nodes;
        (MANY / each.max(1)).max(FEW).min(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: usize) -> Vec<ChunkAddress> {
        vec![ChunkAddress::new([1; 20]); count]
    }

    fn below(inner: usize, leaves: usize) -> Below {
        let mut below = Below::inner(addresses(inner));
        *below.of(Kind::Leaf) = addresses(leaves);
        below
    }

    #[test]
    fn few_nodes_are_asked_for_where_much_lies_below_each_and_leaves_before_them() {
        let mut frontier = Frontier::new(&addresses(9000), 8192);
        let mut next = || frontier.next_batch().map_or(0, |batch| batch.len());
        assert_eq!(next(), 8192);
        assert_eq!(next(), 808);
        frontier.add(99, below(9000, 9000));
        let mut next = || frontier.next_batch().map_or(0, |batch| batch.len());
        assert_eq!([next(), next()], [8192, 808]);
        assert_eq!(next(), 100_000 / 180);
        frontier.add(0, below(0, 511));
        let mut sizes: Vec<usize> = Vec::new();
        while let Some(batch) = frontier.next_batch() {
            sizes.push(batch.len());
        }
        assert_eq!(sizes.last(), Some(&511), "{sizes:?}");
    }
}
