//! `holdfast fetch`.

use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_client::transfer::{
    self, Extent, FetchRequest, Fetched, MovedTags, Observer, RefUpdate, Vanished,
};
use holdfast_doltdb::RefName;
use serde_json::json;

use super::remotes::Followed;
use super::{Complaint, estimate, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn fetch(
    arguments: args::Fetch,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let how = &arguments.how;
    let followed = Followed::open(how, arguments.remote, environment).await?;
    let request = FetchRequest {
        remote: followed.remote,
        remote_name: followed.name,
        refs: (!arguments.refs.is_empty()).then_some(arguments.refs),
        moved_tags: match arguments.force {
            true => MovedTags::Taken,
            false => MovedTags::Kept,
        },
        vanished: match arguments.prune {
            true => Vanished::Pruned,
            false => Vanished::Kept,
        },
        extent: extent(how.dry_run),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let (directory, clock) = (&how.database.directory, &followed.speaker.clock);
    let fetched = transfer::fetch(&request, directory, &pool(), &**clock, observer).await;
    progress.finish();
    let fetched = fetched?;
    show(&request, &fetched, &progress, output)?;
    match fetched.rejected.len() {
        0 => Ok(()),
        count => Err(Complaint::Clobbered { count }.into()),
    }
}

pub(super) fn extent(is_dry: bool) -> Extent {
    match is_dry {
        true => Extent::DryRun,
        false => Extent::Whole,
    }
}

/// Shows what moved.
pub(super) fn show(
    request: &FetchRequest,
    fetched: &Fetched,
    progress: &Progress,
    output: Output,
) -> anyhow::Result<()> {
    let address = request.remote.address();
    if output.format == Format::Json {
        let updates: Vec<_> = fetched.updates.iter().map(update_json).collect();
        let rejected: Vec<_> = fetched.rejected.iter().map(update_json).collect();
        let elsewhere: Vec<_> = fetched.elsewhere.iter().map(update_json).collect();
        let told = json!({
            "remote": address,
            "updates": updates,
            "rejected": rejected,
            "elsewhere": elsewhere,
            "chunks": fetched.chunks,
            "bytes": fetched.bytes,
            "at_least": fetched.is_least,
            "seconds": progress.seconds(),
        });
        return ui::print(&told.to_string());
    }
    for update in &fetched.elsewhere {
        let name = update.name.to_string();
        ui::say(&format!(
            "warning: {} is elsewhere at {address}, and stays; --force takes it",
            ui::plain(&name)
        ));
    }
    if fetched.updates.is_empty() && fetched.rejected.is_empty() {
        return Ok(());
    }
    ui::print(&format!("From {address}"))?;
    for update in &fetched.updates {
        ui::print(&line(update))?;
    }
    for update in &fetched.rejected {
        ui::print(&rejected_line(update))?;
    }
    match request.extent {
        Extent::DryRun => ui::print(&estimate::line(
            fetched.chunks,
            fetched.bytes,
            fetched.is_least,
        )),
        Extent::Whole if fetched.chunks == 0 => Ok(()),
        Extent::Whole => {
            let moved = progress.summary(fetched.bytes);
            ui::print(&format!("{} chunks received, {moved}", fetched.chunks))
        }
    }
}

fn line(update: &RefUpdate) -> String {
    let (what, there, here) = match &update.name {
        RefName::RemoteBranch { remote, branch } => {
            ("branch", branch.clone(), format!("{remote}/{branch}"))
        }
        RefName::Tag(tag) => ("tag", tag.clone(), tag.clone()),
        other => ("ref", other.to_string(), other.to_string()),
    };
    match (update.old, update.new) {
        (_, None) => format!(" - {:<19} (none) -> {here}", "[deleted]"),
        (None, Some(_)) => format!(" * {:<19} {there} -> {here}", format!("[new {what}]")),
        (Some(old), Some(new)) => format!("   {:<19} {there} -> {here}", span(old, new)),
    }
}

/// A tag that stays where it is, in git's words.
fn rejected_line(update: &RefUpdate) -> String {
    let tag = match &update.name {
        RefName::Tag(tag) => tag.clone(),
        other => other.to_string(),
    };
    let what = "[rejected]";
    let tag = ui::plain(&tag);
    format!(" ! {what:<19} {tag} -> {tag} (would clobber existing tag)")
}

/// Two commits in the width of a column.
pub(super) fn span(old: ChunkAddress, new: ChunkAddress) -> String {
    let short = |address: ChunkAddress| address.to_string()[..8].to_owned();
    format!("{}..{}", short(old), short(new))
}

pub(super) fn update_json(update: &RefUpdate) -> serde_json::Value {
    json!({
        "ref": update.name.to_string(),
        "old": update.old,
        "new": update.new,
    })
}
