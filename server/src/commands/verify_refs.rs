//! Refs of a repository that Dolt cannot use: each stops clone and fetch for everybody.

use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::index::SpareIndex;
use holdfast_chunkstore::repo::{ReadChunks as _, RepoName, Repositories, RepositoryError};
use holdfast_doltdb::{MessageKind, ReadError, RefFault, RefName, Refs, SourceError};

use crate::meaning::Source;

/// How many chunks are asked for at once.
const BATCH: usize = 4096;

/// How many places of chunks may be held that no stored index has.
const MOST_ENTRIES: u64 = 1 << 22;

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
            match name.check_usable() {
                Err(fault) => unusable.push(told(&name, &fault.into())),
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

fn told(name: &RefName, fault: &RefFault) -> UnusableRef {
    UnusableRef {
        name: name.to_string(),
        fault: fault.to_string(),
    }
}
