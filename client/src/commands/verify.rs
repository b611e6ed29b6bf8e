//! `holdfast verify`.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::{Journal, JournalTail, NomsDir};
use holdfast_client::inventory;
use holdfast_client::transfer::{
    self, CheckError, Forgiving, Observer as _, Problem, TransferEvent, check_journal,
    check_whole_file, described,
};
use serde_json::json;

use super::place::{self, Looked};
use super::{Complaint, needs, pool, unusable};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

/// How often a store is opened again whose files collections take away.
const OPENED_AGAIN: u32 = 16;

pub(super) async fn verify(
    arguments: args::Verify,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let mut looked = place::look_at_damaged(&arguments.place, environment).await?;
    // A server shows an empty repository where there is none, and a misspelt name must not pass for one that is whole.
    if looked.store().is_none() && looked.root.is_zero() {
        let place = looked.name;
        return Err(Complaint::Absent { place }.into());
    }
    let progress = Progress::new(output.quiet);
    let mut report = Report {
        output,
        progress: &progress,
        problems: 0,
        damaged: BTreeSet::new(),
    };
    for damaged in std::mem::take(&mut looked.damaged) {
        report.problem(&described(damaged.error))?;
    }
    let verified = check(&looked, &mut report).await;
    if verified.is_ok() {
        report.needs(&looked).await?;
    }
    let damages = report.problems;
    let mut is_more = false;
    if let Some(path) = &arguments.inventory {
        is_more = check_inventory(&looked, path, &mut report).await?;
    }
    let problems = report.problems;
    progress.finish();
    let (chunks, reached) = verified?;
    match output.format {
        Format::Text => ui::print(&format!(
            "{}: {chunks} chunks checked, {reached} reached from the root, {problems} problems, {}",
            looked.name,
            progress.summary(progress.bytes()),
        ))?,
        Format::Json => {
            let place = match looked.store() {
                Some(_) => "directory",
                None => "remote",
            };
            let line = json!({
                place: looked.name,
                "chunks": chunks,
                "reached": reached,
                "problems": problems,
                "bytes": progress.bytes(),
                "seconds": progress.seconds(),
            });
            ui::print(&line.to_string())?;
        }
    }
    match (damages, problems) {
        (_, 0) => Ok(()),
        (0, count) => Err(Complaint::Inventory { count, is_more }.into()),
        (_, count) => Err(Complaint::Damaged { count }.into()),
    }
}

/// Compares the chunks of a store with an inventory. Returns whether all that is wrong is that more is there.
async fn check_inventory(
    looked: &Looked,
    path: &Path,
    report: &mut Report<'_>,
) -> anyhow::Result<bool> {
    let store = looked.store().ok_or_else(|| Complaint::NoStore {
        place: looked.name.clone(),
    })?;
    let (store, path) = (Arc::clone(store), path.to_owned());
    let compare = move || inventory::compare(&store, &path);
    let compared = pool().run(compare).await?;
    let signed = match &compared.signed_by {
        Some(key) => format!("signed with key {key}"),
        None => "not signed".to_owned(),
    };
    ui::note(&format!(
        "inventory of {} chunks from {}, {signed}",
        compared.header.chunks, compared.header.from,
    ));
    if compared.missing > 0 {
        let text = format!("{} chunks of the inventory are missing", compared.missing);
        report.problem(&text)?;
    }
    if compared.extra > 0 {
        let text = format!("{} chunks are not in the inventory", compared.extra);
        report.problem(&text)?;
    }
    if compared.unreached > 0 {
        let text = format!(
            "{} chunks of the inventory are reached by none of its branches and tags",
            compared.unreached
        );
        report.problem(&text)?;
    }
    Ok(compared.extra > 0 && compared.missing == 0 && compared.unreached == 0)
}

/// Returns how many chunks were checked and how many the root reaches. What comes from a remote is checked where it
/// comes in.
async fn check(looked: &Looked, report: &mut Report<'_>) -> anyhow::Result<(u64, u64)> {
    match looked.store() {
        Some(store) => {
            let chunks = check_chunks(store, report).await?;
            Ok((chunks, check_references(looked, report).await?))
        }
        None => {
            let reached = check_references(looked, report).await?;
            Ok((reached, reached))
        }
    }
}

/// How many damaged chunks of one file are named in text; in JSON all are.
const NAMED_IN_TEXT: usize = 100;

struct Report<'a> {
    output: Output,
    progress: &'a Progress,
    problems: u64,
    /// The chunks that are damaged or missing.
    damaged: BTreeSet<ChunkAddress>,
}

impl Report<'_> {
    /// Tells how many bytes the files of a store have: each is read once, and what its root reaches besides.
    fn expect(&self, store: &NomsDir) {
        let files = store.files().iter().map(|file| len(file.path()));
        let journal = store.journal().map_or(0, Journal::end);
        let bytes = files.sum::<u64>() + journal;
        self.progress.tell(TransferEvent::Expected { bytes });
    }

    /// Tells that bytes were read.
    fn read(&self, bytes: u64) {
        self.progress.tell(TransferEvent::Received { bytes });
    }

    /// Tells what needs the damaged chunks. Where there are none, nothing is read for it.
    async fn needs(&mut self, looked: &Looked) -> anyhow::Result<()> {
        let damaged: Vec<_> = std::mem::take(&mut self.damaged).into_iter().collect();
        if damaged.is_empty() {
            return Ok(());
        }
        let source = Forgiving::new(&*looked.source, self.progress);
        let (ghosts, pool) = (looked.ghosts(), pool());
        let found = transfer::needs(&source, looked.root, ghosts, &damaged, &pool);
        let lines = match found.await {
            Ok(found) => needs::lines(&found, self.output.format),
            Err(error) => {
                let text = format!(
                    "could not tell what needs the damaged chunks: {}",
                    described(error)
                );
                return self.problem(&text);
            }
        };
        lines.iter().try_for_each(|line| ui::print(line))
    }

    /// Tells the damaged chunks of one file. Each counts, however many lines there are.
    fn chunks(&mut self, path: &Path, problems: Vec<CheckError>) -> anyhow::Result<()> {
        self.damaged
            .extend(problems.iter().filter_map(CheckError::chunk));
        let named = match self.output.format {
            Format::Text => NAMED_IN_TEXT,
            Format::Json => usize::MAX,
        };
        let more = problems.len().saturating_sub(named);
        for problem in problems.into_iter().take(named) {
            self.problem(&described(problem))?;
        }
        if more > 0 {
            self.problems += more as u64;
            let path = path.display();
            let text = format!("{path}: {more} more damaged chunks; --format json names all");
            ui::print(&text)?;
        }
        Ok(())
    }

    /// Tells what lies behind the valid part of a journal: what a crash leaves is no damage.
    fn tail(&mut self, path: &Path, tail: JournalTail) -> anyhow::Result<()> {
        let JournalTail {
            offset,
            len,
            records,
        } = tail;
        let path = path.display();
        let ends = format!(
            "the sound part of {path} ends at byte {offset}, and {len} bytes lie behind it"
        );
        if records > 0 {
            return self.problem(&format!("{ends}, {records} intact records among them"));
        }
        let note = format!("{ends}: an incomplete record, which Dolt cuts off when it writes");
        match self.output.format {
            Format::Text => {
                ui::note(&note);
                Ok(())
            }
            Format::Json => {
                let line = json!({ "note": note, "offset": offset, "bytes": len });
                ui::print(&line.to_string())
            }
        }
    }

    fn problem(&mut self, text: &str) -> anyhow::Result<()> {
        self.problems += 1;
        match self.output.format {
            Format::Text => ui::print(text),
            Format::Json => ui::print(&json!({ "problem": text }).to_string()),
        }
    }
}

/// Hashes every chunk of every file and of the journal.
async fn check_chunks(store: &Arc<NomsDir>, report: &mut Report<'_>) -> anyhow::Result<u64> {
    let pool = pool();
    report.expect(store);
    let mut chunks = check_files(store, report).await?;
    if let Some(journal) = store.journal() {
        let opened = Arc::clone(store);
        let check = move || opened.journal().map(check_journal).unwrap_or_default();
        let checked = pool.run(check).await;
        report.read(journal.end());
        chunks += checked.count;
        report.chunks(journal.path(), checked.problems)?;
        if let Some(tail) = journal.tail() {
            report.tail(journal.path(), tail)?;
        }
    }
    Ok(chunks)
}

/// Hashes every chunk of every file. Where a collection took files away, those that are listed now are checked as well:
/// they hold what was there.
async fn check_files(store: &Arc<NomsDir>, report: &mut Report<'_>) -> anyhow::Result<u64> {
    let (pool, spill) = (pool(), std::env::temp_dir());
    let (mut store, mut checked) = (Arc::clone(store), HashSet::new());
    let mut chunks = 0;
    for _ in 0..OPENED_AGAIN {
        let mut is_replaced = false;
        for file in store.files() {
            if !checked.insert(file.path().to_owned()) {
                continue;
            }
            match check_whole_file(file.path(), file.kind(), &spill, &pool).await {
                Ok(checked) => {
                    report.read(len(file.path()));
                    chunks += u64::from(checked.count);
                    report.chunks(file.path(), checked.problems)?;
                }
                Err(_) if !file.path().exists() => is_replaced = true,
                Err(error) => report.problem(&described(error))?,
            }
        }
        if !is_replaced {
            return Ok(chunks);
        }
        let directory = store.directory().to_owned();
        match pool.run(move || NomsDir::open(&directory)).await {
            Ok(opened) => store = Arc::new(opened),
            Err(error) => {
                report.problem(&described(error))?;
                return Ok(chunks);
            }
        }
    }
    report.problem("not all files could be checked: collections took them away again and again")?;
    Ok(chunks)
}

/// How long a file is; one that is gone has no length.
fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Walks everything below the root.
async fn check_references(looked: &Looked, report: &mut Report<'_>) -> anyhow::Result<u64> {
    let source = Forgiving::new(&*looked.source, report.progress);
    let mut printed = Ok(());
    let tell = |Problem { address, text }| {
        report.damaged.insert(address);
        printed = report.problem(&text);
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let walked = transfer::check_references(&source, looked.root, looked.ghosts(), tell);
    let (reached, ended) = walked.await;
    printed?;
    match (ended, looked.store()) {
        (Ok(()), _) => {}
        (Err(error), None) => return Err(error.into()),
        (Err(error), Some(_)) => {
            let error = described(error);
            report.problem(&format!("not all references could be followed: {error}"))?;
        }
    }
    check_refs(looked, report).await?;
    Ok(reached)
}

/// Looks for refs that Dolt could not use.
async fn check_refs(looked: &Looked, report: &mut Report<'_>) -> anyhow::Result<()> {
    let source = Forgiving::new(&*looked.source, report.progress);
    // Where refs cannot be read, the walk told why.
    for problem in unusable::find(looked, &source).await.unwrap_or_default() {
        report.problem(&problem)?;
    }
    Ok(())
}
