//! The leaves of a tree, one after the other.

use std::collections::VecDeque;

use super::{BATCH, Subtree, TreeNode, load};
use crate::error::ReadError;
use crate::source::ChunkSource;

/// An ordered walk over the leaves of a tree. It holds a few nodes per level, however large the tree is.
#[derive(Debug)]
pub(super) struct Walk<'s, S: ?Sized, N: TreeNode> {
    source: &'s S,
    frames: Vec<Frame<N>>,
    leaf: Option<N>,
}

/// An inner node on the way to the present leaf.
#[derive(Debug)]
struct Frame<N: TreeNode> {
    node: N,
    after: Option<N::Key>,
    /// The first child that is not read yet.
    next: usize,
    /// Children that are read and not walked yet.
    loaded: VecDeque<(N, Option<N::Key>)>,
}

impl<'s, S: ChunkSource + ?Sized, N: TreeNode> Walk<'s, S, N> {
    /// Begins in front of the first leaf below a root; a tree without a root has none.
    pub(super) fn new(source: &'s S, root: Option<N>) -> Self {
        let mut walk = Self {
            source,
            frames: Vec::new(),
            leaf: None,
        };
        if let Some(root) = root {
            walk.enter(root, None);
        }
        walk
    }

    fn enter(&mut self, node: N, after: Option<N::Key>) {
        if node.level() == 0 {
            self.leaf = Some(node);
        } else {
            self.frames.push(Frame {
                node,
                after,
                next: 0,
                loaded: VecDeque::new(),
            });
        }
    }

    /// Returns the next leaf, or nothing at the end.
    pub(super) async fn next_leaf(&mut self) -> Result<Option<N>, ReadError> {
        loop {
            if let Some(leaf) = self.leaf.take() {
                return Ok(Some(leaf));
            }
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            if frame.loaded.is_empty() {
                frame.load_more(self.source).await?;
            }
            match frame.loaded.pop_front() {
                Some((node, after)) => self.enter(node, after),
                None => {
                    self.frames.pop();
                }
            }
        }
    }
}

impl<N: TreeNode> Frame<N> {
    /// Reads the next few children; none at the end.
    async fn load_more<S: ChunkSource + ?Sized>(&mut self, source: &S) -> Result<(), ReadError> {
        let end = self.node.len().min(self.next + BATCH);
        let children: Vec<_> = (self.next..end)
            .filter_map(|index| Subtree::child(&self.node, index, self.after.as_ref()))
            .collect();
        if children.is_empty() {
            return Ok(());
        }
        let nodes = load(source, &children).await?;
        let afters = children.into_iter().map(|child| child.after);
        self.loaded.extend(nodes.into_iter().zip(afters));
        self.next = end;
        Ok(())
    }
}
