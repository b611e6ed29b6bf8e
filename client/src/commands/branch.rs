//! `holdfast branch`.

use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::{place, unusable};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, paint::Paint};

pub(super) async fn branch(
    arguments: args::Branch,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look(&arguments.place, environment).await?;
    let current = looked.current_branch();
    let mut refs = Refs::open(&*looked.source, looked.root).await?;
    while let Some((name, address)) = refs.next().await? {
        let (kind, text, shown) = match &name {
            RefName::Branch(branch) => ("branch", branch.clone(), branch.clone()),
            RefName::RemoteBranch { remote, branch } if arguments.all => {
                let text = format!("{remote}/{branch}");
                let shown = format!("remotes/{text}");
                ("remote", text, shown)
            }
            _ => continue,
        };
        if !unusable::is_shown(&name, &looked.name) {
            continue;
        }
        let is_current = kind == "branch" && current == Some(text.as_str());
        match output.format {
            Format::Text => {
                let mark = if is_current { '*' } else { ' ' };
                let mut shown = format!("{:<32}", ui::plain(&shown));
                if is_current {
                    shown = output.paint(Paint::Good, &shown);
                }
                ui::print(&format!("{mark} {shown} {address}"))?;
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
