//! What needs damaged chunks, as `verify` and `backup verify` tell it.

use holdfast_client::transfer::{Need, Needs, Place};
use serde_json::{Value, json};

use crate::args::Format;
use crate::ui;

/// The lines that tell it: for each chunk one, for all that are not told alone one, and one where refs cannot be read.
pub(super) fn lines(needs: &Needs, format: Format) -> Vec<String> {
    let mut lines = Vec::new();
    for (chunk, need) in &needs.each {
        lines.push(match format {
            Format::Text => ui::plain(&format!("chunk {chunk}: {need}")).into_owned(),
            Format::Json => {
                let mut line = told(need);
                line["chunk"] = json!(chunk);
                line.to_string()
            }
        });
    }
    if let Some((count, need)) = &needs.others {
        lines.push(match format {
            Format::Text => ui::plain(&format!("{count} more chunks: {need}")).into_owned(),
            Format::Json => {
                let mut line = told(need);
                line["chunks"] = json!(count);
                line.to_string()
            }
        });
    }
    if needs.lacks_refs {
        let note =
            "not all refs can be read: those that are not named may need the damaged chunks too";
        lines.push(match format {
            Format::Text => note.to_owned(),
            Format::Json => json!({ "note": note }).to_string(),
        });
    }
    lines
}

fn told(need: &Need) -> Value {
    let refs: Vec<_> = need.refs.iter().map(ToString::to_string).collect();
    let commits: Vec<_> = need.commits.iter().map(|commit| commit.address).collect();
    json!({
        "is": match need.place {
            Place::Commit => "commit",
            Place::Tables => "tables",
            Place::Ancestors => "ancestors",
            Place::Ref => "ref",
            Place::Unreached => "unreached",
        },
        "refs": refs,
        "more_refs": need.more_refs,
        "commits": commits,
        "more_commits": need.more_commits,
    })
}
