//! What needs chunks that are damaged, found over a source that goes on behind those that cannot be read.

use std::collections::HashSet;

use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::needs::{Asked, Damaged, find};
pub use holdfast_doltdb::needs::{Need, NeedingCommit, Needs, NeedsError, Place};

use super::references::Forgiving;

/// How many refs, and how many commits, are named.
const NAMED: usize = 5;

/// Finds what needs damaged chunks of a store. What is in `ghosts` may be missing. What is put down of it lies in the
/// system's directory for temporary files.
pub async fn needs(
    source: &Forgiving<'_>,
    root: RootAddress,
    ghosts: &HashSet<ChunkAddress>,
    damaged: &[ChunkAddress],
    pool: &BlockingPool,
) -> Result<Needs, NeedsError> {
    let asked = Asked {
        root,
        ghosts,
        damaged: Damaged::Known(damaged),
        named: NAMED,
        folder: &std::env::temp_dir(),
    };
    find(source, asked, pool).await
}

#[cfg(test)]
mod tests;
