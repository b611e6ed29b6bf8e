//! The chunk that roots a whole store.

use crate::error::DecodeError;
use crate::message::{Message, MessageKind};

/// A store root: its dataset map.
#[derive(Debug, Clone, Copy)]
pub struct StoreRoot<'a> {
    /// The root node of the map from dataset names to addresses, a whole message; nothing if there is none.
    pub dataset_map: Option<&'a [u8]>,
}

impl<'a> StoreRoot<'a> {
    /// Decodes the chunk of a store root; the map inside is not looked at. Without one it reads as empty, so that a
    /// store which has such a root can be given another; [`crate::children::children`] refuses it.
    pub fn decode(chunk: &'a [u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::StoreRoot)?;
        let dataset_map = message
            .table()?
            .bytes(0, "address_map")
            .map_err(DecodeError::in_message(message.kind()))?;
        Ok(Self {
            dataset_map: dataset_map.filter(|node| !node.is_empty()),
        })
    }
}
