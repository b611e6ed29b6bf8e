//! `holdfast branch`.

use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::open;
use crate::args::{Format, Output, Place};
use crate::ui;

pub(super) async fn branch(place: Place, output: Output) -> anyhow::Result<()> {
    let (database, source) = open(&place.directory).await?;
    let current = database.repo_state().branch();
    let mut refs = Refs::open(&source, database.store().root()).await?;
    while let Some((name, address)) = refs.next().await? {
        let (kind, text) = match &name {
            RefName::Branch(branch) => ("branch", branch.clone()),
            RefName::Tag(tag) => ("tag", tag.clone()),
            RefName::RemoteBranch { remote, branch } => ("remote", format!("{remote}/{branch}")),
            _ => continue,
        };
        let is_current = kind == "branch" && current == Some(text.as_str());
        match output.format {
            Format::Text => {
                let mark = if is_current { '*' } else { ' ' };
                ui::print(&format!("{mark} {kind:<7} {text:<32} {address}"))?;
            }
            Format::Json => ui::print(
                &json!({
                    "kind": kind,
                    "name": text,
                    "address": address,
                    "current": is_current,
                })
                .to_string(),
            )?,
        }
    }
    Ok(())
}
