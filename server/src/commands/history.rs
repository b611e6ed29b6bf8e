//! Every change of a repository's root, with the refs that it moved, read off the log.

use std::io::Write;
use std::sync::Arc;

use holdfast_chunkstore::repo::log::Log;
use holdfast_chunkstore::repo::record::Record;
use holdfast_chunkstore::repo::{RefMove, RepoName, Repositories};

use super::{Answer, CommandError, Form, find, time};

/// One change of the root.
#[derive(Debug, serde::Serialize)]
struct Change {
    sequence: u64,
    time: String,
    actor: String,
    client: String,
    old_root: String,
    new_root: String,
    refs: Vec<RefMove>,
}

/// Lists every change of a repository's root, oldest first.
pub async fn history(
    repositories: &Repositories,
    name: &str,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let repository = find(repositories, name).await?;
    let parts = repositories.parts();
    let log = Log::new(
        Arc::clone(&parts.objects),
        Arc::clone(&parts.clock),
        repository.id(),
    );
    let last = repository.state().await?.sequence;
    let mut answer = Answer::begin(form, out)?;
    let told = tell(&log, repository.name(), last, &mut answer).await;
    // Also what was cut short is whole JSON.
    answer.end()?;
    told
}

async fn tell(
    log: &Log,
    name: &RepoName,
    last: u64,
    answer: &mut Answer<'_>,
) -> Result<(), CommandError> {
    for sequence in 1..=last {
        let gap = || CommandError::Gap {
            name: name.clone(),
            sequence,
        };
        let (record, _) = log.read(sequence).await?.ok_or_else(gap)?;
        if record.old_root != record.new_root {
            let refs = log.list(&record.refs).await?;
            answer.push(&change(&record, refs), write_text)?;
        }
    }
    Ok(())
}

fn change(record: &Record, refs: Vec<RefMove>) -> Change {
    Change {
        sequence: record.sequence,
        time: time(record.time),
        actor: record.actor.name.clone(),
        client: record.actor.client.clone(),
        old_root: record.old_root.to_string(),
        new_root: record.new_root.to_string(),
        refs,
    }
}

fn write_text(change: &Change, out: &mut dyn Write) -> std::io::Result<()> {
    let Change {
        sequence,
        time,
        actor,
        client,
        new_root,
        refs,
        ..
    } = change;
    writeln!(out, "{sequence}  {time}  {actor}  {new_root}  {client}")?;
    for moved in refs {
        let side = |address: &Option<_>| {
            address
                .as_ref()
                .map_or_else(|| "(none)".to_owned(), ToString::to_string)
        };
        let (old, new) = (side(&moved.old), side(&moved.new));
        // A name that was taken once may give a terminal orders.
        let is_order = |character: char| character.is_control();
        let name = moved.name.replace(is_order, "\u{fffd}");
        writeln!(out, "    {name}  {old} -> {new}")?;
    }
    Ok(())
}
