//! Trees of sorted names, kept as nodes of which each is a chunk.
//!
//! A leaf (level 0) takes names to addresses; an inner node takes the *last* name of each child to that child,
//! whose level is one less. Equal subtrees have equal addresses, which is what makes differences cheap.
//!
//! What is read is not trusted: levels must fall, names must rise within a node and from node to node, and a
//! child must end with the name that its parent gives it. Without that, two readers of one tree could find
//! different addresses under one name.

mod address_map;
mod diff;
mod node;

pub use address_map::{AddressMap, Entries, Entry};
pub use diff::{AddressMapDiff, Change};
pub use node::{MAX_LEVELS, Node};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::error::{ReadError, TreeFault};
use crate::source::{self, ChunkSource};

/// How many nodes are asked for at once.
const BATCH: usize = 32;

/// A node that is known by its parent and not read yet.
#[derive(Debug, Clone)]
struct Subtree {
    address: ChunkAddress,
    level: u8,
    /// The name that it must end with.
    last: Bytes,
    /// All its names must lie above this one.
    after: Option<Bytes>,
}

impl Subtree {
    /// Returns the child at `index` of an inner node whose names all lie above `after`.
    fn child(node: &Node, index: usize, after: Option<&Bytes>) -> Option<Self> {
        let before = match index.checked_sub(1) {
            Some(before) => node.key(before),
            None => after.cloned(),
        };
        Some(Self {
            address: node.address(index)?,
            level: node.level().checked_sub(1)?,
            last: node.key(index)?,
            after: before,
        })
    }

    /// Checks that a node belongs here.
    fn check(&self, node: &Node) -> Result<(), TreeFault> {
        if node.level() != self.level {
            return Err(TreeFault::Level {
                wanted: self.level,
                found: node.level(),
            });
        }
        let (Some(first), Some(last)) = (node.key(0), node.last_key()) else {
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
async fn load<S: ChunkSource + ?Sized>(
    source: &S,
    subtrees: &[Subtree],
) -> Result<Vec<Node>, ReadError> {
    let addresses: Vec<_> = subtrees.iter().map(|subtree| subtree.address).collect();
    let answers = source::get(source, &addresses).await?;
    let mut nodes = Vec::with_capacity(answers.len());
    for (subtree, chunk) in subtrees.iter().zip(answers) {
        let address = subtree.address;
        let chunk = chunk.ok_or(ReadError::Missing { address })?;
        let node = Node::decode(&chunk).map_err(|source| ReadError::Decode { address, source })?;
        let checked = subtree.check(&node);
        checked.map_err(|fault| ReadError::Tree { address, fault })?;
        nodes.push(node);
    }
    Ok(nodes)
}
