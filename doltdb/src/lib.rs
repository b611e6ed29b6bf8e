//! What a chunk means: messages, the addresses they point at, refs, and the trees they are kept in.
//!
//! From a root address to a branch's head, in four steps: the root's chunk is a store root
//! ([`model::StoreRoot`]); inside it stands the root node of the dataset map ([`tree::AddressMap`]); the map
//! takes a dataset's name ([`RefName`]) to an address; the chunk there is a commit ([`model::Commit`]).
//!
//! ```text
//! flat → message → node_len → children → reach
//!                → model, tree::node → tree → { refs_diff → needs │ history }
//! flat → write
//! ```
//!
//! `message`, [`children`], [`model`] and [`tree::Node`] are pure: bytes in, values out. What reads several
//! chunks takes a [`ChunkSource`] and knows nothing of files, buckets or sockets.

mod children;
mod error;
mod flat;
pub mod history;
mod message;
pub mod model;
pub mod needs;
mod node_len;
mod reach;
mod ref_fault;
mod refs;
mod refs_diff;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tree;
pub mod write;

pub use children::{ChildrenError, Leaves, children, embedded, leaves, lists_ancestors};
pub use error::{DecodeError, ReadError, TreeFault};
pub use flat::FlatError;
pub use message::{FileId, Message, MessageKind};
pub use reach::{Reached, reach};
pub use ref_fault::{RefFault, unusable_refs};
pub use refs::{RefName, RefNameError};
pub use refs_diff::{RefChange, Refs, RefsDiff};
pub use source::{ChunkSource, SourceError};
