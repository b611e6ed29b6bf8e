//! Refs that Dolt could not use, as commands that only look meet them.

use holdfast_client::transfer::Forgiving;
use holdfast_doltdb::{ReadError, RefName, Refs, unusable_refs};

use super::place::Looked;
use crate::ui;

/// Whether a ref can be shown; one whose name cannot be used is passed over with a warning.
pub(super) fn is_shown(name: &RefName, of: &str) -> bool {
    match name.check_usable() {
        Ok(()) => true,
        Err(fault) => {
            ui::warn(&format!("{of}: {fault}; it is passed over"));
            false
        }
    }
}

/// What is wrong with the refs of a place that Dolt could not use, a line for each. Chunks that cannot be read are
/// found elsewhere.
pub(super) async fn find(
    looked: &Looked,
    source: &Forgiving<'_>,
) -> Result<Vec<String>, ReadError> {
    let mut refs = Refs::open(&*looked.source, looked.root).await?;
    let mut all = Vec::new();
    while let Some(named) = refs.next().await? {
        all.push(named);
    }
    let elsewhere: Vec<_> = all
        .iter()
        .filter_map(|(name, _)| Some((name.clone(), name.check_place().err()?)))
        .collect();
    let unusable = unusable_refs(source, all).await?;
    let line = |(name, fault): (RefName, _)| {
        let remedy = match (looked.store(), name.dolt_removal()) {
            (Some(_), Some(command)) => format!("; this removes it: {command}"),
            _ => String::new(),
        };
        format!("{fault}; dolt cannot use it{remedy}")
    };
    Ok(unusable.into_iter().chain(elsewhere).map(line).collect())
}
