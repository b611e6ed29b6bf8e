//! `holdfast move-out`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use holdfast_chunkstore::ChunkAddress;
use holdfast_client::database::Database;
use holdfast_client::inventory::{self, Header, Subject};
use holdfast_client::transfer::{
    self, CloneRequest, Extent, Force, Form, Observer, PushRef, PushRequest, Scope, SetUpstream,
};
use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::push::show as show_push;
use super::remotes::{Speaker, open_database};
use super::{pool, user::User};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn move_out(
    arguments: args::MoveOut,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::new(arguments.user.clone(), environment)?;
    let is_remote = arguments.to.contains("://");
    let way = Way::choose(&arguments, is_remote)?;
    let request = CloneRequest {
        remote: speaker.open(&arguments.from).await?,
        remote_name: "origin".to_owned(),
        branch: None,
        default_branch: None,
        scope: Scope::Branches(arguments.branch.clone()),
        form: Form::Database,
        identity: speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let cloned =
        transfer::clone(&request, way.directory(), &pool(), &speaker.clock, observer).await;
    progress.finish();
    cloned?;
    let (database, source) = open_database(way.directory()).await?;
    let mut branches = Vec::new();
    let mut refs = Refs::open(&source, database.store().root()).await?;
    while let Some((name, address)) = refs.next().await? {
        if let RefName::Branch(branch) = name {
            branches.push((branch, address));
        }
    }
    let path = arguments
        .inventory
        .unwrap_or_else(|| beside(&arguments.to, is_remote));
    let from = request.remote.address();
    let header = write_inventory(&database, &speaker.user, from, &branches, &path).await?;
    show(&arguments.to, &path, &header, output)?;
    if is_remote {
        push(&arguments.to, &way, &branches, &speaker, output).await?;
    }
    Ok(())
}

/// Where the branches are gathered.
enum Way {
    Directory(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Way {
    fn choose(arguments: &args::MoveOut, is_remote: bool) -> anyhow::Result<Self> {
        Ok(match (is_remote, &arguments.via) {
            (false, _) => Self::Directory(PathBuf::from(&arguments.to)),
            (true, Some(via)) => Self::Directory(via.clone()),
            (true, None) => Self::Temporary(
                tempfile::Builder::new()
                    .prefix("holdfast-move-out-")
                    .tempdir()
                    .context("make a temporary directory")?,
            ),
        })
    }

    fn directory(&self) -> &Path {
        match self {
            Self::Directory(directory) => directory,
            Self::Temporary(directory) => directory.path(),
        }
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

async fn write_inventory(
    database: &Database,
    user: &User,
    from: String,
    branches: &[(String, ChunkAddress)],
    path: &Path,
) -> anyhow::Result<Header> {
    let subject = Subject {
        from,
        branches: branches.iter().cloned().collect(),
        made_at: jiff::Timestamp::now().to_string(),
    };
    let key = user.key()?;
    let (store, path) = (Arc::clone(database.store()), path.to_owned());
    let write = move || inventory::write(&store, subject, key.as_ref(), &path);
    Ok(pool().run(write).await?)
}

fn show(to: &str, path: &Path, header: &Header, output: Output) -> anyhow::Result<()> {
    match output.format {
        Format::Text => ui::print(&format!(
            "moved to {to}: {} branches, {} chunks, listed in {}",
            header.branches.len(),
            header.chunks,
            path.display(),
        )),
        Format::Json => ui::print(
            &json!({
                "to": to,
                "inventory": path,
                "branches": header.branches,
                "chunks": header.chunks,
                "tree": header.tree,
            })
            .to_string(),
        ),
    }
}

/// Pushes the branches to where they go.
async fn push(
    to: &str,
    way: &Way,
    branches: &[(String, ChunkAddress)],
    speaker: &Speaker<'_>,
    output: Output,
) -> anyhow::Result<()> {
    let branch = |(name, _): &(String, ChunkAddress)| PushRef {
        source: Some(RefName::Branch(name.clone())),
        destination: RefName::Branch(name.clone()),
    };
    let request = PushRequest {
        remote: speaker.open(to).await?,
        remote_name: None,
        refs: branches.iter().map(branch).collect(),
        force: Force::No,
        upstream: SetUpstream::Unchanged,
        extent: Extent::Whole,
        identity: speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let pushed = transfer::push(&request, way.directory(), &pool(), &speaker.clock, observer).await;
    progress.finish();
    show_push(&request.remote.address(), &pushed?, output)
}
