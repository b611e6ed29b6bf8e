//! Object store, index and log as one repository.

pub mod check;
pub mod entries;
pub mod error;
pub mod file;
pub mod layout;
pub mod log;
pub mod name;
pub mod receive;
pub mod record;
pub mod spool;
pub mod state;

pub use file::{DeclaredFile, FileKind, Md5, Sha256, StoredFile};
