//! `holdfast log`.

use holdfast_client::ancestry::{CommitFacts, Log};
use jiff::Timestamp;
use serde_json::json;

use super::place;
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, paint::Paint};

pub(super) async fn log(
    arguments: args::Log,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look(&arguments.place, environment).await?;
    let start = looked.resolve(arguments.start.as_deref()).await?;
    let mut log = Log::new(&*looked.source, looked.ghosts(), start);
    for _ in 0..arguments.number.unwrap_or(usize::MAX) {
        match log.next().await? {
            Some(commit) => show(&commit, output)?,
            None => break,
        }
    }
    Ok(())
}

fn show(commit: &CommitFacts, output: Output) -> anyhow::Result<()> {
    let at = Timestamp::from_millisecond(commit.at_millis).unwrap_or_default();
    match output.format {
        Format::Text => {
            let heading = format!("commit {}", commit.address);
            ui::print(&output.paint(Paint::Commit, &heading))?;
            if commit.parents.len() > 1 {
                let parents: Vec<_> = commit.parents.iter().map(ToString::to_string).collect();
                ui::print(&format!("Merge:  {}", parents.join(" ")))?;
            }
            let author = format!("Author: {} <{}>", commit.author, commit.email);
            ui::print(&ui::plain(&author))?;
            ui::print(&format!("Date:   {at}\n"))?;
            for line in commit.description.lines() {
                ui::print(&format!("    {}", ui::plain(line)))?;
            }
            ui::print("")
        }
        Format::Json => ui::print(
            &json!({
                "commit": commit.address,
                "parents": commit.parents,
                "height": commit.height,
                "author": commit.author,
                "email": commit.email,
                "date": at.to_string(),
                "message": commit.description,
            })
            .to_string(),
        ),
    }
}
