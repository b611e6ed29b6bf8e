//! Object store, index and log as one repository.

pub mod file;

pub use file::{DeclaredFile, FileKind, Md5, Sha256, StoredFile};
