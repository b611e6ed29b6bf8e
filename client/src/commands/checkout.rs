//! `holdfast checkout`.

use holdfast_client::local::{self, CheckoutRequest};
use serde_json::json;

use super::pool;
use super::remotes::Speaker;
use crate::args::{self, Environment, Format, Output};
use crate::ui;

pub(super) async fn checkout(
    arguments: args::Checkout,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let directory = &arguments.database.directory;
    let speaker = Speaker::of(directory, None, environment)?;
    let request = CheckoutRequest {
        start: (arguments.create).then(|| arguments.start.unwrap_or_else(|| "HEAD".to_owned())),
        branch: arguments.branch,
        identity: speaker.identity(),
    };
    let done = local::checkout(&request, directory, &pool(), &*speaker.clock).await?;
    let branch = &request.branch;
    if output.format == Format::Json {
        let told = json!({
            "branch": branch,
            "head": done.head,
            "before": done.before,
            "new": done.is_new,
            "follows": done.follows,
        });
        return ui::print(&told.to_string());
    }
    let line = match (done.is_new, done.before == *branch) {
        (true, _) => format!("Switched to a new branch '{branch}'"),
        (false, true) => format!("Already on '{branch}'"),
        (false, false) => format!("Switched to branch '{branch}'"),
    };
    ui::print(&ui::plain(&line))?;
    match &done.follows {
        Some(followed) => {
            let line = format!("branch '{branch}' follows '{followed}'");
            ui::print(&ui::plain(&line))
        }
        None => Ok(()),
    }
}
