//! What differs between two maps.
//!
//! Both trees are taken apart level by level, from the higher one's root down. At each level, subtrees that
//! stand in both are left out unread; what remains is read in batches and taken apart further. At level 0 the
//! remaining leaves are merged while they are read. So reads and memory follow the difference, not the maps:
//! besides a few nodes, only the places of differing leaves are held.
//!
//! A subtree that stands in both is left out only if the new map gives it no less room than the old one: its
//! last name is the same, and the name before it is not higher. Otherwise a forged map could hide a second
//! entry for a name below a subtree that nobody reads. The old map is taken as sound.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::{AddressMap, BATCH, Entry, Node, Subtree, load};
use crate::error::ReadError;
use crate::source::ChunkSource;

/// A name under which two maps differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: Bytes,
    /// What it stood for in the old map.
    pub old: Option<ChunkAddress>,
    /// What it stands for in the new map.
    pub new: Option<ChunkAddress>,
}

/// The differences between two maps, in the order of their names.
#[derive(Debug)]
pub struct AddressMapDiff<'s, S: ?Sized> {
    old: Side<'s, S>,
    new: Side<'s, S>,
}

impl<'s, S: ChunkSource + ?Sized> AddressMapDiff<'s, S> {
    /// Finds the leaves in which the dataset maps of two stores differ. Either store may be the empty one.
    pub async fn open(
        source: &'s S,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Self, ReadError> {
        let mut this = Self {
            old: Side::new(source),
            new: Side::new(source),
        };
        if old == new {
            return Ok(this);
        }
        let old = AddressMap::open(source, old).await?;
        let new = AddressMap::open(source, new).await?;
        if old.root() != new.root() {
            this.old.start(old.root());
            this.new.start(new.root());
            this.descend().await?;
        }
        Ok(this)
    }

    /// Takes both trees apart down to their leaves.
    async fn descend(&mut self) -> Result<(), ReadError> {
        loop {
            let (old, new) = (self.old.level, self.new.level);
            if old == new {
                leave_out_common(&mut self.old.subtrees, &mut self.new.subtrees);
                if old == 0 {
                    return Ok(());
                }
                futures::try_join!(self.old.expand(), self.new.expand())?;
            } else if old > new {
                self.old.expand().await?;
            } else {
                self.new.expand().await?;
            }
        }
    }

    /// Returns the next difference, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Change>, ReadError> {
        loop {
            let (old, new) = futures::try_join!(self.old.peek(), self.new.peek())?;
            let (old, new) = match (old, new) {
                (None, None) => return Ok(None),
                (Some(old), Some(new)) if old.name < new.name => (Some(old), None),
                (Some(old), Some(new)) if old.name > new.name => (None, Some(new)),
                both => both,
            };
            if old.is_some() {
                self.old.advance();
            }
            if new.is_some() {
                self.new.advance();
            }
            if old == new {
                continue;
            }
            let addresses = (
                old.as_ref().map(|entry| entry.address),
                new.as_ref().map(|entry| entry.address),
            );
            return Ok(old.or(new).map(|entry| Change {
                name: entry.name,
                old: addresses.0,
                new: addresses.1,
            }));
        }
    }
}

/// Removes the subtrees that stand in both maps.
fn leave_out_common(old: &mut VecDeque<Subtree>, new: &mut VecDeque<Subtree>) {
    let (mut old_rest, mut new_rest) = (VecDeque::new(), VecDeque::new());
    for subtree in std::mem::take(new) {
        while let Some(before) = old.pop_front_if(|old| old.last < subtree.last) {
            old_rest.push_back(before);
        }
        let same = old.pop_front_if(|old| {
            old.last == subtree.last && old.address == subtree.address && subtree.after <= old.after
        });
        if same.is_none() {
            new_rest.push_back(subtree);
        }
    }
    old_rest.append(old);
    (*old, *new) = (old_rest, new_rest);
}

/// One of the two maps: what of it may still differ.
#[derive(Debug)]
struct Side<'s, S: ?Sized> {
    source: &'s S,
    /// The level of `root` or of all `subtrees`.
    level: u8,
    /// The root node, which has no address of its own.
    root: Option<Node>,
    subtrees: VecDeque<Subtree>,
    /// Leaves that are read; the first is being walked.
    leaves: VecDeque<Node>,
    index: usize,
}

impl<'s, S: ChunkSource + ?Sized> Side<'s, S> {
    fn new(source: &'s S) -> Self {
        Self {
            source,
            level: 0,
            root: None,
            subtrees: VecDeque::new(),
            leaves: VecDeque::new(),
            index: 0,
        }
    }

    fn start(&mut self, root: Option<&Node>) {
        match root {
            Some(root) if root.level() == 0 => self.leaves.push_back(root.clone()),
            Some(root) => {
                self.level = root.level();
                self.root = Some(root.clone());
            }
            None => {}
        }
    }

    /// Replaces everything by its children.
    async fn expand(&mut self) -> Result<(), ReadError> {
        let mut children = VecDeque::new();
        if let Some(root) = self.root.take() {
            add_children(&root, None, &mut children);
        }
        while !self.subtrees.is_empty() {
            let batch: Vec<_> = self.next_batch().collect();
            let nodes = load(self.source, &batch).await?;
            for (subtree, node) in batch.iter().zip(&nodes) {
                add_children(node, subtree.after.as_ref(), &mut children);
            }
        }
        self.subtrees = children;
        self.level = self.level.saturating_sub(1);
        Ok(())
    }

    fn next_batch(&mut self) -> impl Iterator<Item = Subtree> {
        self.subtrees.drain(..self.subtrees.len().min(BATCH))
    }

    /// Returns the entry at which the walk over the leaves stands.
    async fn peek(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if let Some(leaf) = self.leaves.front() {
                if let (Some(name), Some(address)) =
                    (leaf.key(self.index), leaf.address(self.index))
                {
                    return Ok(Some(Entry { name, address }));
                }
                self.leaves.pop_front();
                self.index = 0;
            } else if self.subtrees.is_empty() {
                return Ok(None);
            } else {
                let batch: Vec<_> = self.subtrees.iter().take(BATCH).cloned().collect();
                self.leaves.extend(load(self.source, &batch).await?);
                self.subtrees.drain(..batch.len());
            }
        }
    }

    fn advance(&mut self) {
        self.index += 1;
    }
}

fn add_children(node: &Node, after: Option<&Bytes>, children: &mut VecDeque<Subtree>) {
    children.extend((0..node.len()).filter_map(|index| Subtree::child(node, index, after)));
}
