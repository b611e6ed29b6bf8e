//! The command line of what is done without a remote.

use clap::{Args, Subcommand};

use super::{Directory, Place};

#[derive(Debug, Args)]
pub(crate) struct Branch {
    /// List also the branches that follow those of remotes.
    #[arg(long, short)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    /// The branch.
    pub(crate) branch: String,
    /// Make the branch.
    #[arg(short = 'b', long = "create")]
    pub(crate) create: bool,
    /// Where a branch that is made begins: a branch, a tag, a commit, or another revision; at the branch that is checked
    /// out unless given.
    #[arg(requires = "create")]
    pub(crate) start: Option<String>,
    #[command(flatten)]
    pub(crate) database: Directory,
}

#[derive(Debug, Args)]
pub(crate) struct Remote {
    #[command(subcommand)]
    pub(crate) action: Option<RemoteAction>,
    #[command(flatten)]
    pub(crate) database: Directory,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteAction {
    /// List remotes and their addresses; the same as without `list`.
    List,
    /// Add a remote.
    Add {
        /// Its name.
        name: String,
        /// Its address: https://host/owner/repository, owner/repository, file:///path, s3://bucket/prefix, or a directory.
        url: String,
    },
    /// Remove a remote, and the refs that follow its branches.
    Remove {
        /// Its name.
        name: String,
    },
    /// Change the address of a remote.
    SetUrl {
        /// Its name.
        name: String,
        /// Its new address.
        url: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) action: KeyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a key pair. It is used from now on if none was.
    New,
    /// List keys: the public key, which servers are told, and its id; * marks the one that is used.
    List,
    /// Use another key from now on.
    Use {
        /// Its public key or its id.
        key: String,
    },
}
