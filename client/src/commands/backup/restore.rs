//! `holdfast backup restore`.

use std::path::Path;
use std::sync::Arc;

use holdfast_client::backup::{self, RestoreRequest, Which};
use holdfast_client::transfer::Observer;
use serde_json::json;

use super::units;
use crate::args::{Environment, Format, Output, RestoreBackup};
use crate::commands::remotes::Speaker;
use crate::commands::{Complaint, pool};
use crate::ui::{self, progress::Progress};

pub(super) async fn restore(
    arguments: RestoreBackup,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let which = match (arguments.backup, &arguments.at) {
        (Some(id), _) => Which::Id(id),
        (None, Some(at)) => units::moment(at)?,
        (None, None) => {
            check_directory(&arguments.directory)?;
            Which::Latest
        }
    };
    let speaker = Speaker::new(arguments.who.user, environment)?;
    let request = RestoreRequest {
        target: speaker.target(&arguments.target).await?,
        which,
        branches: arguments.branches,
    };
    let directory = arguments.directory;
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let restored = backup::restore(&request, &directory, &pool(), &speaker.clock, observer).await;
    progress.finish();
    let restored = restored?;
    let of = match restored.id {
        Some(id) => format!("backup {id}"),
        None => format!("the backup of root {}", restored.root),
    };
    ui::print(&match output.format {
        Format::Text => format!(
            "restored {of} into {}: branch {}, {} branches, {} chunks checked",
            directory.display(),
            restored.branch,
            restored.branches,
            restored.chunks,
        ),
        Format::Json => json!({
            "id": restored.id,
            "root": restored.root,
            "directory": directory,
            "branch": restored.branch,
            "branches": restored.branches,
            "chunks": restored.chunks,
        })
        .to_string(),
    })
}

/// Refuses a directory that may be meant as the number of a backup, before the newest one is restored into it.
fn check_directory(directory: &Path) -> Result<(), Complaint> {
    match directory.to_str() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(Complaint::Number {
            text: text.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_no_directory_unless_it_is_written_as_a_path() {
        for text in ["1", "0042"] {
            let refused = check_directory(Path::new(text));
            assert!(matches!(refused, Err(Complaint::Number { .. })), "{text}");
        }
        for text in ["./1", "1a", "2026-11-28", "/1"] {
            check_directory(Path::new(text)).unwrap();
        }
    }
}
