//! The chunks that a walk came across, however many there are.
//!
//! # Memory
//! [`MEMORY_BYTES`], and 1.3 bytes for each chunk beyond some hundred thousands. Those lie in files without a name in
//! the folder of the transfer. Everything here blocks.

use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::address_set::{AddressSet, SetOptions};
use holdfast_chunkstore::noms_dir::StoreError;

/// What the newest addresses may take in memory.
const MEMORY_BYTES: usize = 8 << 20;

/// What is said to have been attempted when the set fails.
const ACTION: &str = "remember chunks in";

/// Chunks that were come across.
#[derive(Debug)]
pub(crate) struct Seen {
    folder: PathBuf,
    addresses: AddressSet,
}

impl Seen {
    /// Begins with none. The folder must be there when there are more than fit into memory.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            addresses: AddressSet::new(SetOptions {
                directory: folder.to_owned(),
                memory_bytes: MEMORY_BYTES,
            }),
        }
    }

    /// Notes a chunk. Returns whether it was not seen before.
    pub(crate) fn insert(&mut self, address: ChunkAddress) -> Result<bool, StoreError> {
        let inserted = self.addresses.insert(address);
        inserted.map_err(StoreError::io(ACTION, &self.folder))
    }

    /// Notes chunks, and leaves in the list those that were not seen before, each once.
    pub(crate) fn insert_new(
        &mut self,
        addresses: &mut Vec<ChunkAddress>,
    ) -> Result<(), StoreError> {
        let inserted = self.addresses.insert_new(addresses);
        inserted.map_err(StoreError::io(ACTION, &self.folder))
    }

    /// Whether a chunk was seen.
    pub(crate) fn contains(&self, address: ChunkAddress) -> Result<bool, StoreError> {
        let found = self.addresses.contains(address);
        found.map_err(StoreError::io(ACTION, &self.folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_is_new_once_and_the_folder_is_named_when_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("gone");
        let mut seen = Seen::new(&folder);
        let (first, second) = (ChunkAddress::new([1; 20]), ChunkAddress::new([2; 20]));
        assert!(seen.insert(first).unwrap());
        let mut list = vec![second, first, second];
        seen.insert_new(&mut list).unwrap();
        assert_eq!(list, [second]);
        assert!(seen.contains(second).unwrap());
        assert!(!seen.contains(ChunkAddress::new([3; 20])).unwrap());

        let mut numbers = 0..u64::MAX;
        let error = loop {
            let mut address = [7; 20];
            let number = numbers.next().unwrap();
            address[..8].copy_from_slice(&number.to_be_bytes());
            match seen.insert(ChunkAddress::new(address)) {
                Ok(is_new) => assert!(is_new),
                Err(error) => break error,
            }
            assert!(number * 20 < 2 * MEMORY_BYTES as u64, "memory is bounded");
        };
        let said = format!("could not remember chunks in {}", folder.display());
        assert_eq!(error.to_string(), said);
    }
}
