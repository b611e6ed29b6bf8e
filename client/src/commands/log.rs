//! `holdfast log`.

use std::collections::{BinaryHeap, HashSet};

use holdfast_chunkstore::ChunkAddress;
use holdfast_client::database::{Database, StoreSource};
use holdfast_doltdb::model::{Commit, Tag};
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::{ChunkSource as _, ReadError};
use jiff::Timestamp;
use serde_json::json;

use super::{Complaint, open};
use crate::args::{self, Format, Output};
use crate::ui;

pub(super) async fn log(arguments: args::Log, output: Output) -> anyhow::Result<()> {
    let (database, source) = open(&arguments.place.directory).await?;
    let start = match &arguments.start {
        Some(name) => resolve(&database, &source, name).await?,
        None => {
            let branch = database.repo_state().branch().unwrap_or("main").to_owned();
            resolve(&database, &source, &branch).await?
        }
    };
    // Heights fall from each commit to its parents, so the greatest first is an order that puts children before them.
    let mut waiting = BinaryHeap::new();
    let mut seen = HashSet::from([start]);
    if let Some(entry) = read(&source, start).await? {
        waiting.push(entry);
    }
    let mut left = arguments.number.unwrap_or(usize::MAX);
    while let Some(entry) = waiting.pop() {
        if left == 0 {
            break;
        }
        left -= 1;
        show(&entry, output)?;
        for parent in &entry.parents {
            // What a shallow clone left out is where its log ends.
            if seen.insert(*parent)
                && !database.store().ghosts().contains(parent)
                && let Some(parent) = read(&source, *parent).await?
            {
                waiting.push(parent);
            }
        }
    }
    Ok(())
}

/// A commit on the list; the greatest is shown first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogEntry {
    height: u64,
    at_millis: i64,
    address: ChunkAddress,
    author: String,
    email: String,
    description: String,
    parents: Vec<ChunkAddress>,
}

async fn read(source: &StoreSource, address: ChunkAddress) -> anyhow::Result<Option<LogEntry>> {
    let Some(chunk) = get(source, address).await? else {
        return Err(ReadError::Missing { address }.into());
    };
    let decode = |source| ReadError::Decode { address, source };
    let commit = Commit::decode(&chunk).map_err(decode)?;
    Ok(Some(LogEntry {
        height: commit.height,
        at_millis: commit.author.at_millis,
        address,
        author: commit.author.name.clone().into_owned(),
        email: commit.author.email.clone().into_owned(),
        description: commit.description.clone().into_owned(),
        parents: commit.parents().collect(),
    }))
}

async fn get(
    source: &StoreSource,
    address: ChunkAddress,
) -> Result<Option<bytes::Bytes>, ReadError> {
    let chunks = source.get(&[address]).await;
    let chunks = chunks.map_err(|source| ReadError::Source { count: 1, source })?;
    Ok(chunks.into_iter().next().flatten())
}

/// Takes a branch, a tag or a commit's address to a commit.
async fn resolve(
    database: &Database,
    source: &StoreSource,
    name: &str,
) -> anyhow::Result<ChunkAddress> {
    let unknown = || Complaint::Unknown {
        name: name.to_owned(),
    };
    if let Ok(address) = name.parse::<ChunkAddress>() {
        let is_there = get(source, address).await?.is_some();
        return if is_there {
            Ok(address)
        } else {
            Err(unknown().into())
        };
    }
    let refs = AddressMap::open(source, database.store().root()).await?;
    let candidates = [
        name.to_owned(),
        format!("refs/heads/{name}"),
        format!("refs/tags/{name}"),
        format!("refs/remotes/{name}"),
    ];
    for candidate in candidates {
        let Some(address) = refs.get(candidate.as_bytes()).await? else {
            continue;
        };
        if !candidate.starts_with("refs/tags/") {
            return Ok(address);
        }
        let chunk = get(source, address)
            .await?
            .ok_or(ReadError::Missing { address })?;
        let tag = Tag::decode(&chunk).map_err(|source| ReadError::Decode { address, source })?;
        return Ok(tag.commit);
    }
    Err(unknown().into())
}

fn show(entry: &LogEntry, output: Output) -> anyhow::Result<()> {
    let at = Timestamp::from_millisecond(entry.at_millis).unwrap_or_default();
    match output.format {
        Format::Text => {
            ui::print(&format!("commit {}", entry.address))?;
            if entry.parents.len() > 1 {
                let parents: Vec<_> = entry.parents.iter().map(ToString::to_string).collect();
                ui::print(&format!("Merge:  {}", parents.join(" ")))?;
            }
            ui::print(&format!("Author: {} <{}>", entry.author, entry.email))?;
            ui::print(&format!("Date:   {at}\n"))?;
            for line in entry.description.lines() {
                ui::print(&format!("    {line}"))?;
            }
            ui::print("")
        }
        Format::Json => ui::print(
            &json!({
                "commit": entry.address,
                "parents": entry.parents,
                "height": entry.height,
                "author": entry.author,
                "email": entry.email,
                "date": at.to_string(),
                "message": entry.description,
            })
            .to_string(),
        ),
    }
}
