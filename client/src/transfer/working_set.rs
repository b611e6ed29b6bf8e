//! Working sets: whether one holds changes, and clean ones.

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::model::{Commit, WorkingSet};
use holdfast_doltdb::source::get_one;
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::write::messages::{WorkingSetNote, clean_working_set};
use holdfast_doltdb::{ChunkSource, DecodeError, ReadError};

use super::clone::Identity;

/// Whether nothing is changed and nothing staged in the working set at `address`, whose branch is at `head`.
pub(crate) async fn is_clean(
    source: &dyn ChunkSource,
    address: ChunkAddress,
    head: ChunkAddress,
) -> Result<bool, ReadError> {
    let chunk = get_one(source, address).await?;
    let working_set = WorkingSet::decode(&chunk).map_err(decode(address))?;
    let staged = working_set.staged_root.unwrap_or(working_set.working_root);
    let is_waiting = working_set.is_merging || working_set.is_rebasing;
    Ok(!is_waiting
        && staged == working_set.working_root
        && staged == tables_of(source, head).await?)
}

/// A working set in which nothing is changed since the commit `head`.
pub(crate) async fn clean(
    source: &dyn ChunkSource,
    head: ChunkAddress,
    identity: Option<&Identity>,
    description: &str,
    now_seconds: u64,
) -> Result<NewChunk, ReadError> {
    let note = identity.map(|identity| WorkingSetNote {
        name: &identity.name,
        email: &identity.email,
        description,
        at_seconds: now_seconds,
    });
    Ok(NewChunk::new(clean_working_set(
        tables_of(source, head).await?,
        note,
    )))
}

/// The tables of a commit.
async fn tables_of(
    source: &dyn ChunkSource,
    commit: ChunkAddress,
) -> Result<ChunkAddress, ReadError> {
    let chunk = get_one(source, commit).await?;
    Ok(Commit::decode(&chunk).map_err(decode(commit))?.root)
}

fn decode(address: ChunkAddress) -> impl FnOnce(DecodeError) -> ReadError {
    move |source| ReadError::Decode { address, source }
}
