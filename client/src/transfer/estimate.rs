//! How much lies below some chunks of a remote that is not here, without moving it.
//!
//! What points at others is read; of what a parent shows to be a leaf only the length is asked for. Few leaves of rows
//! are read as well, for the values that are kept apart from their rows. Where there are more, a database may be too
//! large to be read for the sake of a number: those values are left out, and the estimate is a lower bound.
//!
//! Nothing is kept. What was seen is in memory or in files without a name, as [`Seen`] says.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::{DecodeError, Leaves, ReadError, children, embedded, leaves};
use tokio::task::JoinSet;

use super::error::TransferError;
use super::events::{Observer, TransferEvent};
use super::seen::Seen;
use crate::remote::{Reach, Remote, RemoteChunk, RemoteError};

/// How many chunks are read in one call.
const READ_AT_ONCE: usize = 512;

/// How many lengths are asked for in one call that reads nothing.
const ASKED_AT_ONCE: usize = 8192;

/// How many calls are under way at once.
const CALLS: usize = 8;

/// So many bytes of leaves of rows are read at most.
const ROW_BYTES: u64 = 4 << 20;

/// Below what an estimate is made, and against what.
pub(crate) struct Estimator {
    pub(crate) remote: Arc<dyn Remote>,
    /// What is here: everything below a chunk that is here is here as well.
    pub(crate) known: Option<Arc<NomsDir>>,
    /// What would never be asked for.
    pub(crate) left_out: HashSet<ChunkAddress>,
    pub(crate) pool: BlockingPool,
    pub(crate) observer: Arc<dyn Observer>,
}

/// What would come.
pub(crate) struct Estimate {
    /// How many chunks.
    pub(crate) chunks: u64,
    /// Their bytes in their stored form.
    pub(crate) bytes: u64,
    /// Whether there may be more.
    pub(crate) is_least: bool,
    known: Option<Arc<NomsDir>>,
    left_out: HashSet<ChunkAddress>,
    seen: Seen,
}

impl Estimate {
    /// Whether a commit is here or would come. Blocks.
    pub(crate) fn has(&self, commit: ChunkAddress) -> Result<bool, StoreError> {
        if let Some(known) = &self.known
            && known.find(commit)?.is_some()
        {
            return Ok(true);
        }
        Ok(!self.left_out.contains(&commit) && self.seen.contains(commit)?)
    }
}

impl Estimator {
    /// Estimates what lies below `roots`, them included.
    pub(crate) async fn run(self, roots: Vec<ChunkAddress>) -> Result<Estimate, TransferError> {
        let mut surveyor = Surveyor {
            estimate: Estimate {
                chunks: 0,
                bytes: 0,
                is_least: false,
                known: self.known,
                left_out: self.left_out,
                seen: Seen::new(&std::env::temp_dir()),
            },
            row_bytes: 0,
            waiting: Waiting::default(),
        };
        let begin = move || {
            let Estimate { seen, left_out, .. } = &mut surveyor.estimate;
            for address in left_out.iter() {
                seen.insert(*address)?;
            }
            let roots = roots.into_iter().map(|root| (root, Role::Node));
            surveyor.sift(roots.collect()).map(|()| surveyor)
        };
        let mut surveyor = self.pool.run(begin).await?;
        let mut calls = JoinSet::new();
        loop {
            while calls.len() < CALLS
                && let Some((role, batch)) = surveyor.waiting.next()
            {
                calls.spawn(ask(Arc::clone(&self.remote), role, batch));
            }
            let Some(answer) = calls.join_next().await else {
                return Ok(surveyor.estimate);
            };
            let answer = match answer {
                Ok(answer) => answer?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(TransferError::Stopped),
            };
            let read = answer.chunks.iter().flatten();
            let bytes = read.map(|chunk| chunk.chunk.len() as u64).sum();
            self.observer.tell(TransferEvent::Received { bytes });
            let take = move || surveyor.take(answer).map(|()| surveyor);
            surveyor = self.pool.run(take).await?;
        }
    }
}

/// What is to be done with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is counted and read: it may point at anything.
    Node,
    /// It is counted, and read while few were: it may point at values.
    Rows,
    /// It is counted: it points at nothing.
    End,
    /// It is read: it was counted.
    Counted,
}

/// What waits, by what is to be done with it.
#[derive(Default)]
struct Waiting {
    nodes: Vec<ChunkAddress>,
    rows: Vec<ChunkAddress>,
    ends: Vec<ChunkAddress>,
    counted: Vec<ChunkAddress>,
}

impl Waiting {
    fn of(&mut self, role: Role) -> &mut Vec<ChunkAddress> {
        match role {
            Role::Node => &mut self.nodes,
            Role::Rows => &mut self.rows,
            Role::End => &mut self.ends,
            Role::Counted => &mut self.counted,
        }
    }

    /// What is asked for next: leaves before what has more of them below it, so that what waits stays small.
    fn next(&mut self) -> Option<(Role, Vec<ChunkAddress>)> {
        for (role, at_once) in [
            (Role::Counted, READ_AT_ONCE),
            (Role::End, ASKED_AT_ONCE),
            (Role::Rows, ASKED_AT_ONCE),
            (Role::Node, READ_AT_ONCE),
        ] {
            let waiting = self.of(role);
            if !waiting.is_empty() {
                let batch = waiting.split_off(waiting.len().saturating_sub(at_once));
                return Some((role, batch));
            }
        }
        None
    }
}

/// What a remote said of some chunks.
struct Answer {
    role: Role,
    addresses: Vec<ChunkAddress>,
    /// Nothing where they were not asked for.
    lens: Vec<Option<u32>>,
    /// Nothing where they were not read.
    chunks: Vec<Option<RemoteChunk>>,
}

async fn ask(
    remote: Arc<dyn Remote>,
    role: Role,
    addresses: Vec<ChunkAddress>,
) -> Result<Answer, RemoteError> {
    let lens = async {
        match role {
            Role::Counted => Ok(Vec::new()),
            Role::Node | Role::Rows | Role::End => remote.stored_lens(&addresses).await,
        }
    };
    let chunks = async {
        match role {
            Role::Node | Role::Counted => remote.read(&addresses, Reach::Exact).await,
            Role::Rows | Role::End => Ok(Vec::new()),
        }
    };
    let (lens, chunks) = futures::try_join!(lens, chunks)?;
    Ok(Answer {
        role,
        addresses,
        lens,
        chunks,
    })
}

/// Counts what is asked for, and finds what lies below it.
struct Surveyor {
    estimate: Estimate,
    /// The bytes of the leaves of rows that are read.
    row_bytes: u64,
    waiting: Waiting,
}

impl Surveyor {
    fn take(&mut self, answer: Answer) -> Result<(), TransferError> {
        for (&address, len) in answer.addresses.iter().zip(&answer.lens) {
            let len = u64::from(len.ok_or(TransferError::Lacks { address })?);
            self.estimate.chunks += 1;
            self.estimate.bytes += len;
            if answer.role != Role::Rows {
                continue;
            }
            match self.row_bytes + len <= ROW_BYTES {
                true => {
                    self.row_bytes += len;
                    self.waiting.counted.push(address);
                }
                false => self.estimate.is_least = true,
            }
        }
        if !answer.chunks.is_empty() {
            // Those that were not read at once are counted already, and read later.
            let unread = &answer.addresses[answer.chunks.len()..];
            self.waiting.counted.extend_from_slice(unread);
        }
        let mut below = Vec::new();
        for (address, chunk) in answer.addresses.into_iter().zip(answer.chunks) {
            let chunk = chunk.ok_or(TransferError::Lacks { address })?;
            let told = add_below(&chunk.chunk, &mut below);
            told.map_err(|source| ReadError::Decode { address, source })?;
        }
        self.sift(below)
    }

    /// Leaves out what is here or was seen before; the rest waits.
    fn sift(&mut self, candidates: Vec<(ChunkAddress, Role)>) -> Result<(), TransferError> {
        for (address, role) in candidates {
            if !self.estimate.seen.insert(address)? {
                continue;
            }
            let is_known = match &self.estimate.known {
                Some(known) => known.find(address)?.is_some(),
                None => false,
            };
            if !is_known {
                self.waiting.of(role).push(address);
            }
        }
        Ok(())
    }
}

/// Adds what a chunk points at, what is a leaf for certain as such.
fn add_below(chunk: &[u8], below: &mut Vec<(ChunkAddress, Role)>) -> Result<(), DecodeError> {
    let role = |leaves: Option<Leaves>| match leaves {
        Some(Leaves::Rows) => Role::Rows,
        Some(Leaves::Ends) => Role::End,
        None => Role::Node,
    };
    // First, so that it counts: a chunk that holds a node points at the children of that node as at any other.
    for node in embedded(chunk)?.into_iter().flatten() {
        let role = role(leaves(node)?);
        if role != Role::Node {
            children(node, &mut |child| below.push((child, role)))?;
        }
    }
    let role = role(leaves(chunk)?);
    children(chunk, &mut |child| below.push((child, role)))
}
