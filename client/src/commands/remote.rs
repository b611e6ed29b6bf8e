//! `holdfast remote`.

use holdfast_client::database::{DatabasePaths, RepoState};
use holdfast_client::local;
use serde_json::json;

use super::pool;
use super::remotes::Speaker;
use crate::args::{self, Environment, Format, Output, RemoteAction};
use crate::ui;

pub(super) async fn remote(
    arguments: args::Remote,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let directory = arguments.database.directory;
    let speaker = Speaker::of(&directory, None, environment)?;
    match arguments.action.unwrap_or(RemoteAction::List) {
        RemoteAction::List => {
            let state = RepoState::load(&DatabasePaths::new(&directory))?;
            list(&state, output)
        }
        RemoteAction::Add { name, url } => {
            let url = speaker.parse(&url)?.to_string();
            pool()
                .run(move || local::add_remote(&directory, &name, &url))
                .await?;
            Ok(())
        }
        RemoteAction::Remove { name } => {
            local::remove_remote(&directory, &name, &pool(), &*speaker.clock).await?;
            Ok(())
        }
        RemoteAction::SetUrl { name, url } => {
            let url = speaker.parse(&url)?.to_string();
            pool()
                .run(move || local::set_remote_url(&directory, &name, &url))
                .await?;
            Ok(())
        }
    }
}

fn list(state: &RepoState, output: Output) -> anyhow::Result<()> {
    for (name, entry) in &state.remotes {
        let line = match output.format {
            Format::Text => {
                let line = format!("{name:<16} {}", entry.url);
                ui::plain(&line).into_owned()
            }
            Format::Json => json!({
                "name": name,
                "url": entry.url,
                "fetch_specs": entry.fetch_specs,
            })
            .to_string(),
        };
        ui::print(&line)?;
    }
    Ok(())
}
