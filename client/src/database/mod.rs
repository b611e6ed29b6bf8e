//! A Dolt database in a directory.
//!
//! ```text
//! <dir>/.dolt_safe_to_ignore    while it is being made: Dolt's processes pass it by
//! <dir>/.dolt/config.json       settings of this database
//! <dir>/.dolt/repo_state.json   branch, remotes; written last, for without it there is no database
//! <dir>/.dolt/noms/             its chunks and its root
//! ```

mod folder_lock;
mod kept_form;
mod remotes;
mod repo_state;
mod settings;
mod source;
mod state_text;
mod unfinished;
mod upstreams;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::pool::BlockingPool;

pub use folder_lock::{FolderLock, LockError};
pub(crate) use kept_form::check_form;
pub(crate) use remotes::{add_remote, remove_remote, set_remote_url};
pub use repo_state::{RemoteEntry, RepoState, Upstream};
pub use settings::DoltSettings;
pub use source::StoreSource;
pub(crate) use state_text::change_state;
pub use unfinished::Unfinished;
pub(crate) use upstreams::set_upstreams;

/// The directory in a database's directory where everything lies.
const DOLT: &str = ".dolt";

/// The permissions that a file of ours can have: it is nothing that is run.
const FILE_MODE: u32 = 0o666;

/// Says, among what we keep of transfers, what was moved here.
const MOVED: &str = "moved";

/// Says that a database is being made.
const UNFINISHED: &str = ".dolt_safe_to_ignore";

/// Why a database's directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no database.
    #[error("could not find a Dolt database in {}", path.display())]
    None {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of Dolt's that is not what it should be.
    #[error("could not read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What a later version left to go on with.
    #[error(
        "could not go on with what lies in {}: it is of form {form}, which a newer holdfast left; go on with that one, or remove the folder to begin anew",
        path.display()
    )]
    NewerForm {
        /// Which folder.
        path: PathBuf,
        /// What it says of its form.
        form: String,
    },
    /// Its store cannot be used.
    #[error("{source}")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl DatabaseError {
    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::None { .. } => Some("name the directory of a database with -C"),
            Self::File { .. } => Some("put that file right: it holds a JSON object"),
            _ => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => kind_of_io(source),
            Self::None { .. } => ErrorKind::NotFound,
            Self::File { .. } => ErrorKind::Corrupt,
            Self::NewerForm { .. } => ErrorKind::Refused,
            Self::Store { source } => source.kind(),
        }
    }
}

/// The class of what the system said.
fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ErrorKind::Denied
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        std::io::ErrorKind::NotADirectory => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    }
}

/// Says what was attempted on what.
pub(crate) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> DatabaseError + 'a {
    move |source| DatabaseError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Where the parts of a database lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabasePaths {
    directory: PathBuf,
}

impl DatabasePaths {
    /// Those of a database in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `.dolt`.
    pub fn dolt(&self) -> PathBuf {
        self.directory.join(DOLT)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.dolt().join("noms")
    }

    pub(crate) fn repo_state(&self) -> PathBuf {
        self.dolt().join("repo_state.json")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.dolt().join("config.json")
    }

    /// What we keep of transfers that are under way: Dolt cleans its own folders.
    pub(crate) fn holdfast(&self) -> PathBuf {
        self.dolt().join("holdfast")
    }

    /// Chunks that a fetch brought and that the store does not list yet.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.holdfast().join("incoming")
    }

    /// Files that a push made and the remote does not list yet.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.holdfast().join("outgoing")
    }

    /// What an unfinished clone is of.
    pub(crate) fn clone_origin(&self) -> PathBuf {
        self.holdfast().join("clone-origin")
    }

    /// What was moved here, until the move has come to its end.
    pub(crate) fn moved(&self) -> PathBuf {
        self.holdfast().join(MOVED)
    }

    pub(crate) fn unfinished(&self) -> PathBuf {
        self.directory.join(UNFINISHED)
    }
}

/// An opened database, as it was at one moment.
#[derive(Debug)]
pub struct Database {
    paths: DatabasePaths,
    repo_state: RepoState,
    store: Arc<NomsDir>,
}

impl Database {
    /// Opens the database in `directory` for reading. Takes no lock; a running Dolt process is no hindrance.
    pub async fn open(directory: &Path, pool: &BlockingPool) -> Result<Self, DatabaseError> {
        let paths = DatabasePaths::new(directory);
        pool.run(move || Self::read(paths)).await
    }

    fn read(paths: DatabasePaths) -> Result<Self, DatabaseError> {
        let repo_state = RepoState::load(&paths)?;
        let store = NomsDir::open(&paths.store());
        let store = store.map_err(|source| DatabaseError::Store { source })?;
        Ok(Self {
            paths,
            repo_state,
            store: Arc::new(store),
        })
    }

    /// Where its parts lie.
    pub fn paths(&self) -> &DatabasePaths {
        &self.paths
    }

    /// Its branch and its remotes.
    pub fn repo_state(&self) -> &RepoState {
        &self.repo_state
    }

    /// Its chunks and its root.
    pub fn store(&self) -> &Arc<NomsDir> {
        &self.store
    }
}

/// Puts a file of Dolt's in the place of the one there is, with its permissions, if there is one; durably. Blocks.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), DatabaseError> {
    // Where the file is a link, what it leads to is replaced.
    let path = match path.is_symlink() {
        true => &std::fs::canonicalize(path).map_err(io("follow", path))?,
        false => path,
    };
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        // The user's mask shows in the directory: those who may write there may write the file.
        Err(_) => {
            let directory = path.parent().unwrap_or(path);
            let metadata = std::fs::metadata(directory).map_err(io("look at", directory))?;
            metadata.permissions().mode() & FILE_MODE
        }
    };
    durable::write_over(path, "holdfast-", mode, bytes).map_err(io("write", path))
}

/// Removes a file, or a directory with what is in it, if it is there. Blocks.
pub(crate) fn remove(path: &Path) -> Result<(), DatabaseError> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
