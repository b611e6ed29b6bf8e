//! Databases made up for tests, without Dolt. Feature `testing`.

pub mod fuzz;
pub mod messages;
mod tiny;

pub use tiny::TinyDb;

use holdfast_chunkstore::ChunkAddress;
use sha2::{Digest as _, Sha512};

/// Returns the address of a chunk.
pub fn address_of(chunk: &[u8]) -> ChunkAddress {
    let hash = Sha512::digest(chunk);
    let (address, _) = hash
        .split_first_chunk::<20>()
        .expect("a SHA-512 has 64 bytes");
    ChunkAddress::new(*address)
}
