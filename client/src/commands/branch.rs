//! `holdfast branch`.

use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::{place, unusable};
use crate::args::{Environment, Format, Output, Place};
use crate::ui::{self, paint::Paint};

pub(super) async fn branch(
    place: Place,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look(&place, environment).await?;
    let current = looked.current_branch();
    let mut refs = Refs::open(&*looked.source, looked.root).await?;
    while let Some((name, address)) = refs.next().await? {
        if !unusable::is_shown(&name, &looked.name) {
            continue;
        }
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
                let mut shown = format!("{:<32}", ui::plain(&text));
                if is_current {
                    shown = output.paint(Paint::Good, &shown);
                }
                ui::print(&format!("{mark} {kind:<7} {shown} {address}"))?;
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
