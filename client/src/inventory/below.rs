//! Everything that some chunks of a store reach.
//!
//! # Memory
//! Chunks are read a few at a time, the newest first: what waits is the siblings on the way down. With the number of
//! chunks grow only the filters of those that were seen, see [`AddressSet`]. Everything here blocks.

use std::path::Path;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::address_set::{AddressSet, SetOptions};
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::noms_dir::{NomsDir, Place, StoreError};
use holdfast_doltdb::children;

use super::error::{InventoryError, io};

/// How many chunks are read before those that they point at.
const BATCH: usize = 512;

/// What the newest of the addresses that were seen may take in memory; the rest goes to the disk.
const SEEN_IN_MEMORY: usize = 24 << 20;

/// What becomes of a chunk that is reached and is not there, or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faults {
    /// It ends the walk with an error.
    Refused,
    /// It is listed, and the walk does not go below it.
    Passed,
}

/// Lists each chunk that `heads` reach once, them included, in no order that means anything.
pub(super) fn walk(
    store: &NomsDir,
    heads: &[ChunkAddress],
    faults: Faults,
    directory: &Path,
    mut list: impl FnMut(ChunkAddress) -> Result<(), InventoryError>,
) -> Result<(), InventoryError> {
    let remember = || io("remember chunks in", directory);
    let mut seen = AddressSet::new(SetOptions {
        directory: directory.to_owned(),
        memory_bytes: SEEN_IN_MEMORY,
    });
    let mut waiting = heads.to_vec();
    seen.insert_new(&mut waiting).map_err(remember())?;
    let mut reader = Reader {
        store,
        decoder: Decoder::new(),
        chunk: Vec::new(),
    };
    while !waiting.is_empty() {
        let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
        for (address, place) in places(store, batch)? {
            match reader.children(address, place) {
                Ok(mut below) => {
                    seen.insert_new(&mut below).map_err(remember())?;
                    waiting.append(&mut below);
                }
                Err(_) if faults == Faults::Passed => {}
                Err(error) => return Err(error),
            }
            list(address)?;
        }
    }
    Ok(())
}

struct Reader<'a> {
    store: &'a NomsDir,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl Reader<'_> {
    /// What a chunk points at.
    fn children(
        &mut self,
        address: ChunkAddress,
        place: Option<Place>,
    ) -> Result<Vec<ChunkAddress>, InventoryError> {
        let place = place.ok_or(InventoryError::Lacks { address })?;
        self.chunk.clear();
        let read = (self.store).read_chunk(place, &mut self.decoder, &mut self.chunk);
        read.map_err(failed)?;
        let mut below = Vec::new();
        let told = children(&self.chunk, &mut |child| below.push(child));
        told.map_err(|source| InventoryError::Decode { address, source })?;
        Ok(below)
    }
}

/// Where chunks lie, in the order in which they lie there; those that are nowhere come last.
fn places(
    store: &NomsDir,
    addresses: Vec<ChunkAddress>,
) -> Result<Vec<(ChunkAddress, Option<Place>)>, InventoryError> {
    let mut found = Vec::with_capacity(addresses.len());
    for address in addresses {
        found.push((address, store.find(address).map_err(failed)?));
    }
    found.sort_unstable_by_key(|(_, place)| match place {
        Some(Place::File { file, span }) => (*file, span.data.offset),
        Some(Place::Journal { span }) => (usize::MAX, span.offset),
        None => (usize::MAX, u64::MAX),
    });
    Ok(found)
}

fn failed(source: StoreError) -> InventoryError {
    InventoryError::Store { source }
}
