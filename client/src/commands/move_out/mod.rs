//! `holdfast move-out`.
//!
//! # Order
//! The lock of the place, the chunks, the push to another forge if that is where they go, and the inventory last.

mod cache;
mod later;
mod moving;
mod way;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_client::database::{Database, DatabaseError, StoreSource};
use holdfast_client::inventory::{self, Beside, Header, InventoryError, Subject};
use holdfast_client::remote::{Remote, RemoteSource};
use holdfast_client::transfer::{
    self, CloneRequest, Extent, Form, Observer, PushRequest, Scope, SetUpstream, TransferError,
    is_moved,
};
use serde_json::json;

use self::moving::Moving;
use self::way::Way;
use super::remotes::{Speaker, open_database};
use super::{pool, push};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn move_out(
    arguments: args::MoveOut,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::new(arguments.user.clone(), environment)?;
    let request = CloneRequest {
        remote: speaker.open(&arguments.from).await?,
        remote_name: arguments.keep_remote.then(|| REMOTE.to_owned()),
        branch: None,
        default_branch: None,
        scope: Scope::Branches(arguments.branch.clone()),
        form: Form::Database,
        extent: Extent::Whole,
        identity: speaker.identity(),
    };
    let target = match arguments.to.contains("://") {
        true => Some(speaker.open(&arguments.to).await?),
        false => None,
    };
    let way = Way::choose(&arguments, &speaker, &request, target.as_deref()).await?;
    let inventory = arguments.inventory.clone();
    let inventory = inventory.unwrap_or_else(|| beside(&arguments.to, target.is_some()));
    let mover = Mover {
        request,
        way,
        inventory,
        speaker: &speaker,
        output,
    };
    if let Err(error) = mover.run(&arguments.to, target.clone()).await {
        return Err(mover.way.keep(error));
    }
    if arguments.keep_remote {
        ui::warn(&later::warning(&arguments, mover.way.directory()));
    }
    if target.is_none() && output.format == Format::Text {
        let command = later::command(&arguments);
        ui::note(&format!(
            "later commits, and no others, come with: {command}"
        ));
    }
    mover.way.clear()
}

/// What the place that the branches come from is called in the new database, if it is to know it.
const REMOTE: &str = "origin";

struct Mover<'a> {
    request: CloneRequest,
    way: Way,
    /// Where the inventory goes.
    inventory: PathBuf,
    speaker: &'a Speaker<'a>,
    output: Output,
}

impl Mover<'_> {
    async fn run(&self, to: &str, target: Option<Arc<dyn Remote>>) -> anyhow::Result<()> {
        self.check_inventory().await?;
        self.gather().await?;
        let (database, source) = open_database(self.way.directory()).await?;
        let moving = Moving::read(&source, database.store().root()).await?;
        let pushed = match target {
            None => None,
            Some(target) => Some(self.push(target, &moving).await?),
        };
        let header = self.write_inventory(&database, &moving).await?;
        match self.output.format {
            Format::Text => ui::print(&format!(
                "moved to {to}: {} branches, {} tags, {} chunks, listed in {}",
                moving.branches.len(),
                moving.tags.len(),
                header.chunks,
                self.inventory.display(),
            )),
            Format::Json => ui::print(
                &json!({
                    "to": to,
                    "inventory": self.inventory,
                    "branches": moving.branches,
                    "tags": moving.tags,
                    "chunks": header.chunks,
                    "tree": header.tree,
                    "pushed": pushed,
                })
                .to_string(),
            ),
        }
    }

    /// Checks, before anything moves, that no other file stands where the inventory goes.
    async fn check_inventory(&self) -> anyhow::Result<()> {
        let path = self.inventory.clone();
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let there = pool().run(move || inventory::read_header(&path)).await;
        let is_same = match there {
            Err(_) => false,
            Ok(header) => {
                header.from == self.request.remote.address()
                    && header.branches == self.wanted().await?.branches
            }
        };
        match is_same {
            true => Ok(()),
            false => Err(InventoryError::Exists {
                path: self.inventory.clone(),
            }
            .into()),
        }
    }

    /// The branches that are moved, as they are where they come from.
    async fn wanted(&self) -> anyhow::Result<Moving> {
        let remote = &self.request.remote;
        let there = RemoteSource::new(Arc::clone(remote));
        let mut there = Moving::read(&there, remote.root().await?).await?;
        if let Scope::Branches(branches) = &self.request.scope {
            there.branches.retain(|branch, _| branches.contains(branch));
        }
        Ok(there)
    }

    /// Gathers the branches, or finds that an earlier run did so.
    async fn gather(&self) -> anyhow::Result<()> {
        let error = match self.clone().await {
            Err(error @ (TransferError::Occupied { .. } | TransferError::Begun { .. })) => error,
            cloned => return Ok(cloned?),
        };
        match (self.is_gathered().await?, &self.way) {
            (true, _) => Ok(()),
            (false, Way::Cache(cache)) => {
                ui::note(&format!(
                    "what an earlier run left in {} is not what is there now: gathering anew",
                    cache.database.display()
                ));
                cache.empty()?;
                Ok(self.clone().await?)
            }
            (false, Way::Target(_) | Way::Via(_)) => Err(error.into()),
        }
    }

    async fn clone(&self) -> Result<(), TransferError> {
        let progress = Arc::new(Progress::new(self.output.quiet));
        let observer = Arc::clone(&progress) as Arc<dyn Observer>;
        let pool = pool();
        let gather = self
            .way
            .gather(&self.request, &pool, self.speaker, observer);
        let gathered = gather.await;
        progress.finish();
        gathered
    }

    /// Whether the same move has brought all of the branches, and they are there where they are in the place that they
    /// come from.
    async fn is_gathered(&self) -> anyhow::Result<bool> {
        let directory = self.way.directory();
        if !is_moved(&self.request, directory) {
            return Ok(false);
        }
        let pool = pool();
        let database = match Database::open(directory, &pool).await {
            Err(DatabaseError::None { .. }) => return Ok(false),
            opened => opened?,
        };
        let here = StoreSource::new(Arc::clone(database.store()), pool);
        let here = Moving::read(&here, database.store().root()).await?;
        let wanted = self.wanted().await?;
        let is_there = |(tag, address): (&String, _)| wanted.tags.get(tag) == Some(address);
        Ok(here.branches == wanted.branches && here.tags.iter().all(is_there))
    }

    async fn write_inventory(
        &self,
        database: &Database,
        moving: &Moving,
    ) -> anyhow::Result<Header> {
        let subject = Subject {
            from: self.request.remote.address(),
            branches: moving.branches.clone(),
            tags: moving.tags.clone(),
            made_at: jiff::Timestamp::now().to_string(),
        };
        let beside = match self.way {
            Way::Target(_) => Beside::Refused,
            Way::Via(_) | Way::Cache(_) => Beside::Passed,
        };
        let key = self.speaker.user.key()?;
        let (store, path) = (Arc::clone(database.store()), self.inventory.clone());
        let write = move || inventory::write(&store, subject, beside, key.as_ref(), &path);
        Ok(pool().run(write).await?)
    }

    /// Pushes to where they go, and returns what programs are told of it.
    async fn push(
        &self,
        remote: Arc<dyn Remote>,
        moving: &Moving,
    ) -> anyhow::Result<serde_json::Value> {
        let request = PushRequest {
            remote,
            remote_name: None,
            refs: moving.refs(),
            upstream: SetUpstream::Unchanged,
            extent: Extent::Whole,
            identity: self.speaker.identity(),
        };
        let progress = Arc::new(Progress::new(self.output.quiet));
        let observer = Arc::clone(&progress) as Arc<dyn Observer>;
        let (directory, clock) = (self.way.directory(), &self.speaker.clock);
        let pushed = transfer::push(&request, directory, &pool(), clock, observer).await;
        progress.finish();
        let pushed = pushed?;
        if self.output.format == Format::Text {
            push::print(&request, &pushed)?;
        }
        push::check(&pushed)?;
        Ok(push::told(&request, &pushed))
    }
}

/// The inventory of a new database stands beside it, so that it is not part of it.
fn beside(to: &str, is_remote: bool) -> PathBuf {
    let trimmed = to.trim_end_matches('/');
    if is_remote {
        let name = trimmed.rsplit('/').next().unwrap_or("database");
        return PathBuf::from(format!("{name}.inventory"));
    }
    let path = match Path::new(trimmed).file_name() {
        Some(_) => PathBuf::from(trimmed),
        // A dot has no name to which something could be added.
        None => std::fs::canonicalize(to).unwrap_or_else(|_| PathBuf::from(trimmed)),
    };
    let mut path = path.into_os_string();
    path.push(".inventory");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_lies_beside_the_database_and_not_in_it() {
        assert_eq!(beside("a/b/", false), Path::new("a/b.inventory"));
        assert_eq!(beside("http://h/a/b", true), Path::new("b.inventory"));
        let here = std::env::current_dir().unwrap();
        for dot in [".", "./"] {
            let path = beside(dot, false);
            assert_eq!(path.parent(), here.parent(), "{}", path.display());
        }
    }
}
