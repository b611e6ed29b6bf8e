//! A store's map from dataset names to addresses, and the store root around it.
//!
//! The shape of the tree depends on its entries alone, so it is built from all of them. Refs are few, next to rows.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::boundary::Splitter;
use super::messages;

/// The most bytes of names and addresses in one node.
const MAX_NODE_BYTES: usize = 65_535;

/// The longest name of a dataset: a node must hold one.
const MAX_NAME_BYTES: usize = MAX_NODE_BYTES - ChunkAddress::LEN;

/// A chunk that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChunk {
    /// Its address.
    pub address: ChunkAddress,
    /// Its bytes.
    pub bytes: Bytes,
}

impl NewChunk {
    /// A chunk under its address.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            address: hash_chunk(&bytes),
            bytes,
        }
    }
}

/// A store root and the chunks that it needs beside what its datasets point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// The root.
    pub root: RootAddress,
    /// Its chunk, and the nodes of the dataset map below it.
    pub chunks: Vec<NewChunk>,
}

/// A name that no map can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ref name of {len} bytes, where {MAX_NAME_BYTES} are allowed")]
pub struct NameTooLong {
    /// How long it is.
    pub len: usize,
}

/// Writes the store root of these datasets.
pub fn store_root(datasets: &BTreeMap<Bytes, ChunkAddress>) -> Result<NewRoot, NameTooLong> {
    let mut tree = TreeBuilder::default();
    for (name, address) in datasets {
        if name.len() > MAX_NAME_BYTES {
            return Err(NameTooLong { len: name.len() });
        }
        tree.append(0, name.clone(), *address, 1);
    }
    let (map, mut chunks) = tree.finish();
    let root = NewChunk::new(messages::store_root(&map));
    let address = root.address.into();
    chunks.push(root);
    Ok(NewRoot {
        root: address,
        chunks,
    })
}

/// Nodes that are not closed, the leaf first.
#[derive(Debug, Default)]
struct TreeBuilder {
    levels: Vec<Level>,
    closed: Vec<NewChunk>,
}

#[derive(Debug)]
struct Level {
    keys: Vec<Bytes>,
    addresses: Vec<ChunkAddress>,
    /// How many entries lie below each address.
    counts: Vec<u64>,
    bytes: usize,
    splitter: Splitter,
}

impl Level {
    fn new(level: usize) -> Self {
        Self {
            keys: Vec::new(),
            addresses: Vec::new(),
            counts: Vec::new(),
            bytes: 0,
            splitter: Splitter::new(u8::try_from(level).unwrap_or(u8::MAX)),
        }
    }

    fn encode(&self, level: usize) -> Vec<u8> {
        let keys = self.keys.iter().map(Bytes::as_ref);
        let entries: Vec<_> = keys.zip(self.addresses.iter().copied()).collect();
        let counts = (level > 0).then_some(&self.counts[..]);
        messages::address_map(&entries, u8::try_from(level).unwrap_or(u8::MAX), counts)
    }
}

impl TreeBuilder {
    fn append(&mut self, level: usize, key: Bytes, address: ChunkAddress, count: u64) {
        if self.levels.len() == level {
            self.levels.push(Level::new(level));
        }
        let size = key.len() + ChunkAddress::LEN;
        if self.levels[level].bytes + size > MAX_NODE_BYTES {
            self.close(level);
        }
        let open = &mut self.levels[level];
        open.bytes += size;
        let is_boundary = open.splitter.add(&key, ChunkAddress::LEN);
        open.keys.push(key);
        open.addresses.push(address);
        open.counts.push(count);
        // An inner node of one child would make the tree higher for nothing.
        if is_boundary && (level == 0 || open.keys.len() > 1) {
            self.close(level);
        }
    }

    /// Writes the open node of a level, and enters it into the level above.
    fn close(&mut self, level: usize) {
        let mut full = std::mem::replace(&mut self.levels[level], Level::new(level));
        let node = NewChunk::new(full.encode(level));
        let address = node.address;
        self.closed.push(node);
        let count = full.counts.iter().sum();
        if let Some(last) = full.keys.pop() {
            self.append(level + 1, last, address, count);
        }
    }

    /// Returns the root node, and the nodes below it.
    fn finish(mut self) -> (Vec<u8>, Vec<NewChunk>) {
        let mut level = 0;
        while self
            .levels
            .iter()
            .skip(level + 1)
            .any(|above| !above.keys.is_empty())
        {
            if !self.levels[level].keys.is_empty() {
                self.close(level);
            }
            level += 1;
        }
        let Some(top) = self.levels.get(level) else {
            return (Level::new(0).encode(0), Vec::new());
        };
        let root = top.encode(level);
        if level == 0 || top.keys.len() > 1 {
            return (root, self.closed);
        }
        // A root of one child is none: the child is.
        let mut child = top.addresses[0];
        let mut nodes: HashMap<ChunkAddress, Bytes> = (self.closed.drain(..))
            .map(|node| (node.address, node.bytes))
            .collect();
        while let Some(node) = nodes.remove(&child) {
            match only_child(&node) {
                Some(next) => child = next,
                None => {
                    let rest = nodes.into_iter();
                    let rest = rest.map(|(address, bytes)| NewChunk { address, bytes });
                    return (node.to_vec(), rest.collect());
                }
            }
        }
        (root, Vec::new())
    }
}

/// The child of an inner node that has one.
fn only_child(node: &Bytes) -> Option<ChunkAddress> {
    let node = crate::tree::Node::decode(node).ok()?;
    match (node.level(), node.len()) {
        (1.., 1) => node.address(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, MessageKind};

    #[test]
    fn the_specified_vectors_come_out() {
        let address = |text: &str| text.parse::<ChunkAddress>().unwrap();
        let commit = address("2v2039uob9h4eobbpi82mvkifs9tbla4");
        let datasets = BTreeMap::from([(Bytes::from_static(b"refs/heads/main"), commit)]);
        let written = store_root(&datasets).unwrap();
        assert_eq!(
            written.root,
            "onn9ajae7iasindqtsdj01rqku261i5q".parse().unwrap()
        );
        assert_eq!(written.chunks.len(), 1);
        let empty = Level::new(0).encode(0);
        assert_eq!(
            hash_chunk(&empty),
            address("o0te4bsh307ieff51bhqo7omuobm5cdc")
        );
        let root = address("vt5n73lho7q40t91ucetlr9qv4eqhasl");
        let working_set = messages::clean_working_set(root, None);
        assert_eq!(
            hash_chunk(&working_set),
            address("d80va1o849mo7s41tikr82jdb47thrjv")
        );
    }

    #[test]
    fn a_map_of_many_names_is_a_tree_with_all_of_them() {
        let name = |number: u32| Bytes::from(format!("refs/heads/customer-{number:05}"));
        let datasets: BTreeMap<_, _> = (0..20_000)
            .map(|number| (name(number), hash_chunk(&number.to_be_bytes())))
            .collect();
        let written = store_root(&datasets).unwrap();
        let leaves = written.chunks.iter().filter(|chunk| {
            let message = Message::decode(&chunk.bytes).unwrap();
            message.kind() == MessageKind::AddressMap
        });
        assert!(leaves.count() > 100);
    }
}
