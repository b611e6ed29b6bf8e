//! `holdfast pull`.

use std::sync::Arc;

use holdfast_client::transfer::{self, FetchRequest, MovedTags, Observer, PullRequest, Vanished};
use serde_json::json;

use super::fetch::{extent, show, span, update_json};
use super::remotes::Followed;
use super::{Complaint, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn pull(
    arguments: args::Pull,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let how = &arguments.how;
    let followed = Followed::open(how, arguments.remote, environment).await?;
    if followed.is_by_address && arguments.branch.is_none() {
        return Err(Complaint::NoBranch.into());
    }
    let request = PullRequest {
        fetch: FetchRequest {
            remote: followed.remote,
            remote_name: followed.name,
            // As with dolt, a branch that is named comes alone.
            refs: arguments.branch.clone().map(|branch| vec![branch]),
            moved_tags: MovedTags::Kept,
            vanished: Vanished::Kept,
            extent: extent(how.dry_run),
        },
        branch: arguments.branch,
        identity: followed.speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let (directory, clock) = (&how.database.directory, &followed.speaker.clock);
    let pulled = transfer::pull(&request, directory, &pool(), &**clock, observer).await;
    progress.finish();
    let pulled = pulled?;
    if output.format == Format::Json {
        let updates: Vec<_> = pulled.fetched.updates.iter().map(update_json).collect();
        let rejected: Vec<_> = pulled.fetched.rejected.iter().map(update_json).collect();
        let elsewhere: Vec<_> = pulled.fetched.elsewhere.iter().map(update_json).collect();
        let told = json!({
            "remote": request.fetch.remote.address(),
            "updates": updates,
            "rejected": rejected,
            "elsewhere": elsewhere,
            "branch": pulled.branch,
            "old": pulled.old,
            "new": pulled.new,
            "chunks": pulled.fetched.chunks,
            "bytes": pulled.fetched.bytes,
            "at_least": pulled.fetched.is_least,
            "seconds": progress.seconds(),
        });
        return ui::print(&told.to_string());
    }
    show(&request.fetch, &pulled.fetched, &progress, output)?;
    match pulled.old == pulled.new {
        true => ui::print("Already up to date."),
        false => ui::print(&format!("Updating {}", span(pulled.old, pulled.new))),
    }
}
