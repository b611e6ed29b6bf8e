//! Databases made up for tests, without Dolt. Feature `testing`.

pub mod fuzz;
pub mod messages;
mod tiny;

pub use tiny::TinyDb;

use holdfast_chunkstore::ChunkAddress;
use sha2::{Digest as _, Sha512};

/// How many bytes the longest node in a chunk, which may be one itself, has beside its contents; nothing where there is
/// no node.
pub fn slack(chunk: &[u8]) -> Option<usize> {
    let inside = crate::embedded(chunk).ok()?;
    let messages = inside.into_iter().flatten().chain(Some(chunk));
    let slack = |message| {
        let message = crate::Message::decode(message).ok()?;
        crate::node_len::slack(message.kind(), message.table().ok()?)
    };
    messages.filter_map(slack).max()
}

/// Returns the address of a chunk.
pub fn address_of(chunk: &[u8]) -> ChunkAddress {
    let hash = Sha512::digest(chunk);
    let (address, _) = hash
        .split_first_chunk::<20>()
        .expect("a SHA-512 has 64 bytes");
    ChunkAddress::new(*address)
}
