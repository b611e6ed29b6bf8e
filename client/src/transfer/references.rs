//! Everything that a root points at, looked through to its end whatever is damaged on the way.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_doltdb::source::MOST_BYTES;
use holdfast_doltdb::{ChunkSource, Reached, ReadError, SourceError, reach};

use super::events::{Observer, TransferEvent};

/// Something that is wrong with a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The chunk.
    pub address: ChunkAddress,
    /// What is wrong with it, and with which chunk, in one line.
    pub text: String,
}

/// Walks everything below a root, tells each problem until `told` breaks, and returns how many chunks were reached
/// and how the walk ended. What is in `ghosts` may be missing.
pub async fn check_references(
    source: &Forgiving<'_>,
    root: RootAddress,
    ghosts: &HashSet<ChunkAddress>,
    mut told: impl FnMut(Problem) -> ControlFlow<()>,
) -> (u64, Result<(), ReadError>) {
    let mut reached = 0;
    let visit = |found: Reached<'_>| {
        let (address, text) = match found {
            Reached::Chunk { .. } => {
                reached += 1;
                return ControlFlow::Continue(());
            }
            Reached::Missing { address, .. } if ghosts.contains(&address) => {
                return ControlFlow::Continue(());
            }
            Reached::Missing { address, parent } => {
                let text = match (source.fault(address), parent) {
                    (Some(fault), _) => format!("chunk {address} cannot be read: {fault}"),
                    (None, Some(parent)) => {
                        format!("chunk {address} is missing; chunk {parent} points at it")
                    }
                    (None, None) => format!("the root {address} is missing"),
                };
                (address, text)
            }
            Reached::Unreadable { address, error, .. } => {
                (address, format!("chunk {address}: {}", described(error)))
            }
            _ => return ControlFlow::Continue(()),
        };
        told(Problem { address, text })
    };
    let walked = reach(source, root.chunk(), visit).await;
    (reached, walked)
}

/// Goes on behind chunks that cannot be read: they count as absent, and why is kept until it is told.
pub struct Forgiving<'a> {
    source: &'a dyn ChunkSource,
    observer: &'a dyn Observer,
    faults: Mutex<HashMap<ChunkAddress, String>>,
}

impl fmt::Debug for Forgiving<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgiving").finish_non_exhaustive()
    }
}

impl<'a> Forgiving<'a> {
    /// Reads from `source`, and tells `observer` how much came.
    pub fn new(source: &'a dyn ChunkSource, observer: &'a dyn Observer) -> Self {
        Self {
            source,
            observer,
            faults: Mutex::default(),
        }
    }

    /// Why a chunk could not be read; told once.
    pub fn fault(&self, address: ChunkAddress) -> Option<String> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.remove(&address)
    }
}

#[async_trait]
impl ChunkSource for Forgiving<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunks = match self.source.get_some(addresses).await {
            Err(error) if is_of_a_chunk(&error) => {
                let mut chunks = Vec::with_capacity(addresses.len());
                let mut bytes = 0;
                for address in addresses {
                    if bytes >= MOST_BYTES {
                        break;
                    }
                    match self.source.get_some(&[*address]).await {
                        Ok(chunk) => {
                            let chunk = chunk.into_iter().next().flatten();
                            bytes += chunk.as_ref().map_or(0, Bytes::len);
                            chunks.push(chunk);
                        }
                        Err(error) if is_of_a_chunk(&error) => {
                            let mut faults =
                                self.faults.lock().unwrap_or_else(PoisonError::into_inner);
                            faults.insert(*address, described(error));
                            chunks.push(None);
                        }
                        Err(error) => return Err(error),
                    }
                }
                chunks
            }
            answered => answered?,
        };
        let lens = chunks.iter().flatten().map(|chunk| chunk.len() as u64);
        let bytes = lens.sum();
        self.observer.tell(TransferEvent::Received { bytes });
        Ok(chunks)
    }
}

/// Whether the chunk is to blame, and not whoever gives it.
fn is_of_a_chunk(error: &SourceError) -> bool {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Dangling | ErrorKind::Internal => true,
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Refused
        | ErrorKind::Exhausted
        | ErrorKind::Unauthenticated
        | ErrorKind::Denied
        | ErrorKind::Locked
        | ErrorKind::Unavailable => false,
    }
}

/// An error with its causes in one line.
pub fn described(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let told = next.to_string();
        // Some say what their cause says.
        if !text.contains(&told) {
            text.push_str(&format!(": {told}"));
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Silent;

    /// Fails whenever it is asked for the address of sevens.
    struct Spotted(ErrorKind);

    #[async_trait]
    impl ChunkSource for Spotted {
        async fn get_some(
            &self,
            addresses: &[ChunkAddress],
        ) -> Result<Vec<Option<Bytes>>, SourceError> {
            match addresses.contains(&ChunkAddress::new([7; 20])) {
                true => Err(SourceError::new(self.0, "seven")),
                false => Ok(vec![Some(Bytes::from_static(b"x")); addresses.len()]),
            }
        }
    }

    #[tokio::test]
    async fn one_chunk_that_cannot_be_read_does_not_hide_the_others() {
        let addresses = [6, 7, 8].map(|byte| ChunkAddress::new([byte; 20]));
        let damaged = Spotted(ErrorKind::Corrupt);
        let damaged = Forgiving::new(&damaged, &Silent);
        let chunks = damaged.get_some(&addresses).await.unwrap();
        let are_there: Vec<_> = chunks.iter().map(Option::is_some).collect();
        assert_eq!(are_there, [true, false, true]);
        assert_eq!(
            damaged.fault(addresses[1]).as_deref(),
            Some("could not read chunks: seven")
        );
        assert_eq!(damaged.fault(addresses[1]), None, "it was told");

        let gone = Spotted(ErrorKind::Unavailable);
        let error = Forgiving::new(&gone, &Silent)
            .get_some(&addresses)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
