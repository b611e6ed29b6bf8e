//! One node of an address map.

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::error::DecodeError;
use crate::flat::{FlatError, Table, U16s};
use crate::message::{Message, MessageKind};
use crate::node_len;

/// How many levels a tree may have. Dolt has salts for the boundaries of as many.
pub const MAX_LEVELS: u8 = 15;

/// A node whose names rise and which has one address for each. It holds no bytes of its chunk; cloning copies none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    keys: Bytes,
    /// One 16-bit number more than there are names, little-endian.
    offsets: Bytes,
    addresses: Bytes,
    level: u8,
}

impl Node {
    /// Decodes a node of an address map, and checks that its names rise and its addresses are whole.
    pub fn decode(chunk: &[u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::AddressMap)?;
        Self::from_table(message.table()?).map_err(DecodeError::in_message(message.kind()))
    }

    fn from_table(table: Table<'_>) -> Result<Self, FlatError> {
        let contradiction = |field| FlatError::Contradiction { field };
        node_len::check(MessageKind::AddressMap, table)?;
        let keys = table.required_bytes(0, "key_items")?;
        let offsets = table.u16s(1, "key_offsets")?;
        let addresses = table.addresses(2, "address_array")?;
        let level = table.u8(5, "tree_level")?;
        if level >= MAX_LEVELS || (level > 0 && addresses.is_empty()) {
            return Err(contradiction("tree_level"));
        }
        // The first offset is zero and the last is the length, so that the names are exactly the items.
        if offsets.len() != addresses.len() + 1
            || offsets.get(0) != Some(0)
            || offsets.get(addresses.len()).map(usize::from) != Some(keys.len())
        {
            return Err(contradiction("key_offsets"));
        }
        let mut before: Option<&[u8]> = None;
        for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
            let key = keys
                .get(usize::from(start)..usize::from(end))
                .ok_or_else(|| contradiction("key_offsets"))?;
            if before.is_some_and(|before| key <= before) {
                return Err(contradiction("key_items"));
            }
            before = Some(key);
        }
        Ok(Self {
            keys: Bytes::copy_from_slice(keys),
            offsets: Bytes::copy_from_slice(offsets.as_bytes()),
            addresses: Bytes::copy_from_slice(addresses.as_flattened()),
            level,
        })
    }

    /// Returns the level; 0 is a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Returns how many names there are.
    pub fn len(&self) -> usize {
        self.addresses.len() / ChunkAddress::LEN
    }

    /// Whether there is no name, which only the root of an empty map has.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Returns the name at `index`.
    pub fn key(&self, index: usize) -> Option<Bytes> {
        let offsets = U16s::new(&self.offsets);
        let (start, end) = (offsets.get(index)?, offsets.get(index + 1)?);
        Some(self.keys.slice(usize::from(start)..usize::from(end)))
    }

    /// Returns the last name.
    pub fn last_key(&self) -> Option<Bytes> {
        self.key(self.len().checked_sub(1)?)
    }

    /// Returns the address at `index`: a leaf's value, or an inner node's child.
    pub fn address(&self, index: usize) -> Option<ChunkAddress> {
        let (addresses, _) = self.addresses.as_chunks::<20>();
        addresses.get(index).copied().map(ChunkAddress::new)
    }

    /// Returns the index of the first name that is not below `name`.
    pub fn lower_bound(&self, name: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle) {
                Some(key) if key.as_ref() < name => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}
