//! `holdfast pull`.

use std::sync::Arc;

use holdfast_client::transfer::{self, FetchRequest, Observer, PullRequest, Vanished};
use serde_json::json;

use super::fetch::{extent, show, span};
use super::remotes::open_database;
use super::remotes::{self, Named, Speaker};
use super::{Complaint, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn pull(
    arguments: args::Pull,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let directory = arguments.how.database.directory.clone();
    let (database, _) = open_database(&directory).await?;
    let speaker = Speaker::new(arguments.how.user, environment)?;
    let state = database.repo_state();
    let text = arguments
        .remote
        .unwrap_or_else(|| remotes::followed(state).to_owned());
    let Named { name, remote } = speaker.find(state, &text).await?;
    let remote_name = name.ok_or(Complaint::NoRemote { name: text })?;
    let request = PullRequest {
        fetch: FetchRequest {
            remote,
            remote_name,
            branches: None,
            vanished: Vanished::Kept,
            extent: extent(arguments.how.dry_run),
        },
        branch: arguments.branch,
        identity: speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let pulled = transfer::pull(&request, &directory, &pool(), &*speaker.clock, observer).await;
    progress.finish();
    let pulled = pulled?;
    if output.format == Format::Json {
        let told = json!({
            "branch": pulled.branch,
            "old": pulled.old,
            "new": pulled.new,
            "chunks": pulled.fetched.chunks,
            "bytes": pulled.fetched.bytes,
        });
        return ui::print(&told.to_string());
    }
    show(&request.fetch.remote.address(), &pulled.fetched, output)?;
    match pulled.old == pulled.new {
        true => ui::print("Already up to date."),
        false => ui::print(&format!("Updating {}", span(pulled.old, pulled.new))),
    }
}
