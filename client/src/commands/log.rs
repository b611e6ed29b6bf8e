//! `holdfast log`.

use holdfast_doltdb::ReadError;
use holdfast_doltdb::history::{History, WalkedCommit};
use holdfast_doltdb::model::Commit;
use holdfast_doltdb::source::get_one;
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
    let start = looked.resolve(&arguments.start).await?;
    let history = History::new(&*looked.source, looked.ghosts());
    let mut log = history.newest_first(start).await?;
    for _ in 0..arguments.number.unwrap_or(usize::MAX) {
        match log.next().await? {
            Some(commit) => {
                let chunk = match &commit.chunk {
                    Some(chunk) => chunk.clone(),
                    None => get_one(&*looked.source, commit.address).await?,
                };
                show(&commit, &chunk, arguments.oneline, output)?;
            }
            None => break,
        }
    }
    Ok(())
}

fn show(
    walked: &WalkedCommit,
    chunk: &[u8],
    is_one_line: bool,
    output: Output,
) -> anyhow::Result<()> {
    let address = walked.address;
    let commit = Commit::decode(chunk);
    let commit = commit.map_err(|source| ReadError::Decode { address, source })?;
    let author = &commit.author;
    let at = Timestamp::from_millisecond(author.at_millis).unwrap_or_default();
    match output.format {
        Format::Text if is_one_line => {
            let address = output.paint(Paint::Commit, &address.to_string());
            let first = commit.description.lines().next().unwrap_or_default();
            ui::print(&format!("{address} {}", ui::plain(first)))
        }
        Format::Text => {
            let heading = format!("commit {address}");
            ui::print(&output.paint(Paint::Commit, &heading))?;
            if walked.parents.len() > 1 {
                let parents: Vec<_> = walked.parents.iter().map(ToString::to_string).collect();
                ui::print(&format!("Merge:  {}", parents.join(" ")))?;
            }
            let line = format!("Author: {} <{}>", author.name, author.email);
            ui::print(&ui::plain(&line))?;
            ui::print(&format!("Date:   {at}\n"))?;
            for line in commit.description.lines() {
                ui::print(&format!("    {}", ui::plain(line)))?;
            }
            ui::print("")
        }
        Format::Json => ui::print(
            &json!({
                "commit": address,
                "parents": walked.parents,
                "height": commit.height,
                "author": author.name,
                "email": author.email,
                "date": at.to_string(),
                "message": commit.description,
            })
            .to_string(),
        ),
    }
}
