//! `holdfast mirror`.

use std::path::Path;
use std::sync::Arc;

use holdfast_client::mirror::{self, Ahead, MirrorRequest, Mirrored};
use holdfast_client::transfer::{Extent, Observer, RefUpdate, Vanished};
use indicatif::BinaryBytes;
use serde_json::json;

use super::fetch::{extent, span, update_json};
use super::remotes::Speaker;
use super::{estimate, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn mirror(
    arguments: args::Mirror,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let speaker = Speaker::of(Path::new(&arguments.from), arguments.who.user, environment)?;
    let source = speaker.source(&arguments.from).await?;
    let target = speaker.target(&arguments.to).await?;
    let request = MirrorRequest {
        work: speaker.work(arguments.work.as_deref(), &source, &*target),
        source,
        target,
        vanished: match arguments.keep_vanished {
            true => Vanished::Kept,
            false => Vanished::Pruned,
        },
        ahead: match arguments.force {
            true => Ahead::LeftBehind,
            false => Ahead::Refused,
        },
        extent: extent(arguments.dry_run),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let mirrored = mirror::mirror(&request, &pool(), &speaker.clock, observer).await;
    progress.finish();
    show(&request, &mirrored?, output)
}

fn show(request: &MirrorRequest, mirrored: &Mirrored, output: Output) -> anyhow::Result<()> {
    let (source, target) = (request.source.name(), request.target.address());
    if output.format == Format::Json {
        let updates: Vec<_> = mirrored.updates.iter().map(update_json).collect();
        let told = json!({
            "source": source,
            "target": target,
            "updates": updates,
            "chunks": mirrored.chunks,
            "bytes": mirrored.bytes,
        });
        return ui::print(&told.to_string());
    }
    if mirrored.updates.is_empty() {
        return ui::print(&format!("{target} is equal to {source}"));
    }
    ui::print(&format!("To {target}"))?;
    for update in &mirrored.updates {
        ui::print(&line(update))?;
    }
    let (chunks, bytes) = (mirrored.chunks, mirrored.bytes);
    ui::print(&match request.extent {
        Extent::Whole => format!("{chunks} chunks added, {}", BinaryBytes(bytes)),
        Extent::DryRun => estimate::line(chunks, bytes, false),
    })
}

fn line(update: &RefUpdate) -> String {
    let name = update.name.to_string();
    let name = ui::plain(&name);
    match (update.old, update.new) {
        (_, None) => format!(" - {:<19} {name}", "[deleted]"),
        (None, Some(_)) => format!(" * {:<19} {name}", "[new]"),
        (Some(old), Some(new)) => format!("   {:<19} {name}", span(old, new)),
    }
}
