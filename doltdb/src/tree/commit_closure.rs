//! The tree of all ancestors of a commit.

use holdfast_chunkstore::ChunkAddress;

use super::walk::Walk;
use super::{ClosureNode, Subtree, TreeNode as _, load};
use crate::error::ReadError;
use crate::source::{self, ChunkSource};

/// An ancestor as a closure names it. Sorted by height first, then by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AncestorKey {
    /// The commit's height.
    pub height: u64,
    /// The commit's address.
    pub address: ChunkAddress,
}

/// All ancestors of a commit, without itself, whose root node is at hand.
///
/// A closure is what the commit's writer says; nothing proves it but a walk over all parents.
#[derive(Debug, Clone)]
pub struct CommitClosure<'s, S: ?Sized> {
    source: &'s S,
    /// Nothing for a commit without parents.
    root: Option<ClosureNode>,
}

impl<'s, S: ChunkSource + ?Sized> CommitClosure<'s, S> {
    /// Opens the closure that a commit names; that of a commit that names none is empty.
    pub async fn open(source: &'s S, root: Option<ChunkAddress>) -> Result<Self, ReadError> {
        let Some(address) = root else {
            return Ok(Self { source, root: None });
        };
        let chunk = source::get_one(source, address).await?;
        let root = ClosureNode::decode(&chunk);
        let root = root.map_err(|source| ReadError::Decode { address, source })?;
        Ok(Self {
            source,
            root: Some(root),
        })
    }

    /// Whether an ancestor is in it, with one read per level below the root.
    pub async fn contains(&self, ancestor: AncestorKey) -> Result<bool, ReadError> {
        let Some(mut node) = self.root.clone() else {
            return Ok(false);
        };
        let mut after = None;
        loop {
            let index = node.lower_bound(ancestor);
            if node.level() == 0 {
                return Ok(node.key(index) == Some(ancestor));
            }
            let Some(child) = Subtree::child(&node, index, after.as_ref()) else {
                return Ok(false);
            };
            let mut nodes = load(self.source, std::slice::from_ref(&child)).await?;
            let Some(next) = nodes.pop() else {
                return Ok(false);
            };
            (node, after) = (next, child.after);
        }
    }

    /// Returns the ancestors, the lowest first.
    pub fn ancestors(&self) -> Ancestors<'s, S> {
        Ancestors {
            walk: Walk::new(self.source, self.root.clone()),
            leaf: None,
        }
    }
}

/// An ordered walk over a closure. It holds a few nodes per level, however large the closure is.
#[derive(Debug)]
pub struct Ancestors<'s, S: ?Sized> {
    walk: Walk<'s, S, ClosureNode>,
    leaf: Option<(ClosureNode, usize)>,
}

impl<S: ChunkSource + ?Sized> Ancestors<'_, S> {
    /// Returns the next ancestor, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<AncestorKey>, ReadError> {
        loop {
            if let Some((leaf, index)) = &mut self.leaf
                && let Some(key) = leaf.key(*index)
            {
                *index += 1;
                return Ok(Some(key));
            }
            self.leaf = self.walk.next_leaf().await?.map(|leaf| (leaf, 0));
            if self.leaf.is_none() {
                return Ok(None);
            }
        }
    }
}
