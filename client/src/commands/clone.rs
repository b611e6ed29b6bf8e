//! `holdfast clone`.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_client::local::check_remote_name;
use holdfast_client::remote::Reach;
use holdfast_client::transfer::{self, CloneRequest, Extent, Form, Observer, Scope};
use serde_json::json;

use super::fetch::extent;
use super::remotes::Speaker;
use super::{Complaint, estimate, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn clone(
    arguments: args::Clone,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    check_remote_name(&arguments.remote)?;
    let speaker = Speaker::new(arguments.user, environment)?;
    let directory = match arguments.directory {
        Some(directory) => directory,
        None => match speaker.parse(&arguments.url)?.directory_name() {
            Some(name) => PathBuf::from(name),
            None => return Err(Complaint::NoName.into()),
        },
    };
    let request = CloneRequest {
        remote: speaker.open(&arguments.url).await?,
        remote_name: Some(arguments.remote),
        branch: arguments.branch,
        scope: match (arguments.single_branch, arguments.depth, arguments.at) {
            (false, None, None) => Scope::Everything,
            (is_alone, depth, at) => Scope::Branch {
                depth,
                at,
                reach: match is_alone {
                    true => Reach::Exact,
                    false => Reach::Near,
                },
            },
        },
        form: match arguments.bare {
            true => Form::Bare,
            false => Form::Database,
        },
        default_branch: (speaker.user.settings)
            .get("init.defaultbranch")
            .map(str::to_owned),
        extent: extent(arguments.dry_run),
        identity: speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let cloned = transfer::clone(&request, &directory, &pool(), &speaker.clock, observer).await;
    progress.finish();
    let cloned = cloned?;
    let (chunks, bytes) = (cloned.chunks, cloned.bytes);
    let (what, how_much) = match request.extent {
        Extent::Whole => {
            let moved = progress.summary(bytes);
            ("cloned", format!("{chunks} chunks checked, {moved}"))
        }
        Extent::DryRun => (
            "would clone",
            estimate::line(chunks, bytes, cloned.is_least),
        ),
    };
    if request.extent == Extent::Whole && remote_is_database(&request) {
        ui::note("note: dolt fetches from no directory of a database; `holdfast fetch` does");
    }
    match output.format {
        Format::Text => ui::print(&format!(
            "{what} into {}: branch {}, {} branches, {} tags, {how_much}",
            directory.display(),
            cloned.branch,
            cloned.branches,
            cloned.tags,
        )),
        Format::Json => ui::print(
            &json!({
                "directory": directory,
                "branch": cloned.branch,
                "branches": cloned.branches,
                "tags": cloned.tags,
                "chunks": chunks,
                "bytes": bytes,
                "at_least": cloned.is_least,
                "seconds": progress.seconds(),
            })
            .to_string(),
        ),
    }
}

/// Whether what was cloned is the store of a database, and the clone follows it.
fn remote_is_database(request: &CloneRequest) -> bool {
    request.form == Form::Database && request.remote.address().ends_with("/.dolt/noms")
}
