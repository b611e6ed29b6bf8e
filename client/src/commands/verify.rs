//! `holdfast verify`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};
use holdfast_client::transfer::{Observer, TransferEvent, check_file, check_journal};
use holdfast_doltdb::{ChunkSource, Reached, SourceError, reach};
use serde_json::json;

use super::place::{self, Looked};
use super::{Complaint, pool};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn verify(
    arguments: args::Verify,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let looked = place::look_at(&arguments.place, environment).await?;
    let progress = Progress::new(output.quiet);
    let mut report = Report {
        output,
        progress: &progress,
        problems: 0,
    };
    let verified = check(&looked, &mut report).await;
    let problems = report.problems;
    progress.finish();
    let (chunks, reached) = verified?;
    match output.format {
        Format::Text => ui::print(&format!(
            "{}: {chunks} chunks checked, {reached} reached from the root, {problems} problems",
            looked.name,
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
            });
            ui::print(&line.to_string())?;
        }
    }
    match problems {
        0 => Ok(()),
        count => Err(Complaint::Damaged { count }.into()),
    }
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

struct Report<'a> {
    output: Output,
    progress: &'a Progress,
    problems: u64,
}

impl Report<'_> {
    fn problem(&mut self, text: &str) -> anyhow::Result<()> {
        self.problems += 1;
        self.progress.aside(|| match self.output.format {
            Format::Text => ui::print(text),
            Format::Json => ui::print(&json!({ "problem": text }).to_string()),
        })
    }
}

/// Hashes every chunk of every file and of the journal.
async fn check_chunks(store: &Arc<NomsDir>, report: &mut Report<'_>) -> anyhow::Result<u64> {
    let pool = pool();
    let mut chunks = 0;
    for file in store.files() {
        match check_file(file.path(), file.kind(), &pool).await {
            Ok(count) => chunks += u64::from(count),
            Err(error) => report.problem(&described(error))?,
        }
    }
    if store.journal().is_some() {
        let store = Arc::clone(store);
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
async fn check_references(looked: &Looked, report: &mut Report<'_>) -> anyhow::Result<u64> {
    let Some(root) = looked.root.chunk() else {
        return Ok(0);
    };
    let ghosts = looked.ghosts();
    let source = Forgiving {
        source: &*looked.source,
        observer: report.progress,
        faults: Mutex::default(),
    };
    let (mut reached, mut printed) = (0_u64, Ok(()));
    let visit = |found: Reached<'_>| {
        let problem = match found {
            Reached::Chunk { .. } => {
                reached += 1;
                return ControlFlow::Continue(());
            }
            Reached::Missing { address, .. } if ghosts.contains(&address) => {
                return ControlFlow::Continue(());
            }
            Reached::Missing { address, parent } => match (source.fault(address), parent) {
                (Some(fault), _) => format!("chunk {address} cannot be read: {fault}"),
                (None, Some(parent)) => {
                    format!("chunk {address} is missing; chunk {parent} points at it")
                }
                (None, None) => format!("the root {address} is missing"),
            },
            Reached::Unreadable { address, error, .. } => {
                format!("chunk {address}: {}", described(error))
            }
            _ => return ControlFlow::Continue(()),
        };
        printed = report.problem(&problem);
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let walked = reach(&source, [root], visit).await;
    printed?;
    match (walked, looked.store()) {
        (Ok(()), _) => {}
        (Err(error), None) => return Err(error.into()),
        (Err(error), Some(_)) => {
            let error = described(error);
            report.problem(&format!("not all references could be followed: {error}"))?;
        }
    }
    Ok(reached)
}

/// Goes on behind chunks that cannot be read: they count as absent, and why is kept until it is told.
struct Forgiving<'a> {
    source: &'a dyn ChunkSource,
    observer: &'a dyn Observer,
    faults: Mutex<HashMap<ChunkAddress, String>>,
}

impl Forgiving<'_> {
    /// Why a chunk could not be read.
    fn fault(&self, address: ChunkAddress) -> Option<String> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.remove(&address)
    }
}

#[async_trait]
impl ChunkSource for Forgiving<'_> {
    async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunks = match self.source.get(addresses).await {
            Err(error) if is_of_a_chunk(&error) => {
                let mut chunks = Vec::with_capacity(addresses.len());
                for address in addresses {
                    match self.source.get(&[*address]).await {
                        Ok(chunk) => chunks.push(chunk.into_iter().next().flatten()),
                        Err(error) if is_of_a_chunk(&error) => {
                            let mut faults =
                                self.faults.lock().unwrap_or_else(PoisonError::into_inner);
                            faults.insert(*address, described(error));
                            chunks.push(None);
                        }
                        Err(error) => return Err(error),
                    }
                }
                chunks
            }
            answered => answered?,
        };
        let lens = chunks.iter().flatten().map(|chunk| chunk.len() as u64);
        let bytes = lens.sum();
        self.observer.tell(TransferEvent::Received { bytes });
        Ok(chunks)
    }
}

/// Whether the chunk is to blame, and not whoever gives it.
fn is_of_a_chunk(error: &SourceError) -> bool {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Dangling | ErrorKind::Internal => true,
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Refused
        | ErrorKind::Exhausted
        | ErrorKind::Unauthenticated
        | ErrorKind::Denied
        | ErrorKind::Unavailable => false,
    }
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

#[cfg(test)]
mod tests {
    use holdfast_client::transfer::Silent;

    use super::*;

    /// Fails whenever it is asked for the address of sevens.
    struct Spotted(ErrorKind);

    #[async_trait]
    impl ChunkSource for Spotted {
        async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError> {
            match addresses.contains(&ChunkAddress::new([7; 20])) {
                true => Err(SourceError::new(self.0, "seven")),
                false => Ok(vec![Some(Bytes::from_static(b"x")); addresses.len()]),
            }
        }
    }

    #[tokio::test]
    async fn one_chunk_that_cannot_be_read_does_not_hide_the_others() {
        let addresses = [6, 7, 8].map(|byte| ChunkAddress::new([byte; 20]));
        let forgiving = |source| Forgiving {
            source,
            observer: &Silent,
            faults: Mutex::default(),
        };
        let damaged = Spotted(ErrorKind::Corrupt);
        let damaged = forgiving(&damaged);
        let chunks = damaged.get(&addresses).await.unwrap();
        let are_there: Vec<_> = chunks.iter().map(Option::is_some).collect();
        assert_eq!(are_there, [true, false, true]);
        assert_eq!(
            damaged.fault(addresses[1]).as_deref(),
            Some("get chunks: seven")
        );
        assert_eq!(damaged.fault(addresses[1]), None, "it was told");

        let gone = Spotted(ErrorKind::Unavailable);
        let error = forgiving(&gone).get(&addresses).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
