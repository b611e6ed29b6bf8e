//! Bytes and their addresses: Dolt's file formats, object stores, the chunk index, and a repository made of
//! them.
//!
//! ```text
//! address, id, error, clock, pool → format → { objects │ index } → { repo │ noms_dir } → testing
//!                                       neither sees the other    neither sees the other
//! ```
//!
//! This crate never names a commit, a table or a branch: what a chunk *means* is `holdfast-doltdb`'s subject.
//! Nothing under [`mod@format`] does I/O, is async, or reads a clock.

pub mod address;
pub mod address_set;
pub mod clock;
pub mod error;
pub mod format;
pub mod hash;
pub mod id;
pub mod index;
mod items;
pub mod lookup;
mod merge;
pub mod noms_dir;
pub mod objects;
pub mod open_files;
pub mod pool;
pub mod repo;
pub mod sort;
pub mod stored_index;
#[cfg(feature = "testing")]
pub mod testing;

pub use address::{ChunkAddress, RootAddress, TableFileId};
pub use error::ErrorKind;
