//! What a chunk means: messages, the addresses they point at, refs, and the trees they are kept in.
//!
//! ```text
//! flat → message → children
//! ```
//!
//! Everything but the sources of chunks is pure: bytes in, values out.

mod children;
mod error;
mod flat;
mod message;
mod source;

pub use children::{ChildrenError, children, embedded};
pub use error::{DecodeError, ReadError, TreeFault};
pub use flat::FlatError;
pub use message::{FileId, Message, MessageKind};
pub use source::{ChunkSource, SourceError};
