//! `holdfast backup list` and `holdfast backup forget`.

use holdfast_chunkstore::clock::Timestamp;
use holdfast_client::backup::{self, BackupError, KeepRules, ListedBackup};
use holdfast_client::remote::Remote;
use indicatif::BinaryBytes;
use serde_json::json;

use super::{rules, shelf, shown, who};
use crate::args::{Environment, ForgetBackups, Format, ListBackups, Output};
use crate::commands::remotes::Speaker;
use crate::ui;

pub(super) async fn list(
    arguments: ListBackups,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::new(arguments.who.user, environment)?;
    let target = speaker.target(&arguments.target).await?;
    let Some(shelf) = target.shelf() else {
        return current(&*target, output).await;
    };
    let backups = backup::list(shelf).await?;
    if backups.is_empty() {
        return current(&*target, output).await;
    }
    for backup in &backups {
        ui::print(&match output.format {
            Format::Text => line(backup),
            Format::Json => json(backup).to_string(),
        })?;
    }
    Ok(())
}

/// Shows the root of a target that has no records.
async fn current(target: &dyn Remote, output: Output) -> anyhow::Result<()> {
    let root = target.root().await?;
    if root.is_zero() {
        let target = target.address();
        return Err(BackupError::Empty { target }.into());
    }
    ui::print(&match output.format {
        Format::Text => format!("   current  {root}"),
        Format::Json => json!({ "id": null, "root": root }).to_string(),
    })?;
    ui::note(match target.shelf() {
        Some(_) => "it was not made by holdfast, and nothing is written down of it",
        None => "older ones are in the history of the forge: `holdfastd history` there lists them",
    });
    Ok(())
}

fn line(record: &ListedBackup) -> String {
    let source = ui::plain(&record.source).into_owned();
    format!(
        "{:>10}  {}  {}  {:>8} chunks  {:>12}  {source}",
        record.id.to_string(),
        shown(record.at),
        record.root,
        record.added.chunks,
        BinaryBytes(record.added.bytes).to_string(),
    )
}

fn json(record: &ListedBackup) -> serde_json::Value {
    json!({
        "id": record.id,
        "at": shown(record.at),
        "root": record.root,
        "source": record.source,
        "chunks": record.added.chunks,
        "bytes": record.added.bytes,
        "files": record.files,
        "by": record.by,
        "client": record.client,
    })
}

pub(super) async fn forget(
    arguments: ForgetBackups,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::new(arguments.who.user, environment)?;
    let target = speaker.target(&arguments.target).await?;
    let now = (!arguments.dry_run).then(|| speaker.clock.now());
    forget_by(&rules(arguments.keep), now, &*target, &speaker, output).await
}

/// Forgets what the rules do not keep; without a time it only says what that is.
pub(super) async fn forget_by(
    rules: &KeepRules,
    now: Option<Timestamp>,
    target: &dyn Remote,
    speaker: &Speaker<'_>,
    output: Output,
) -> anyhow::Result<()> {
    let by = who(speaker);
    let (kept, others) = backup::forget(shelf(target)?, rules, now, by.as_deref()).await?;
    if output.format == Format::Json {
        let ids = |backups: &[ListedBackup]| -> Vec<_> {
            backups.iter().map(|backup| backup.id).collect()
        };
        let told = json!({
            "kept": ids(&kept),
            "forgotten": ids(&others),
            "dry_run": now.is_none(),
        });
        return ui::print(&told.to_string());
    }
    let verb = match now {
        Some(_) => "forgotten",
        None => "would be forgotten",
    };
    for backup in &others {
        let (id, at) = (backup.id, shown(backup.at));
        ui::print(&format!("{verb}: backup {id} of {at}"))?;
    }
    let (kept, others) = (kept.len(), others.len());
    ui::print(&format!(
        "{kept} backups kept, {others} {verb}; all chunks stay in the target"
    ))
}
