//! `holdfast verify`.

use std::ops::ControlFlow;
use std::sync::Arc;

use holdfast_client::database::{Database, StoreSource};
use holdfast_client::transfer::{check_file, check_journal};
use holdfast_doltdb::{Reached, reach};
use serde_json::json;

use super::{Complaint, open, pool};
use crate::args::{Format, Output, Place};
use crate::ui;

pub(super) async fn verify(place: Place, output: Output) -> anyhow::Result<()> {
    let (database, source) = open(&place.directory).await?;
    let mut report = Report {
        output,
        problems: 0,
    };
    let chunks = check_chunks(&database, &mut report).await?;
    let reached = check_references(&database, &source, &mut report).await?;
    match output.format {
        Format::Text => ui::print(&format!(
            "{}: {chunks} chunks checked, {reached} reached from the root, {} problems",
            place.directory.display(),
            report.problems,
        ))?,
        Format::Json => ui::print(
            &json!({
                "directory": place.directory,
                "chunks": chunks,
                "reached": reached,
                "problems": report.problems,
            })
            .to_string(),
        )?,
    }
    match report.problems {
        0 => Ok(()),
        count => Err(Complaint::Damaged { count }.into()),
    }
}

struct Report {
    output: Output,
    problems: u64,
}

impl Report {
    fn problem(&mut self, text: &str) -> anyhow::Result<()> {
        self.problems += 1;
        match self.output.format {
            Format::Text => ui::print(text),
            Format::Json => ui::print(&json!({ "problem": text }).to_string()),
        }
    }
}

/// Hashes every chunk of every file and of the journal.
async fn check_chunks(database: &Database, report: &mut Report) -> anyhow::Result<u64> {
    let pool = pool();
    let mut chunks = 0;
    for file in database.store().files() {
        match check_file(file.path(), file.kind(), &pool).await {
            Ok(count) => chunks += u64::from(count),
            Err(error) => report.problem(&described(error))?,
        }
    }
    if database.store().journal().is_some() {
        let store = Arc::clone(database.store());
        let check = move || store.journal().map(check_journal).unwrap_or_default();
        let checked = pool.run(check).await;
        chunks += checked.count;
        for error in checked.problems {
            report.problem(&described(error))?;
        }
    }
    Ok(chunks)
}

/// Walks everything below the root.
async fn check_references(
    database: &Database,
    source: &StoreSource,
    report: &mut Report,
) -> anyhow::Result<u64> {
    let Some(root) = database.store().root().chunk() else {
        return Ok(0);
    };
    let ghosts = database.store().ghosts();
    let (mut reached, mut problems) = (0_u64, Vec::new());
    let visit = |found: Reached<'_>| {
        match found {
            Reached::Chunk { .. } => reached += 1,
            Reached::Missing { address, .. } if ghosts.contains(&address) => {}
            Reached::Missing { address, parent } => problems.push(match parent {
                Some(parent) => format!("chunk {address} is missing; chunk {parent} points at it"),
                None => format!("the root {address} is missing"),
            }),
            Reached::Unreadable { address, error, .. } => {
                problems.push(format!("chunk {address}: {}", described(error)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let walked = reach(source, [root], visit).await;
    if let Err(error) = walked {
        // A chunk that cannot be read was named above; what lies below it is not known.
        let error = described(error);
        problems.push(format!("not all references could be followed: {error}"));
    }
    for problem in problems {
        report.problem(&problem)?;
    }
    Ok(reached)
}

/// An error with its causes in one line.
fn described(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
