//! Writing what a ref update needs, byte for byte as Dolt does: dataset maps, store roots, working sets.

mod boundary;
mod dataset_map;
pub mod messages;

pub use dataset_map::{NameTooLong, NewChunk, NewRoot, store_root};
