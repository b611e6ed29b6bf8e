//! Everything that can be reached from some addresses.
//!
//! Reads are batched, and of bounded number and length at a time. What grows with the store is the set of addresses seen:
//! 20 bytes and a little for each.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;

use crate::children::children;
use crate::error::{DecodeError, ReadError};
use crate::source::{self, ChunkSource};

/// How many chunks are asked for at once.
const BATCH: usize = 256;

/// What was found under one address. Each address is reported once.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reached<'a> {
    /// A chunk whose children will be walked.
    Chunk {
        /// Its address.
        address: ChunkAddress,
        /// Its bytes.
        chunk: &'a Bytes,
    },
    /// A chunk that somebody points at and that is not there.
    Missing {
        /// Its address.
        address: ChunkAddress,
        /// The first chunk found to point at it; nothing if the walk began there.
        parent: Option<ChunkAddress>,
    },
    /// A chunk whose children cannot be told; those told before the mistake are walked.
    Unreadable {
        /// Its address.
        address: ChunkAddress,
        /// Its bytes.
        chunk: &'a Bytes,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// Walks everything that can be reached from `roots`, in no order that means anything, until there is nothing
/// left or `visit` breaks.
pub async fn reach<S: ChunkSource + ?Sized>(
    source: &S,
    roots: impl IntoIterator<Item = ChunkAddress>,
    mut visit: impl FnMut(Reached<'_>) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let mut seen = HashSet::new();
    let mut waiting: Vec<(ChunkAddress, Option<ChunkAddress>)> = Vec::new();
    let begin = roots.into_iter().filter(|root| seen.insert(*root));
    waiting.extend(begin.map(|root| (root, None)));
    while !waiting.is_empty() {
        let mut batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
        let addresses: Vec<_> = batch.iter().map(|(address, _)| *address).collect();
        let answers = source::first(source, &addresses).await?;
        waiting.extend(batch.drain(answers.len()..));
        for ((address, parent), chunk) in batch.into_iter().zip(answers) {
            let outcome = chunk.as_ref().map(|chunk| {
                children(chunk, &mut |child| {
                    if seen.insert(child) {
                        waiting.push((child, Some(address)));
                    }
                })
            });
            let reached = match (&chunk, outcome) {
                (Some(chunk), Some(Err(error))) => Reached::Unreadable {
                    address,
                    chunk,
                    error,
                },
                (Some(chunk), _) => Reached::Chunk { address, chunk },
                (None, _) => Reached::Missing { address, parent },
            };
            if visit(reached).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
