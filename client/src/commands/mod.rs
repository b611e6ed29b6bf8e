//! What each command does, put together from the library's parts.

mod backup;
mod branch;
mod clone;
mod ends;
mod estimate;
mod fetch;
mod inspect;
mod log;
mod manual;
mod mirror;
mod move_out;
mod place;
mod pull;
mod push;
mod refs;
mod remotes;
mod repair;
mod status;
mod user;
mod verify;

use std::path::PathBuf;

use anyhow::Context as _;
use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::pool::BlockingPool;

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
    /// A thing that `inspect` does not find.
    #[error("{what:?} is no chunk, ref or file here")]
    Nothing {
        /// What was asked for.
        what: String,
    },
    /// A place that is none.
    #[error("{place:?} is no directory, no remote of this database and no address of a remote")]
    NoPlace {
        /// What was given.
        place: String,
    },
    /// A store without branches, where one is needed.
    #[error("there are no branches in {place}")]
    NoBranches {
        /// Where.
        place: String,
    },
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
    /// A place that is on another machine.
    #[error("an inventory is checked against a directory, and {place} is none")]
    NoStore {
        /// Which place.
        place: String,
    },
    /// Some refs stayed where they are.
    #[error("{count} refs were rejected")]
    Rejected {
        /// How many.
        count: usize,
    },
    /// A backup of nothing, or to nowhere.
    #[error("name what to back up, and where to")]
    NoEnds,
    /// A value on the command line that is none.
    #[error("{text:?} is not {wanted}")]
    Value {
        /// What was given.
        text: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A move that another run of the same command makes.
    #[error("a move of the same branches to the same place is under way, in {}", directory.display())]
    Underway {
        /// Where its chunks gather.
        directory: PathBuf,
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
            Self::Unknown { .. }
            | Self::NoRemote { .. }
            | Self::Nothing { .. }
            | Self::NoPlace { .. }
            | Self::NoBranches { .. } => ErrorKind::NotFound,
            Self::Rejected { .. } => ErrorKind::Refused,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Underway { .. } => ErrorKind::Unavailable,
            Self::NoName
            | Self::NoPassword
            | Self::NoUpstream { .. }
            | Self::NoStore { .. }
            | Self::NoEnds
            | Self::Value { .. }
            | Self::User { .. } => ErrorKind::Invalid,
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
            Command::MoveOut(arguments) => move_out::move_out(arguments, output, environment).await,
            Command::Fetch(arguments) => fetch::fetch(arguments, output, environment).await,
            Command::Pull(arguments) => pull::pull(arguments, output, environment).await,
            Command::Push(arguments) => push::push(arguments, output, environment).await,
            Command::Backup(arguments) => backup::backup(*arguments, output, environment).await,
            Command::Mirror(arguments) => mirror::mirror(arguments, output, environment).await,
            Command::Log(arguments) => log::log(arguments, output, environment).await,
            Command::Branch(place) => branch::branch(place, output, environment).await,
            Command::Refs(arguments) => refs::refs(arguments, output, environment).await,
            Command::Status(directory) => status::status(directory, output).await,
            Command::Inspect(arguments) => inspect::inspect(arguments, output, environment).await,
            Command::Verify(arguments) => verify::verify(arguments, output, environment).await,
            Command::Completions(arguments) => manual::completions(&arguments),
            Command::Man(arguments) => manual::man(&arguments),
        }
    }))
}

/// Threads for what blocks.
fn pool() -> BlockingPool {
    BlockingPool::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2)
}
