//! The check that addresses ascend.

use super::DecodeError;
use crate::address::ChunkAddress;

/// Checks that addresses never go down. Equal ones may follow each other.
#[derive(Debug, Default)]
pub struct AddressOrder {
    last: Option<ChunkAddress>,
    position: u32,
}

impl AddressOrder {
    /// Takes the next address.
    pub fn check(&mut self, address: ChunkAddress) -> Result<(), DecodeError> {
        if self.last.is_some_and(|last| address < last) {
            return Err(DecodeError::Order {
                position: self.position,
            });
        }
        self.last = Some(address);
        self.position = self.position.saturating_add(1);
        Ok(())
    }
}
