//! Where branches gather on their way, and what becomes of it.

use std::fmt;
use std::path::{Path, PathBuf};

use holdfast_client::remote::Remote;
use holdfast_client::transfer::CloneRequest;

use super::cache::Cache;
use crate::args;
use crate::commands::remotes::Speaker;

/// Where the branches are gathered.
pub(super) enum Way {
    /// Where they are to be: a new database.
    Target(PathBuf),
    /// In a directory that the user named, where they stay.
    Via(PathBuf),
    /// Where the same command finds them again, until they arrived.
    Cache(Cache),
}

impl Way {
    pub(super) fn choose(
        arguments: &args::MoveOut,
        speaker: &Speaker<'_>,
        request: &CloneRequest,
        target: Option<&dyn Remote>,
    ) -> anyhow::Result<Self> {
        Ok(match (target, &arguments.via) {
            (None, _) => Self::Target(PathBuf::from(&arguments.to)),
            (Some(_), Some(via)) => Self::Via(via.clone()),
            (Some(target), None) => {
                let (from, to) = (request.remote.address(), target.address());
                let branches = arguments.branch.join("\n");
                let told = format!("move-out\n{from}\n{to}\n{branches}");
                Self::Cache(Cache::take(speaker.kept(None, &told))?)
            }
        })
    }

    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Target(directory) | Self::Via(directory) => directory,
            Self::Cache(cache) => &cache.database,
        }
    }

    /// Says where what came lies when it did not come to its end, unless the user said where.
    pub(super) fn keep(&self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Target(_) | Self::Via(_) => error,
            Self::Cache(cache) if cache.database.exists() => error.context(Kept {
                directory: cache.database.clone(),
            }),
            Self::Cache(cache) => {
                // What is left of nothing is in nobody's way.
                drop(cache.clear());
                error
            }
        }
    }

    /// Removes what was needed on the way alone.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        match self {
            Self::Target(_) | Self::Via(_) => Ok(()),
            Self::Cache(cache) => cache.clear(),
        }
    }
}

/// A move that did not come to its end.
#[derive(Debug)]
struct Kept {
    directory: PathBuf,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        write!(
            f,
            "move the branches: the same command goes on with what is kept in {directory}"
        )
    }
}
