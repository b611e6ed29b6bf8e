//! Chunks that were come across.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::address_set::{AddressSet, SetOptions};

use super::need::NeedsError;

/// What the newest addresses of a set may take in memory.
const SET_BYTES: usize = 8 << 20;

/// The chunks that were come across.
pub(super) struct Seen {
    folder: PathBuf,
    addresses: AddressSet,
}

impl Seen {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            addresses: AddressSet::new(SetOptions {
                directory: folder.to_owned(),
                memory_bytes: SET_BYTES,
            }),
        }
    }

    pub(super) fn insert(&mut self, address: ChunkAddress) -> Result<bool, NeedsError> {
        let inserted = self.addresses.insert(address);
        inserted.map_err(failed(&self.folder))
    }

    /// Leaves in the list those that were not seen before.
    pub(super) fn insert_new(
        &mut self,
        addresses: &mut Vec<ChunkAddress>,
    ) -> Result<(), NeedsError> {
        let inserted = self.addresses.insert_new(addresses);
        inserted.map_err(failed(&self.folder))
    }
}

/// Says where something could not be noted.
pub(super) fn failed(folder: &Path) -> impl FnOnce(io::Error) -> NeedsError + use<> {
    let folder = folder.to_owned();
    move |source| NeedsError::Note { folder, source }
}
