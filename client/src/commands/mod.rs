//! What each command does, put together from the library's parts.

mod branch;
mod clone;
mod fetch;
mod log;
mod pull;
mod push;
mod remotes;
mod user;
mod verify;

use std::path::Path;

use anyhow::Context as _;
use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::database::{Database, StoreSource};

use crate::args::{Arguments, Command, Environment};

/// Something that a command found, or cannot do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Complaint {
    /// A name that stands for nothing.
    #[error("{name:?} is no branch, tag or commit here")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A database is damaged.
    #[error("{count} problems were found")]
    Damaged {
        /// How many.
        count: u64,
    },
    /// A remote whose address gives a clone no name.
    #[error("the address has no last part to name a directory after: name one behind it")]
    NoName,
    /// A user's name without the password.
    #[error("--user needs the password in DOLT_REMOTE_PASSWORD")]
    NoPassword,
    /// A remote that is not known.
    #[error("{name:?} is neither a remote of this database nor an address")]
    NoRemote {
        /// The name.
        name: String,
    },
    /// A branch that follows nothing, and nothing was named.
    #[error("branch {branch:?} follows no branch of a remote")]
    NoUpstream {
        /// The branch.
        branch: String,
    },
    /// Some refs stayed where they are.
    #[error("{count} refs were rejected")]
    Rejected {
        /// How many.
        count: usize,
    },
    /// Something in the user's settings or keys.
    #[error("{text}")]
    User {
        /// What.
        text: String,
    },
}

impl Complaint {
    /// The class of the error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } | Self::NoRemote { .. } => ErrorKind::NotFound,
            Self::Rejected { .. } => ErrorKind::Refused,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::NoName | Self::NoPassword | Self::NoUpstream { .. } | Self::User { .. } => {
                ErrorKind::Invalid
            }
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(arguments: Arguments, environment: &Environment) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let output = arguments.output;
    runtime.block_on(Box::pin(async move {
        match arguments.command {
            Command::Clone(arguments) => clone::clone(arguments, output, environment).await,
            Command::Fetch(arguments) => fetch::fetch(arguments, output, environment).await,
            Command::Pull(arguments) => pull::pull(arguments, output, environment).await,
            Command::Push(arguments) => push::push(arguments, output, environment).await,
            Command::Log(arguments) => log::log(arguments, output).await,
            Command::Branch(place) => branch::branch(place, output).await,
            Command::Verify(place) => verify::verify(place, output).await,
        }
    }))
}

/// Threads for what blocks.
fn pool() -> BlockingPool {
    BlockingPool::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2)
}

/// Opens the database in a directory.
async fn open(directory: &Path) -> anyhow::Result<(Database, StoreSource)> {
    let pool = pool();
    let database = Database::open(directory, &pool).await?;
    let source = StoreSource::new(std::sync::Arc::clone(database.store()), pool);
    Ok((database, source))
}
