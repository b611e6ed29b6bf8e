//! `holdfast push --repair`: what comes before the push.

use std::path::Path;
use std::sync::Arc;

use holdfast_client::transfer::{self, Extent, Observer, PushRequest, RepairRequest, Repaired};
use serde_json::{Value, json};

use super::{estimate, pool};
use crate::ui;

/// Sends what the remote of a push lost.
pub(super) async fn repair(
    push: &PushRequest,
    directory: &Path,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Repaired> {
    let request = RepairRequest {
        remote: Arc::clone(&push.remote),
        remote_name: push.remote_name.clone(),
        refs: push.refs.clone(),
        extent: push.extent,
    };
    Ok(transfer::repair(&request, directory, &pool(), observer).await?)
}

/// Tells people.
pub(super) fn print(push: &PushRequest, repaired: &Repaired) -> anyhow::Result<()> {
    let address = push.remote.address();
    let what = match (repaired.chunks, push.extent) {
        (0, _) => format!("Nothing that is here is missing at {address}"),
        (chunks, Extent::Whole) => format!("Sent {chunks} chunks that were missing at {address}"),
        (chunks, Extent::DryRun) => {
            let much = estimate::line(chunks, repaired.bytes, false);
            format!("Missing at {address}: {much}")
        }
    };
    ui::print(&what)?;
    if !repaired.not_here.is_empty() {
        let names: Vec<_> = repaired.not_here.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        let names = ui::plain(&names);
        ui::print(&format!(
            "Not looked at, as they are not here: {names}; fetch them first, or repair from a clone that has them"
        ))?;
    }
    Ok(())
}

/// What programs are told of a push, and of what was sent before it.
pub(super) fn told(mut push: Value, repaired: &Repaired) -> Value {
    let not_here: Vec<_> = repaired.not_here.iter().map(ToString::to_string).collect();
    push["repaired"] = json!({
        "chunks": repaired.chunks,
        "bytes": repaired.bytes,
        "not_here": not_here,
    });
    push
}
