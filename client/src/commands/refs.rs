//! `holdfast refs`.

use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::{place, unusable};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, paint::Paint};

pub(super) async fn refs(
    arguments: args::Refs,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look_at(&arguments.place, environment).await?;
    let mut refs = Refs::open(&*looked.source, looked.root).await?;
    while let Some((name, address)) = refs.next().await? {
        if !unusable::is_shown(&name, &looked.name) {
            continue;
        }
        let kind = kind(&name);
        if !arguments.all && !matches!(kind, "branch" | "tag" | "remote") {
            continue;
        }
        match output.format {
            Format::Text => {
                let shown = output.paint(Paint::Commit, &address.to_string());
                let name = name.to_string();
                ui::print(&format!("{shown}  {kind:<11}  {}", ui::plain(&name)))?;
            }
            Format::Json => {
                let name = name.to_string();
                let line = json!({ "kind": kind, "name": name, "address": address });
                ui::print(&line.to_string())?;
            }
        }
    }
    Ok(())
}

/// What a dataset is, in a word.
fn kind(name: &RefName) -> &'static str {
    match name {
        RefName::Branch(_) => "branch",
        RefName::Tag(_) => "tag",
        RefName::RemoteBranch { .. } => "remote",
        RefName::WorkingSet(_) => "working-set",
        RefName::Stash(_) => "stash",
        RefName::Internal(_) => "internal",
        RefName::Workspace(_) => "workspace",
        RefName::Statistics(_) => "statistics",
        RefName::Tuple(_) => "tuple",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dataset_has_a_kind() {
        for (name, wanted) in [
            ("refs/heads/main", "branch"),
            ("refs/tags/v1", "tag"),
            ("refs/remotes/origin/main", "remote"),
            ("workingSets/heads/main", "working-set"),
            ("refs/stashes/dolt-cli", "stash"),
            ("refs/internal/create", "internal"),
            ("refs/statistics/main", "statistics"),
            ("anything", "other"),
        ] {
            assert_eq!(kind(&RefName::parse(name)), wanted, "{name}");
        }
    }
}
