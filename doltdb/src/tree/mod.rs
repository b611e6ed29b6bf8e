//! Trees of sorted keys, kept as nodes of which each is a chunk.
//!
//! A leaf (level 0) holds the entries: [`AddressMap`] takes names to addresses, [`CommitClosure`] names a commit's
//! ancestors. An inner node takes the *last* key of each child to that child, whose level is one less. Equal
//! subtrees have equal addresses, which is what makes differences cheap.
//!
//! What is read is not trusted: levels must fall, keys must rise within a node and from node to node, and a
//! child must end with the key that its parent gives it. Without that, two readers of one tree could find
//! different addresses under one name.
//!
//! # Memory
//! A node holds copies of what it needs, never its chunk, and is refused if it is longer than any writer makes one. So
//! what is held does not depend on how long chunks are.

mod address_map;
mod closure_node;
mod commit_closure;
mod diff;
mod node;
mod walk;

pub use address_map::{AddressMap, Entries, Entry};
pub(crate) use closure_node::ClosureNode;
pub use commit_closure::{AncestorKey, Ancestors, CommitClosure};
pub use diff::{AddressMapDiff, Change};
pub use node::{MAX_LEVELS, Node};

use std::fmt;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::error::{DecodeError, ReadError, TreeFault};
use crate::source::{self, ChunkSource};

/// How many nodes are asked for at once.
const BATCH: usize = 32;

/// What the nodes of all trees have in common.
pub(crate) trait TreeNode: Sized + Clone + fmt::Debug {
    /// What entries are sorted by.
    type Key: Ord + Clone + fmt::Debug;

    /// Decodes a node whose keys rise.
    fn decode(chunk: &[u8]) -> Result<Self, DecodeError>;

    /// Returns the level; 0 is a leaf.
    fn level(&self) -> u8;

    /// Returns how many keys there are.
    fn len(&self) -> usize;

    /// Returns the key at `index`.
    fn key(&self, index: usize) -> Option<Self::Key>;

    /// Returns the child at `index` of an inner node.
    fn child(&self, index: usize) -> Option<ChunkAddress>;
}

impl TreeNode for Node {
    type Key = Bytes;

    fn decode(chunk: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(chunk)
    }

    fn level(&self) -> u8 {
        self.level()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn key(&self, index: usize) -> Option<Bytes> {
        self.key(index)
    }

    fn child(&self, index: usize) -> Option<ChunkAddress> {
        self.address(index)
    }
}

/// A node that is known by its parent and not read yet.
#[derive(Debug, Clone)]
struct Subtree<N: TreeNode = Node> {
    address: ChunkAddress,
    level: u8,
    /// The key that it must end with.
    last: N::Key,
    /// All its keys must lie above this one.
    after: Option<N::Key>,
}

impl<N: TreeNode> Subtree<N> {
    /// Returns the child at `index` of an inner node whose keys all lie above `after`.
    fn child(node: &N, index: usize, after: Option<&N::Key>) -> Option<Self> {
        let before = match index.checked_sub(1) {
            Some(before) => node.key(before),
            None => after.cloned(),
        };
        Some(Self {
            address: node.child(index)?,
            level: node.level().checked_sub(1)?,
            last: node.key(index)?,
            after: before,
        })
    }

    /// Checks that a node belongs here.
    fn check(&self, node: &N) -> Result<(), TreeFault> {
        if node.level() != self.level {
            return Err(TreeFault::Level {
                wanted: self.level,
                found: node.level(),
            });
        }
        let last = node.len().checked_sub(1).and_then(|last| node.key(last));
        let (Some(first), Some(last)) = (node.key(0), last) else {
            return Err(TreeFault::Empty);
        };
        if last != self.last {
            return Err(TreeFault::LastKey);
        }
        match &self.after {
            Some(after) if first <= *after => Err(TreeFault::FirstKey),
            _ => Ok(()),
        }
    }
}

/// Reads the nodes of some subtrees in one batch and checks that they belong there.
async fn load<S: ChunkSource + ?Sized, N: TreeNode>(
    source: &S,
    subtrees: &[Subtree<N>],
) -> Result<Vec<N>, ReadError> {
    let addresses: Vec<_> = subtrees.iter().map(|subtree| subtree.address).collect();
    let mut nodes = Vec::with_capacity(addresses.len());
    let show = |address, chunk: Option<Bytes>| {
        let chunk = chunk.ok_or(ReadError::Missing { address })?;
        let node = N::decode(&chunk).map_err(|source| ReadError::Decode { address, source })?;
        let checked = subtrees[nodes.len()].check(&node);
        checked.map_err(|fault| ReadError::Tree { address, fault })?;
        nodes.push(node);
        Ok(())
    };
    source::each(source, &addresses, show).await?;
    Ok(nodes)
}
