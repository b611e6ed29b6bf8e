//! What each command does, put together from the library's parts.

mod backup;
mod branch;
mod checkout;
mod clone;
mod ends;
mod estimate;
mod fetch;
mod inspect;
mod key;
mod log;
mod manual;
mod mirror;
mod move_out;
mod needs;
mod place;
mod pull;
mod push;
mod push_ref;
mod refs;
mod remote;
mod remotes;
mod repair;
mod status;
mod tag;
mod unusable;
mod user;
mod verify;

use std::path::PathBuf;

use anyhow::Context as _;
use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::transfer::KnownNames;

use crate::args::{Arguments, Command, Environment};

/// Something that a command found, or cannot do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Complaint {
    /// A name that stands for nothing.
    #[error("could not find {name:?} here: it is no branch, tag or commit")]
    Unknown {
        /// The name.
        name: String,
        /// The branches and tags that there are.
        known: KnownNames,
    },
    /// A database is damaged.
    #[error("could not verify all of it: {count} problems were found")]
    Damaged {
        /// How many.
        count: u64,
    },
    /// A database that is sound and holds other chunks than an inventory says.
    #[error("could not confirm the inventory: it and the database differ in {count} ways")]
    Inventory {
        /// In how many.
        count: u64,
        /// Whether all that is wrong is that more is there.
        is_more: bool,
    },
    /// A remote whose address gives a clone no name.
    #[error("could not name a directory: the address has no last part")]
    NoName,
    /// A thing that `inspect` does not find.
    #[error("could not find {what:?} here: it is no chunk, ref or file")]
    Nothing {
        /// What was asked for.
        what: String,
    },
    /// A place that is none.
    #[error(
        "could not find {place:?}: it is no directory, no remote of this database and no address of a remote"
    )]
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
    #[error("could not find a branch in {place}: there are none")]
    NoBranches {
        /// Where.
        place: String,
    },
    /// A user's name without the password.
    #[error("could not use --user: DOLT_REMOTE_PASSWORD holds no password")]
    NoPassword,
    /// A remote that is not known.
    #[error(
        "could not find the remote {name:?}: it is neither a remote of this database nor an address"
    )]
    NoRemote {
        /// The name.
        name: String,
        /// The remotes that there are.
        known: KnownNames,
    },
    /// A branch that follows nothing, and nothing was named.
    #[error("could not tell where to push: branch {branch:?} follows no branch of a remote")]
    NoUpstream {
        /// The branch.
        branch: String,
    },
    /// A pull by the address of a remote that the database does not follow.
    #[error("could not tell which branch to pull: the address is of no remote of this database")]
    NoBranch,
    /// A place that is on another machine.
    #[error("could not compare {place} with the inventory: only a directory can be")]
    NoStore {
        /// Which place.
        place: String,
    },
    /// Some refs stayed where they are.
    #[error("could not push {count} of {of} refs: they were rejected")]
    Rejected {
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
        /// What may help the first of them.
        hint: &'static str,
    },
    /// Tags that are elsewhere at the remote stayed where they are.
    #[error("could not fetch {count} tags: here they are elsewhere")]
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
    #[error("could not tell what to back up, and where to")]
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
    #[error("could not understand {text:?}: it is not {wanted}")]
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
    /// A key that is not there.
    #[error("could not find the key {name:?}")]
    NoKey {
        /// What was given.
        name: String,
    },
    /// No place for settings and keys.
    #[error("could not find the home of this user, where keys are kept")]
    NoHome,
    /// Something in the user's settings or keys.
    #[error("could not {text}")]
    User {
        /// What.
        text: String,
    },
}

impl Complaint {
    /// One step that may help.
    pub(crate) fn hint(&self) -> Option<String> {
        let told = match self {
            Self::Unknown { known, .. } => {
                let known = known.hint();
                return known.or_else(|| Some("`holdfast refs` lists what there is".to_owned()));
            }
            Self::Nothing { .. } => {
                "name the address of a chunk, a ref of `holdfast refs --all`, or the path of a file"
            }
            Self::NoPlace { .. } => {
                "write https://host/owner/repository, file:///path or a directory"
            }
            Self::NoRemote { known, .. } => match known.hint() {
                Some(known) => return Some(format!("{known}; an address has a / in it")),
                None => {
                    "name an address, which has a / in it, or add the remote: `holdfast remote add <name> <address>`"
                }
            },
            Self::NoUpstream { branch } => {
                return Some(format!(
                    "name both: holdfast push --set-upstream origin {branch}"
                ));
            }
            Self::NoName => "name a directory behind the address",
            Self::NoPassword => "set DOLT_REMOTE_PASSWORD, or leave out --user to use a key",
            Self::NoStore { .. } => "clone it, and compare the clone",
            Self::NoEnds => "holdfast backup <directory or address> <target>",
            Self::Number { .. } => "write --backup 1 for a backup, ./1 for a directory",
            Self::NoPage { .. } => "name another directory, or move that file away",
            Self::NoBranch => "name the branch behind the address",
            Self::Rejected { hint, .. } => hint,
            Self::Clobbered { .. } => {
                "keep those tags, or take the remote's: holdfast fetch --force"
            }
            Self::Unnamed { .. } => {
                "give it a name: holdfast remote add <name> <address>; then push to that name"
            }
            Self::Absent { .. } => "check the spelling of the address",
            Self::NoBranches { .. } => "push a branch to it first",
            Self::NothingStays { .. } => "name a directory that stays, with --via",
            Self::NoKey { .. } => {
                "`holdfast key list` lists those that there are, `holdfast key new` makes one"
            }
            Self::NoHome => "set HOME, or DOLT_ROOT_PATH",
            Self::Behind { .. } => "write --backup and the number",
            Self::Inventory { is_more: true, .. } => {
                "what was committed or fetched since the move is not listed, and `dolt gc` removes what no ref reaches; for \
                 a new list, move the branches out again into a new directory"
            }
            Self::Inventory { .. } => {
                "move the branches out again, into a new directory: this one is not what the inventory lists"
            }
            Self::Damaged { .. }
            | Self::Value { .. }
            | Self::Setting { .. }
            | Self::User { .. } => {
                return None;
            }
        };
        Some(told.to_owned())
    }

    /// The class of the error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. }
            | Self::NoRemote { .. }
            | Self::Nothing { .. }
            | Self::NoPlace { .. }
            | Self::Absent { .. }
            | Self::NoKey { .. }
            | Self::NoBranches { .. } => ErrorKind::NotFound,
            Self::Rejected { .. } | Self::Clobbered { .. } => ErrorKind::Refused,
            Self::Damaged { .. } | Self::Inventory { .. } => ErrorKind::Corrupt,
            Self::NoPage { .. } => ErrorKind::Conflict,
            Self::NoName
            | Self::NoHome
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
        .context("could not start the runtime")?;
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
            Command::Branch(arguments) => branch::branch(arguments, output, environment).await,
            Command::Tag(place) => tag::tag(place, output, environment).await,
            Command::Checkout(arguments) => {
                checkout::checkout(arguments, output, environment).await
            }
            Command::Remote(arguments) => remote::remote(arguments, output, environment).await,
            Command::Key(arguments) => key::key(arguments, output, environment),
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
