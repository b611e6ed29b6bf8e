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
mod needs;
mod place;
mod pull;
mod push;
mod refs;
mod remotes;
mod repair;
mod status;
mod unusable;
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
    /// A database that is sound and holds other chunks than an inventory says.
    #[error("the inventory and the database differ in {count} ways")]
    Inventory {
        /// In how many.
        count: u64,
        /// Whether all that is wrong is that more is there.
        is_more: bool,
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
    /// A remote with nothing to verify.
    #[error("could not verify {place}: the repository is empty, or not there")]
    Absent {
        /// Where.
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
    /// A pull by the address of a remote that the database does not follow.
    #[error("could not tell which branch to pull: the address is of no remote of this database")]
    NoBranch,
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
    /// Tags that are elsewhere at the remote stayed where they are.
    #[error("{count} refs were rejected")]
    Clobbered {
        /// How many.
        count: usize,
    },
    /// A remote that a branch cannot follow.
    #[error("could not let a branch follow {address}: no remote of this database has that address")]
    Unnamed {
        /// Its address.
        address: String,
    },
    /// A backup of nothing, or to nowhere.
    #[error("name what to back up, and where to")]
    NoEnds,
    /// A directory to restore into that may be the number of a backup as well.
    #[error("could not tell whether {text} is a directory or the number of a backup")]
    Number {
        /// What was given.
        text: String,
    },
    /// A word behind the place of the backups.
    #[error("could not take {text:?} for the number of a backup")]
    Behind {
        /// The word.
        text: String,
    },
    /// A file where a manual page goes.
    #[error("could not write the manual pages: {} exists, and is no page of holdfast", path.display())]
    NoPage {
        /// Which file.
        path: PathBuf,
    },
    /// A value on the command line that is none.
    #[error("{text:?} is not {wanted}")]
    Value {
        /// What was given.
        text: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A remote that is to be kept in a database that does not stay.
    #[error("could not keep the remote: the branches go to {to}, and no database stays on the way")]
    NothingStays {
        /// Where they go.
        to: String,
    },
    /// A setting of dolt's that is neither on nor off.
    #[error("could not read the setting {name}: {text:?} is neither true nor false")]
    Setting {
        /// Which.
        name: &'static str,
        /// What it says.
        text: String,
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
            | Self::Absent { .. }
            | Self::NoBranches { .. } => ErrorKind::NotFound,
            Self::Rejected { .. } | Self::Clobbered { .. } => ErrorKind::Refused,
            Self::Damaged { .. } | Self::Inventory { .. } => ErrorKind::Corrupt,
            Self::NoPage { .. } => ErrorKind::Conflict,
            Self::NoName
            | Self::NoPassword
            | Self::NoUpstream { .. }
            | Self::Unnamed { .. }
            | Self::Setting { .. }
            | Self::NoStore { .. }
            | Self::NoEnds
            | Self::NoBranch
            | Self::Number { .. }
            | Self::Behind { .. }
            | Self::NothingStays { .. }
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
