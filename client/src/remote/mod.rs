//! Where databases are cloned from: servers of Dolt's remotes API, and directories.

pub mod credentials;
mod error;
mod retry;
mod server;
mod url;

pub use error::RemoteError;
pub(crate) use retry::Budget;
pub use server::{FileBody, Metadata, Server};
pub use url::{DEFAULT_HOST, RemoteUrl, ServerUrl, UrlError};

use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::{RootAddress, TableFileId};

/// The files of a remote at one moment, and the root that is in them.
#[derive(Debug, Clone)]
pub struct ListedFiles {
    /// The root.
    pub root: RootAddress,
    /// The files.
    pub files: Vec<RemoteFile>,
}

/// A file of a remote.
#[derive(Clone)]
pub struct RemoteFile {
    /// Its id.
    pub id: TableFileId,
    /// How many chunks the remote says are in it.
    pub chunks: u32,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Where its bytes are. Whoever has it can read them, so it is never shown.
    pub(crate) url: String,
}

impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteFile")
            .field("id", &self.id)
            .field("chunks", &self.chunks)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
