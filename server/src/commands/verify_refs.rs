//! Refs of a repository that Dolt cannot use: each stops clone and fetch for everybody.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::index::SpareIndex;
use holdfast_chunkstore::repo::{ReadChunks as _, RepoName, Repositories, RepositoryError};
use holdfast_chunkstore::{ChunkAddress, ErrorKind};
use holdfast_doltdb::needs::{self, Asked, Damaged, NeedsError};
use holdfast_doltdb::{ChunkSource, MessageKind, ReadError, RefFault, RefName, Refs, SourceError};

use crate::meaning::Source;

/// How many chunks are asked for at once.
const BATCH: usize = 4096;

/// How many places of chunks may be held that no stored index has.
const MOST_ENTRIES: u64 = 1 << 22;

/// How many refs and commits are named that need something damaged.
const MOST_NAMED: usize = 100;

/// A ref, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct UnusableRef {
    /// The full name.
    pub(super) name: String,
    /// What is wrong with it, in one line.
    pub(super) fault: String,
}

/// The repositories as chunks of them can be read beside a server, whose index may lack files and is not written.
pub(super) async fn readable(repositories: &Repositories) -> Result<Repositories, RepositoryError> {
    let mut parts = repositories.parts().clone();
    let stored = Arc::clone(&parts.index);
    parts.index = Arc::new(SpareIndex::new(stored, MOST_ENTRIES, parts.pool.clone()));
    Repositories::open(parts).await
}

/// Finds them. Chunks that are not there are found elsewhere.
pub(super) async fn find(
    repositories: &Repositories,
    name: &RepoName,
) -> Result<Vec<UnusableRef>, ReadError> {
    let failed = |error: RepositoryError| ReadError::Source {
        count: 1,
        source: SourceError::new(error.kind(), error),
    };
    let found = repositories.find(name).await.map_err(failed)?;
    let Some(repository) = &found else {
        return Ok(Vec::new());
    };
    let root = repository.state().await.map_err(failed)?.root;
    let source = Source { chunks: repository };
    let mut refs = Refs::open(&source, root).await?;
    let (mut unusable, mut batch) = (Vec::new(), Vec::new());
    loop {
        let next = refs.next().await?;
        let is_end = next.is_none();
        if let Some((name, address)) = next {
            let usable = name.check_usable().map_err(RefFault::from);
            match usable.and_then(|()| name.check_place()) {
                Err(fault) => unusable.push(told(&name, &fault)),
                Ok(()) if name.kind().is_some() => batch.push((name, address)),
                Ok(()) => {}
            }
        }
        if is_end || batch.len() == BATCH {
            let addresses: Vec<ChunkAddress> = batch.iter().map(|(_, address)| *address).collect();
            let heads = repository.read_heads(&addresses, MessageKind::HEAD_LEN);
            let heads = heads.await.map_err(failed)?;
            for ((name, _), head) in batch.drain(..).zip(heads) {
                if let Some(Err(fault)) = head.map(|head| name.check_kind(&head)) {
                    unusable.push(told(&name, &fault));
                }
            }
        }
        if is_end {
            return Ok(unusable);
        }
    }
}

/// The refs that need chunks which cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Needing {
    /// The full names of the first of them.
    pub(super) refs: Vec<String>,
    /// How many more there are.
    pub(super) more_refs: u64,
    /// The newest commits that hold such chunks.
    pub(super) commits: Vec<ChunkAddress>,
    /// How many more there are.
    pub(super) more_commits: u64,
    /// Whether not all refs could be read.
    pub(super) lacks_refs: bool,
}

/// Finds them. All that the refs reach is read for that, so it is asked only where something is damaged.
pub(super) async fn needing(
    repositories: &Repositories,
    name: &RepoName,
) -> Result<Needing, NeedsError> {
    let failed = |error: RepositoryError| ReadError::Source {
        count: 1,
        source: SourceError::new(error.kind(), error),
    };
    let Some(repository) = repositories.find(name).await.map_err(failed)? else {
        return Ok(Needing::default());
    };
    let root = repository.state().await.map_err(failed)?.root;
    let source = Lenient(Source {
        chunks: &repository,
    });
    let folder = repositories.parts().spool.path().to_owned();
    let asked = Asked {
        root,
        ghosts: &HashSet::new(),
        damaged: Damaged::Unread,
        named: MOST_NAMED,
        folder: &folder,
    };
    let found = needs::find(&source, asked, &repositories.parts().pool).await?;
    let mut needing = Needing {
        lacks_refs: found.lacks_refs,
        ..Needing::default()
    };
    let (mut refs, mut commits) = (BTreeSet::new(), BTreeSet::new());
    let others = found.others.into_iter().map(|(_, need)| need);
    for need in found.each.into_iter().map(|(_, need)| need).chain(others) {
        refs.extend(need.refs.iter().map(ToString::to_string));
        commits.extend(need.commits);
        needing.more_refs = needing.more_refs.max(need.more_refs);
        needing.more_commits = needing.more_commits.max(need.more_commits);
    }
    needing.more_refs += refs.len().saturating_sub(MOST_NAMED) as u64;
    needing.refs = refs.into_iter().take(MOST_NAMED).collect();
    needing.more_commits += commits.len().saturating_sub(MOST_NAMED) as u64;
    let newest = commits.into_iter().rev().take(MOST_NAMED);
    needing.commits = newest.map(|commit| commit.address).collect();
    Ok(needing)
}

/// Goes on behind chunks that cannot be read: they count as absent.
struct Lenient<'a>(Source<'a>);

#[async_trait]
impl ChunkSource for Lenient<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        match self.0.get_some(addresses).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            answered => return answered,
        }
        let mut chunks = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.0.get_some(&[*address]).await {
                Ok(chunk) => chunks.push(chunk.into_iter().next().flatten()),
                Err(error) if error.kind() == ErrorKind::Corrupt => chunks.push(None),
                Err(error) => return Err(error),
            }
        }
        Ok(chunks)
    }
}

fn told(name: &RefName, fault: &RefFault) -> UnusableRef {
    UnusableRef {
        name: name.to_string(),
        fault: fault.to_string(),
    }
}
