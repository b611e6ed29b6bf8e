//! `holdfast backup verify`.

use std::sync::Arc;

use holdfast_client::backup::{self, Depth, VerifyRequest, Which};
use holdfast_client::remote::Lot;
use holdfast_client::transfer::Observer;
use serde_json::json;

use super::units;
use crate::args::{Environment, Format, Output, VerifyBackup};
use crate::commands::remotes::Speaker;
use crate::commands::{Complaint, needs, pool};
use crate::ui::{self, progress::Progress};

pub(super) async fn verify(
    arguments: VerifyBackup,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    if let Some(text) = arguments.rest {
        return Err(Complaint::Behind { text }.into());
    }
    let depth = match &arguments.sample {
        None => Depth::Whole,
        Some(share) => Depth::Sample(Lot::Chance {
            per_million: units::per_million(share)?,
            seed: rand::RngExt::random(&mut rand::rng()),
        }),
    };
    let speaker = Speaker::new(arguments.who.user, environment)?;
    let request = VerifyRequest {
        target: speaker.target(&arguments.target).await?,
        which: arguments.backup.map_or(Which::Latest, Which::Id),
        depth,
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let mut printed = Ok(());
    let mut tell = |problem: String| {
        let line = match output.format {
            Format::Text => ui::plain(&problem).into_owned(),
            Format::Json => json!({ "problem": problem }).to_string(),
        };
        if printed.is_ok() {
            printed = ui::print(&line);
        }
    };
    let verified = backup::verify(&request, &pool(), &speaker.clock, observer, &mut tell).await;
    progress.finish();
    printed?;
    let verified = verified?;
    for line in needs::lines(&verified.needs, output.format) {
        ui::print(&line)?;
    }
    for (file, backups) in &verified.damaged {
        ui::print(&match output.format {
            Format::Text => format!("file {file} is {}", backup::needed_by(backups)),
            Format::Json => json!({ "file": file, "backups": backups }).to_string(),
        })?;
    }
    let reached = match depth {
        Depth::Whole => "chunks reached from the root",
        Depth::Sample(_) => "commits walked",
    };
    ui::print(&match output.format {
        Format::Text => format!(
            "{}: {} records, {} files, {} chunks checked, {} {reached}, {} problems",
            request.target.address(),
            verified.records,
            verified.files,
            verified.chunks,
            verified.reached,
            verified.problems,
        ),
        Format::Json => json!({
            "target": request.target.address(),
            "records": verified.records,
            "files": verified.files,
            "chunks": verified.chunks,
            "reached": verified.reached,
            "problems": verified.problems,
        })
        .to_string(),
    })?;
    match verified.problems {
        0 => Ok(()),
        count => Err(Complaint::Damaged { count }.into()),
    }
}
