//! All commits of a backup, and whether the tables of each are there.

use std::collections::HashSet;

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::model::{Commit, Tag};
use holdfast_doltdb::source::each;
use holdfast_doltdb::{ReadError, RefName, Refs};

use super::error::BackupError;
use crate::remote::Remote;
use crate::transfer::Forgiving;

/// How many commits are read at once.
const BATCH: usize = 256;

/// Walks from all branches and tags of a root, tells each problem, and returns how many commits there are.
pub(super) async fn check_commits(
    target: &dyn Remote,
    source: &Forgiving<'_>,
    root: RootAddress,
    told: &mut (dyn FnMut(String) + Send),
) -> Result<u64, BackupError> {
    let mut waiting = heads(source, root, told).await?;
    let mut seen: HashSet<_> = waiting.iter().copied().collect();
    let mut count = 0;
    while !waiting.is_empty() {
        let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
        let chunks = get(source, &batch).await?;
        let mut tables = Vec::new();
        for (address, chunk) in batch.into_iter().zip(chunks) {
            let Some(chunk) = chunk else {
                told(match source.fault(address) {
                    Some(fault) => format!("commit {address} cannot be read: {fault}"),
                    None => format!("commit {address} is missing"),
                });
                continue;
            };
            let commit = match Commit::decode(&chunk) {
                Ok(commit) => commit,
                Err(error) => {
                    told(format!("chunk {address} is no commit: {error}"));
                    continue;
                }
            };
            count += 1;
            tables.extend([Some(commit.root), commit.closure].into_iter().flatten());
            waiting.extend(commit.parents().filter(|parent| seen.insert(*parent)));
        }
        for address in target.absent(&tables).await? {
            told(format!("chunk {address} is missing; a commit points at it"));
        }
    }
    Ok(count)
}

/// The commits that branches and tags stand for.
async fn heads(
    source: &Forgiving<'_>,
    root: RootAddress,
    told: &mut (dyn FnMut(String) + Send),
) -> Result<Vec<ChunkAddress>, BackupError> {
    let (mut heads, mut tags) = (HashSet::new(), Vec::new());
    let mut refs = Refs::open(source, root).await?;
    while let Some((name, address)) = refs.next().await? {
        match name {
            RefName::Branch(_) | RefName::RemoteBranch { .. } => {
                heads.insert(address);
            }
            RefName::Tag(_) => tags.push(address),
            _ => {}
        }
    }
    for batch in tags.chunks(BATCH) {
        for (address, chunk) in batch.iter().zip(get(source, batch).await?) {
            let chunk = chunk.ok_or(ReadError::Missing { address: *address })?;
            match Tag::decode(&chunk) {
                Ok(tag) => drop(heads.insert(tag.commit)),
                Err(error) => told(format!("chunk {address} is no tag: {error}")),
            }
        }
    }
    Ok(heads.into_iter().collect())
}

async fn get(
    source: &Forgiving<'_>,
    addresses: &[ChunkAddress],
) -> Result<Vec<Option<bytes::Bytes>>, ReadError> {
    let mut chunks = Vec::with_capacity(addresses.len());
    each(source, addresses, |_, chunk| {
        chunks.push(chunk);
        Ok(())
    })
    .await?;
    Ok(chunks)
}
