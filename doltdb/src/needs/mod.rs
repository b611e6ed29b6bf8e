//! What needs chunks that are damaged: which refs and commits reach them.
//!
//! All that the refs reach is walked once more, and which chunk points at which is put down on disk; from each damaged
//! chunk the way then leads back to commits and refs. That is done only where damage was found.
//!
//! What lies behind a damaged chunk is not seen: a chunk that is reached only through another damaged one is told as
//! not reached, unless that one is a commit.
//!
//! # Memory
//! 16 MiB, for each chunk 1.3 bytes and for each link a third of one; the refs; 20 bytes for each commit that holds one
//! damaged chunk.

mod finder;
mod links;
mod need;
mod seen;
mod walk;

use std::sync::Arc;

use holdfast_chunkstore::pool::BlockingPool;

use self::finder::Finder;
pub use self::need::{Asked, Damaged, Need, NeedingCommit, Needs, NeedsError, Place};
use self::walk::{Walk, refs};
use crate::source::ChunkSource;

/// Of so many damaged chunks it is told for each what needs it; of all others together.
const EACH: usize = 100;

/// Finds what needs damaged chunks of a store. A source gives nothing for a chunk that cannot be read.
pub async fn find(
    source: &dyn ChunkSource,
    asked: Asked<'_>,
    pool: &BlockingPool,
) -> Result<Needs, NeedsError> {
    let (refs, lacks_refs) = refs(source, asked.root).await;
    let heads = refs.iter().map(|(_, head)| *head).collect();
    let known = match asked.damaged {
        Damaged::Known(known) => known,
        Damaged::Unread => &[],
    };
    let walk = Walk::new(asked.folder, known, heads)?;
    let (links, unread) = walk.run(source, asked.ghosts, pool).await?;
    let damaged = match asked.damaged {
        Damaged::Known(known) => known.to_vec(),
        Damaged::Unread => unread.clone(),
    };
    let (each, others) = damaged.split_at(damaged.len().min(EACH));
    let finder = Finder::new(links, unread, refs, &asked);
    let finder = Arc::new(finder);
    let mut found = Needs {
        lacks_refs,
        ..Needs::default()
    };
    for address in each.iter().copied() {
        let finder = Arc::clone(&finder);
        let need = pool.run(move || finder.find(&[address])).await?;
        found.each.push((address, need));
    }
    if !others.is_empty() {
        let (count, others) = (others.len() as u64, others.to_vec());
        let need = pool.run(move || finder.find(&others)).await?;
        found.others = Some((count, need));
    }
    Ok(found)
}
