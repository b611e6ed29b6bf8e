//! A map from names to addresses, read in order or by name.

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::walk::Walk;
use super::{Node, Subtree, load};
use crate::error::ReadError;
use crate::model::StoreRoot;
use crate::source::{self, ChunkSource};

/// A map whose root node is at hand.
#[derive(Debug, Clone)]
pub struct AddressMap<'s, S: ?Sized> {
    source: &'s S,
    /// Nothing for a store that has no root.
    root: Option<Node>,
}

/// A name and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Bytes,
    /// The address.
    pub address: ChunkAddress,
}

impl<'s, S: ChunkSource + ?Sized> AddressMap<'s, S> {
    /// Opens the dataset map of a store; that of the empty store is empty.
    pub async fn open(source: &'s S, root: RootAddress) -> Result<Self, ReadError> {
        let Some(address) = root.chunk() else {
            return Ok(Self { source, root: None });
        };
        let decode = |source| ReadError::Decode { address, source };
        let chunk = source::get_one(source, address).await?;
        let store_root = StoreRoot::decode(&chunk).map_err(decode)?;
        let root = store_root.dataset_map.map(Node::decode).transpose();
        Ok(Self {
            source,
            root: root.map_err(decode)?,
        })
    }

    /// Returns the root node.
    pub(super) fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// Looks a name up, with one read per level.
    pub async fn get(&self, name: &[u8]) -> Result<Option<ChunkAddress>, ReadError> {
        let Some(mut node) = self.root.clone() else {
            return Ok(None);
        };
        let mut after = None;
        loop {
            let index = node.lower_bound(name);
            if node.level() == 0 {
                let found = node.key(index).is_some_and(|key| key == name);
                return Ok(node.address(index).filter(|_| found));
            }
            let Some(child) = Subtree::child(&node, index, after.as_ref()) else {
                return Ok(None);
            };
            let mut nodes = load(self.source, std::slice::from_ref(&child)).await?;
            let Some(next) = nodes.pop() else {
                return Ok(None);
            };
            (node, after) = (next, child.after);
        }
    }

    /// Returns the entries in the order of their names.
    pub fn entries(&self) -> Entries<'s, S> {
        Entries {
            walk: Walk::new(self.source, self.root.clone()),
            leaf: None,
        }
    }
}

/// An ordered walk over a map. It holds a few nodes per level, however large the map is.
#[derive(Debug)]
pub struct Entries<'s, S: ?Sized> {
    walk: Walk<'s, S, Node>,
    leaf: Option<(Node, usize)>,
}

impl<S: ChunkSource + ?Sized> Entries<'_, S> {
    /// Returns the next entry, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if let Some((leaf, index)) = &mut self.leaf
                && let (Some(name), Some(address)) = (leaf.key(*index), leaf.address(*index))
            {
                *index += 1;
                return Ok(Some(Entry { name, address }));
            }
            self.leaf = self.walk.next_leaf().await?.map(|leaf| (leaf, 0));
            if self.leaf.is_none() {
                return Ok(None);
            }
        }
    }
}
