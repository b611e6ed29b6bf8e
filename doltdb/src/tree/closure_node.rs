//! One node of the tree of a commit's ancestors.

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use super::{AncestorKey, MAX_LEVELS, TreeNode};
use crate::error::DecodeError;
use crate::flat::{FlatError, Table};
use crate::message::{Message, MessageKind};
use crate::node_len;

/// Length of a key: a height, little-endian, and an address.
const KEY_LEN: usize = 28;

/// How long the keys of a node are at most. Dolt ends a node after some 16 KiB.
const MAX_KEYS_LEN: usize = 1 << 20;

/// A node whose keys rise. It holds no bytes of its chunk; cloning copies none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClosureNode {
    keys: Bytes,
    /// One for each key of an inner node; none in a leaf.
    children: Bytes,
    level: u8,
}

impl ClosureNode {
    fn from_table(table: Table<'_>) -> Result<Self, FlatError> {
        let contradiction = |field| FlatError::Contradiction { field };
        node_len::check(MessageKind::CommitClosure, table)?;
        let bytes = table.required_bytes(0, "key_items")?;
        let (keys, []) = bytes.as_chunks() else {
            return Err(FlatError::Length {
                field: "key_items",
                len_bytes: bytes.len(),
            });
        };
        // Walks hold some nodes of each level.
        if bytes.len() > MAX_KEYS_LEN {
            return Err(FlatError::Length {
                field: "key_items",
                len_bytes: bytes.len(),
            });
        }
        let children = table.addresses(1, "address_array")?;
        let level = table.u8(4, "tree_level")?;
        if level >= MAX_LEVELS || (level > 0 && keys.is_empty()) {
            return Err(contradiction("tree_level"));
        }
        if children.len() != if level > 0 { keys.len() } else { 0 } {
            return Err(contradiction("address_array"));
        }
        if !keys.is_sorted_by(|left, right| key(left) < key(right)) {
            return Err(contradiction("key_items"));
        }
        Ok(Self {
            keys: Bytes::copy_from_slice(bytes),
            children: Bytes::copy_from_slice(children.as_flattened()),
            level,
        })
    }
}

impl ClosureNode {
    /// The index of the first key that is not below `ancestor`; the length where all are.
    pub(super) fn lower_bound(&self, ancestor: AncestorKey) -> usize {
        let (keys, _) = self.keys.as_chunks();
        keys.partition_point(|bytes| key(bytes) < ancestor)
    }
}

impl TreeNode for ClosureNode {
    type Key = AncestorKey;

    fn decode(chunk: &[u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::CommitClosure)?;
        Self::from_table(message.table()?).map_err(DecodeError::in_message(message.kind()))
    }

    fn level(&self) -> u8 {
        self.level
    }

    fn len(&self) -> usize {
        self.keys.len() / KEY_LEN
    }

    fn key(&self, index: usize) -> Option<AncestorKey> {
        let (keys, _) = self.keys.as_chunks();
        keys.get(index).map(key)
    }

    fn child(&self, index: usize) -> Option<ChunkAddress> {
        let (children, _) = self.children.as_chunks::<20>();
        children.get(index).copied().map(ChunkAddress::new)
    }
}

fn key(bytes: &[u8; KEY_LEN]) -> AncestorKey {
    let [h0, h1, h2, h3, h4, h5, h6, h7, address @ ..] = *bytes;
    AncestorKey {
        height: u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]),
        address: ChunkAddress::new(address),
    }
}
