//! `holdfast backup <from> <to>`.

use std::path::Path;
use std::sync::Arc;

use holdfast_client::backup::{self, BackupRequest, Created, KeepRules, Mended, Occupied, Outcome};
use holdfast_client::transfer::Observer;
use indicatif::BinaryBytes;
use serde_json::json;

use super::list::forget_by;
use super::{rules, shelf, units, who};
use crate::args::{CreateBackup, Environment, Format, Output};
use crate::commands::fetch::extent;
use crate::commands::remotes::Speaker;
use crate::commands::{Complaint, pool};
use crate::ui::{self, failure, progress::Progress};

pub(super) async fn create(
    arguments: CreateBackup,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let every = arguments.every.as_deref().map(units::interval);
    let every = every.transpose()?;
    let check = units::share(&arguments.check)?;
    let rules = rules(arguments.keep);
    let ends = arguments.from.zip(arguments.to);
    let (from, to) = ends.ok_or(Complaint::NoEnds)?;
    // What is named is a database in a directory, or an address, where no settings lie.
    let speaker = Speaker::of(Path::new(&from), arguments.who.user, environment)?;
    let source = speaker.source(&from).await?;
    let target = speaker.target(&to).await?;
    if !rules.is_empty() {
        shelf(&*target)?;
    }
    let request = BackupRequest {
        work: speaker.work(arguments.work.as_deref(), &source, &*target),
        source,
        target,
        occupied: match arguments.force {
            true => Occupied::Replaced,
            false => Occupied::Refused,
        },
        extent: extent(arguments.dry_run),
        check,
        by: who(&speaker),
    };
    let Some(every) = every else {
        return once(&request, &rules, &speaker, output).await;
    };
    let clock = &speaker.clock;
    let mut is_first = true;
    loop {
        let next = clock.monotonic() + every;
        match once(&request, &rules, &speaker, output).await {
            Err(error) if is_first || failure::is_of_a_closed_pipe(&error) => return Err(error),
            // What hinders one backup may be over when the next is due.
            Err(error) => ui::fail(&error),
            Ok(()) => {}
        }
        is_first = false;
        clock.sleep(next.saturating_sub(clock.monotonic())).await;
    }
}

/// Makes one backup, and forgets those that the rules do not keep.
async fn once(
    request: &BackupRequest,
    rules: &KeepRules,
    speaker: &Speaker<'_>,
    output: Output,
) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let created = backup::create(request, &pool(), &speaker.clock, observer).await;
    progress.finish();
    let created = created?;
    match output.format {
        Format::Text => {
            for line in mended(request, &created.mended) {
                ui::print(&line)?;
            }
            ui::print(&line(request, &created))?;
        }
        Format::Json => ui::print(&json(request, &created).to_string())?,
    }
    match rules.is_empty() || created.outcome == Outcome::DryRun {
        true => Ok(()),
        false => {
            let now = Some(speaker.clock.now());
            forget_by(rules, now, &*request.target, speaker, output).await
        }
    }
}

fn line(request: &BackupRequest, created: &Created) -> String {
    let (source, target) = (request.source.name(), request.target.address());
    let (chunks, bytes) = (created.added.chunks, BinaryBytes(created.added.bytes));
    let backup = match created.id {
        Some(id) => format!("backup {id}"),
        None => "backup".to_owned(),
    };
    match created.outcome {
        Outcome::New => {
            format!("{backup} of {source} is in {target}: {chunks} chunks added, {bytes}")
        }
        Outcome::Overtaken => {
            format!("{backup} of {source} is in {target}, and a later one is the latest there")
        }
        Outcome::Unchanged => {
            format!("{source} has not changed since {backup}, which is in {target}")
        }
        Outcome::DryRun => {
            format!("{source} would add {chunks} chunks to {target}, {bytes}")
        }
    }
}

/// What of the target was mended, and what could not be.
fn mended(request: &BackupRequest, mended: &Mended) -> Vec<String> {
    if mended.files.is_empty() {
        return Vec::new();
    }
    let target = request.target.address();
    let files: Vec<_> = mended.files.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!(
        "mended {target}: {} chunks written again in place of the damaged files {}, {}",
        mended.chunks,
        files.join(", "),
        backup::needed_by(&mended.backups),
    )];
    let lacking = &mended.lacking;
    if lacking.count > 0 {
        let first: Vec<_> = lacking.first.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "could not mend {} chunks that earlier backups need and {} has not, the first: {}; \
             `holdfast backup verify --backup NUMBER` tells whether a backup needs them",
            lacking.count,
            request.source.name(),
            first.join(", "),
        ));
    }
    lines
}

fn json(request: &BackupRequest, created: &Created) -> serde_json::Value {
    json!({
        "id": created.id,
        "root": created.root,
        "source": request.source.name(),
        "target": request.target.address(),
        "chunks": created.added.chunks,
        "bytes": created.added.bytes,
        "outcome": match created.outcome {
            Outcome::New => "new",
            Outcome::Overtaken => "overtaken",
            Outcome::Unchanged => "unchanged",
            Outcome::DryRun => "dry-run",
        },
        "mended": {
            "files": created.mended.files,
            "chunks": created.mended.chunks,
            "backups": created.mended.backups,
            "lacking": created.mended.lacking.count,
            "lacking_first": created.mended.lacking.first,
        },
    })
}
