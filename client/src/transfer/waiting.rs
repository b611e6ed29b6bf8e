//! What of a walk waits to be asked for, and how much of it is asked for at once.
//!
//! Leaves are many, have as good as nothing below them, and lie all over the files of a remote: they are asked for by the
//! ten thousands, so that what one read wants lies close together. Everything else is asked for the newest first and a
//! few at a time, so that what waits stays small however large the database: the siblings on the way down, 20 bytes
//! each.

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ReadError, children, leaves};

use super::error::TransferError;

/// How many chunks with something below them are asked for in one read.
const INNER: usize = 512;

/// How many such reads are under way at once.
const INNER_READS: usize = 4;

/// How many leaves are asked for in one read, where nothing lies below them. What is known of their places takes some
/// 150 bytes each.
const LEAVES: usize = 1 << 16;

/// How many are asked for in the first one; each that ended doubles it. Their places come before they do, and come again
/// if the line is cut meanwhile.
const FIRST_LEAVES: usize = 1 << 11;

/// How many such reads are under way at once: one is asked for while the other comes.
const LEAF_READS: usize = 2;

/// What a chunk is in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A leaf; what lies below it are values that were too long for it.
    Leaf,
    /// Anything else.
    Inner,
}

impl Kind {
    /// Both of them.
    pub(crate) const BOTH: [Self; 2] = [Self::Leaf, Self::Inner];
}

/// Chunks that others point at.
#[derive(Debug, Default)]
pub(crate) struct Below {
    inner: Vec<ChunkAddress>,
    leaves: Vec<ChunkAddress>,
}

/// Chunks that are asked for in one read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) kind: Kind,
    pub(crate) addresses: Vec<ChunkAddress>,
}

/// What waits, and what is under way.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiting: Below,
    inner_reads: usize,
    leaf_reads: usize,
    /// How many leaves are asked for at once, where nothing lies below them.
    leaves_at_once: usize,
    /// The leaves that came, and what they pointed at.
    leaves: usize,
    below_leaves: usize,
}

impl Below {
    /// Chunks of which nothing is known.
    pub(crate) fn inner(addresses: Vec<ChunkAddress>) -> Self {
        Self {
            inner: addresses,
            leaves: Vec::new(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_empty() && self.leaves.is_empty()
    }

    /// Those of a kind.
    pub(crate) fn of(&mut self, kind: Kind) -> &mut Vec<ChunkAddress> {
        match kind {
            Kind::Leaf => &mut self.leaves,
            Kind::Inner => &mut self.inner,
        }
    }

    /// Adds what a chunk points at.
    pub(crate) fn add_children(
        &mut self,
        address: ChunkAddress,
        chunk: &[u8],
    ) -> Result<(), TransferError> {
        let read = |source| ReadError::Decode { address, source };
        let kind = match leaves(chunk).map_err(read)?.is_some() {
            true => Kind::Leaf,
            false => Kind::Inner,
        };
        let list = self.of(kind);
        children(chunk, &mut |child| list.push(child)).map_err(read)?;
        Ok(())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.len() + self.leaves.len()
    }
}

impl Waiting {
    /// Nothing is under way yet.
    pub(crate) fn new(waiting: Below) -> Self {
        Self {
            waiting,
            inner_reads: 0,
            leaf_reads: 0,
            leaves_at_once: FIRST_LEAVES,
            leaves: 0,
            below_leaves: 0,
        }
    }

    /// Adds what is to be asked for.
    pub(crate) fn add(&mut self, mut below: Below) {
        self.waiting.inner.append(&mut below.inner);
        self.waiting.leaves.append(&mut below.leaves);
    }

    /// Notes what lay below as many chunks that came.
    pub(crate) fn learn(&mut self, kind: Kind, count: usize, below: &Below) {
        if kind == Kind::Leaf {
            self.leaves += count;
            self.below_leaves += below.len();
        }
    }

    /// A read ended.
    pub(crate) fn ended(&mut self, kind: Kind) {
        match kind {
            Kind::Leaf => {
                self.leaf_reads -= 1;
                self.leaves_at_once = (self.leaves_at_once * 2).min(LEAVES);
            }
            Kind::Inner => self.inner_reads -= 1,
        }
    }

    /// What is to be asked for now by one read, which is under way from then on.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let most = self.most_leaves();
        let Below { inner, leaves } = &mut self.waiting;
        let are_all = inner.is_empty() && self.inner_reads == 0;
        if self.leaf_reads < LEAF_READS && (leaves.len() >= most || are_all && !leaves.is_empty()) {
            self.leaf_reads += 1;
            return Some(Batch {
                kind: Kind::Leaf,
                addresses: newest(leaves, most),
            });
        }
        let is_much = leaves.len() >= most;
        if self.inner_reads < INNER_READS && !inner.is_empty() && !is_much {
            self.inner_reads += 1;
            return Some(Batch {
                kind: Kind::Inner,
                addresses: newest(inner, INNER),
            });
        }
        None
    }

    /// How many leaves are asked for at once: fewer where much lies below them, as all of that waits then.
    fn most_leaves(&self) -> usize {
        let each = self.below_leaves / self.leaves.max(1);
        (self.leaves_at_once / (1 + each)).max(INNER)
    }
}

fn newest(addresses: &mut Vec<ChunkAddress>, count: usize) -> Vec<ChunkAddress> {
    addresses.split_off(addresses.len().saturating_sub(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: usize) -> Vec<ChunkAddress> {
        let address = |number: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            ChunkAddress::new(bytes)
        };
        (0..count).map(address).collect()
    }

    fn below(inner: usize, leaves: usize) -> Below {
        Below {
            inner: addresses(inner),
            leaves: addresses(leaves),
        }
    }

    /// On a line that brought much.
    fn settled(below: Below) -> Waiting {
        Waiting {
            leaves_at_once: LEAVES,
            ..Waiting::new(below)
        }
    }

    fn batches(waiting: &mut Waiting) -> Vec<(Kind, usize)> {
        let batches = std::iter::from_fn(|| waiting.next_batch());
        batches
            .map(|batch| (batch.kind, batch.addresses.len()))
            .collect()
    }

    #[test]
    fn leaves_gather_while_there_are_nodes_above_some() {
        let mut waiting = Waiting::new(below(600, 40));
        let inner = [(Kind::Inner, 512), (Kind::Inner, 88)];
        assert_eq!(batches(&mut waiting), inner);
        waiting.ended(Kind::Inner);
        waiting.add(below(0, 60));
        assert_eq!(batches(&mut waiting), []);
        waiting.ended(Kind::Inner);
        assert_eq!(batches(&mut waiting), [(Kind::Leaf, 100)]);
    }

    #[test]
    fn many_leaves_are_asked_for_at_once_and_before_nodes() {
        let mut waiting = settled(below(9999, 5 * LEAVES));
        assert_eq!(batches(&mut waiting), [(Kind::Leaf, LEAVES); 2]);
        waiting.ended(Kind::Leaf);
        waiting.ended(Kind::Leaf);
        assert_eq!(batches(&mut waiting)[..2], [(Kind::Leaf, LEAVES); 2]);
        waiting.ended(Kind::Leaf);
        let rest = batches(&mut waiting);
        assert_eq!(rest[0], (Kind::Leaf, LEAVES));
    }

    #[test]
    fn more_leaves_are_asked_for_after_each_read_that_ended() {
        let mut waiting = Waiting::new(below(0, 9 * LEAVES));
        let mut most = 0;
        for doubled in 0..9 {
            let sizes = batches(&mut waiting);
            most = (FIRST_LEAVES << doubled).min(LEAVES);
            assert_eq!(sizes.last(), Some(&(Kind::Leaf, most)), "{doubled}");
            waiting.ended(Kind::Leaf);
        }
        assert_eq!(most, LEAVES);
    }

    #[test]
    fn nodes_are_asked_for_newest_first() {
        let mut waiting = Waiting::new(below(600, 0));
        let batch = waiting.next_batch().unwrap();
        assert_eq!(batch.addresses, addresses(600)[88..]);
    }

    #[test]
    fn fewer_leaves_are_asked_for_where_much_lies_below_them() {
        let mut waiting = settled(below(0, 5 * LEAVES));
        waiting.learn(Kind::Leaf, 100, &below(200, 100));
        waiting.learn(Kind::Inner, 100, &below(9999, 9999));
        assert_eq!(waiting.next_batch().unwrap().addresses.len(), LEAVES / 4);
        waiting.learn(Kind::Leaf, 1, &below(1_000_000, 0));
        assert_eq!(waiting.next_batch().unwrap().addresses.len(), INNER);
    }
}
