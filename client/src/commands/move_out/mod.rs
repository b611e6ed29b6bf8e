//! `holdfast move-out`.

mod cache;
mod moving;
mod way;

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_client::database::{Database, DatabaseError, StoreSource};
use holdfast_client::inventory::{self, Header, Listing, Subject};
use holdfast_client::remote::{Remote, RemoteSource};
use holdfast_client::transfer::{
    self, CloneRequest, Extent, Force, Form, Observer, PushRequest, Scope, SetUpstream,
    TransferError,
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
        remote_name: REMOTE.to_owned(),
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
    let way = Way::choose(&arguments, &speaker, &request, target.as_deref())?;
    let inventory = arguments.inventory.clone();
    let inventory = inventory.unwrap_or_else(|| beside(&arguments.to, target.is_some()));
    let mover = Mover {
        request,
        way,
        inventory,
        speaker: &speaker,
        output,
    };
    match mover.run(&arguments.to, target).await {
        Ok(()) => mover.way.clear(),
        Err(error) => Err(mover.way.keep(error)),
    }
}

/// What the place that the branches come from is called in the new database.
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
        self.gather().await?;
        let (database, source) = open_database(self.way.directory()).await?;
        let moving = Moving::read(&source, database.store().root()).await?;
        let listing = match &target {
            None => Listing::Whole,
            Some(_) => Listing::Below {
                heads: moving.heads(),
            },
        };
        let header = self.write_inventory(&database, listing, &moving).await?;
        let pushed = match target {
            None => None,
            Some(target) => Some(self.push(target, &moving).await?),
        };
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

    /// Gathers the branches, or finds that an earlier run did so.
    async fn gather(&self) -> anyhow::Result<()> {
        let error = match self.clone().await {
            Err(error @ TransferError::Occupied { .. }) => error,
            cloned => return Ok(cloned?),
        };
        match (self.is_gathered().await?, &self.way) {
            (true, Way::Via(_) | Way::Cache(_)) => Ok(()),
            (true, Way::Target(_)) if !self.inventory.exists() => Ok(()),
            (false, Way::Cache(cache)) => {
                ui::say(&format!(
                    "what an earlier run left in {} is not what is there now: gathering anew",
                    cache.database.display()
                ));
                cache.empty()?;
                Ok(self.clone().await?)
            }
            _ => Err(error.into()),
        }
    }

    async fn clone(&self) -> Result<(), TransferError> {
        let progress = Arc::new(Progress::new(self.output.quiet));
        let observer = Arc::clone(&progress) as Arc<dyn Observer>;
        let (directory, clock) = (self.way.directory(), &self.speaker.clock);
        let cloned = transfer::clone(&self.request, directory, &pool(), clock, observer).await;
        progress.finish();
        cloned.map(drop)
    }

    /// Whether all of the branches is there, of the same place, and they are there where they are in that place.
    async fn is_gathered(&self) -> anyhow::Result<bool> {
        let pool = pool();
        let database = match Database::open(self.way.directory(), &pool).await {
            Err(DatabaseError::None { .. }) => return Ok(false),
            opened => opened?,
        };
        let here = StoreSource::new(Arc::clone(database.store()), pool);
        let here = Moving::read(&here, database.store().root()).await?;
        let remote = &self.request.remote;
        let there = RemoteSource::new(Arc::clone(remote));
        let mut there = Moving::read(&there, remote.root().await?).await?;
        if let Scope::Branches(branches) = &self.request.scope {
            there.branches.retain(|branch, _| branches.contains(branch));
        }
        let known = database.repo_state().remotes.get(REMOTE);
        Ok(known.is_some_and(|known| known.url == remote.address())
            && here.branches == there.branches)
    }

    async fn write_inventory(
        &self,
        database: &Database,
        listing: Listing,
        moving: &Moving,
    ) -> anyhow::Result<Header> {
        let subject = Subject {
            from: self.request.remote.address(),
            branches: moving.branches.clone(),
            made_at: jiff::Timestamp::now().to_string(),
        };
        let key = self.speaker.user.key()?;
        let (store, path) = (Arc::clone(database.store()), self.inventory.clone());
        let write = move || inventory::write(&store, &listing, subject, key.as_ref(), &path);
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
            force: Force::No,
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
    match is_remote {
        false => PathBuf::from(format!("{trimmed}.inventory")),
        true => {
            let name = trimmed.rsplit('/').next().unwrap_or("database");
            PathBuf::from(format!("{name}.inventory"))
        }
    }
}
