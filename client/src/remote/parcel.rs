//! Chunks on their way from a remote to whoever asked, and the memory that they take meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::RemoteChunk;

/// Chunks that came and were checked, some of those that were asked for.
#[derive(Debug)]
pub struct Parcel {
    /// Each with its address.
    pub chunks: Vec<(ChunkAddress, RemoteChunk)>,
    /// What they take, until the parcel is dropped.
    pub(super) rooms: Vec<Arc<Room>>,
}

/// A number of bytes that may be in memory at once.
#[derive(Debug)]
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    bytes: u32,
}

/// Bytes of a memory, which it has again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    permit: OwnedSemaphorePermit,
}

/// Chunks that are read a part at a time, where nobody says beforehand how long they are: as many as had few bytes last
/// time.
#[derive(Debug)]
pub(super) struct Parts {
    waiting: Vec<ChunkAddress>,
    missing: Vec<ChunkAddress>,
    count: usize,
}

/// How many chunks a part has at least and at most; two of the longest that there can be still fit.
const PART_CHUNKS: std::ops::RangeInclusive<usize> = 2..=512;

/// How many bytes a part is to have.
const PART_BYTES: usize = 4 << 20;

impl Parts {
    /// Each address is asked for once.
    pub(super) fn new(mut addresses: Vec<ChunkAddress>) -> Self {
        let mut seen = HashSet::with_capacity(addresses.len());
        addresses.retain(|address| seen.insert(*address));
        addresses.reverse();
        Self {
            waiting: addresses,
            missing: Vec::new(),
            count: 32,
        }
    }

    /// The next ones.
    pub(super) fn next_part(&mut self) -> Option<Vec<ChunkAddress>> {
        let left = self.waiting.len().saturating_sub(self.count);
        let mut part = self.waiting.split_off(left);
        part.reverse();
        (!part.is_empty()).then_some(part)
    }

    /// Takes what came of a part, and learns from it how many to ask for.
    pub(super) fn take(
        &mut self,
        part: Vec<ChunkAddress>,
        chunks: Vec<Option<RemoteChunk>>,
    ) -> Parcel {
        let mut bytes = 1;
        let mut came = Vec::with_capacity(chunks.len());
        self.waiting.extend(part[chunks.len()..].iter().rev());
        for (address, chunk) in part.into_iter().zip(chunks) {
            match chunk {
                Some(chunk) => {
                    bytes += chunk.chunk.len();
                    came.push((address, chunk));
                }
                None => self.missing.push(address),
            }
        }
        let (least, most) = (*PART_CHUNKS.start(), *PART_CHUNKS.end());
        let fitting = came.len().saturating_mul(PART_BYTES) / bytes;
        // Twice as many at most: what comes next may be longer.
        self.count = fitting.min(2 * self.count).clamp(least, most);
        Parcel {
            chunks: came,
            rooms: Vec::new(),
        }
    }

    /// Those that are not there.
    pub(super) fn into_missing(self) -> Vec<ChunkAddress> {
        self.missing
    }
}

impl Memory {
    /// All of it is free.
    pub(super) fn new(bytes: u32) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(bytes as usize)),
            bytes,
        }
    }

    /// Takes room for as many bytes, if there is some now. Who needs more than all takes all.
    pub(super) fn try_take(&self, bytes: u64) -> Option<Room> {
        let permits = Arc::clone(&self.permits);
        let permit = permits.try_acquire_many_owned(self.count(bytes)).ok()?;
        Some(Room { permit })
    }

    /// The same, when there is room. Who waits while it holds back what it has already may wait for itself.
    pub(super) async fn take(&self, bytes: u64) -> Room {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_many_owned(self.count(bytes)).await;
        Room {
            permit: permit.expect("the semaphore is never closed"),
        }
    }

    fn count(&self, bytes: u64) -> u32 {
        u32::try_from(bytes).map_or(self.bytes, |bytes| bytes.min(self.bytes))
    }
}

impl Room {
    /// Parts with as many bytes, or with all where there are fewer.
    pub(super) fn split(&mut self, bytes: usize) -> Option<Self> {
        let permit = self.permit.split(bytes.min(self.permit.num_permits()))?;
        Some(Self { permit })
    }

    /// Gives back what is beyond as many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let more = self.permit.num_permits().saturating_sub(bytes);
        drop(self.permit.split(more));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_is_taken_is_there_again_when_it_is_dropped() {
        let memory = Memory::new(10);
        let mut room = memory.try_take(8).unwrap();
        assert!(memory.try_take(3).is_none());
        assert!(memory.take(3).now_or_never().is_none());
        room.shrink(7);
        assert!(memory.try_take(3).is_some());
        room.shrink(9);
        drop(room);
        assert!(memory.try_take(10).is_some());
    }

    #[test]
    fn parts_grow_with_short_chunks_and_shrink_with_long_ones() {
        let address = |number: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            ChunkAddress::new(bytes)
        };
        let mut parts = Parts::new((0..2000).chain(0..2000).map(address).collect());
        let chunk = |len: usize| {
            Some(RemoteChunk {
                chunk: vec![0; len].into(),
                record: None,
            })
        };
        let (mut counts, mut next) = (Vec::new(), 0);
        while let Some(part) = parts.next_part() {
            let wanted: Vec<_> = (next..).take(part.len()).map(address).collect();
            assert_eq!(part, wanted);
            next += u32::try_from(part.len()).unwrap();
            counts.push(part.len());
            let len = if next < 1500 { 100 } else { 4 << 20 };
            let mut chunks = vec![chunk(len); part.len()];
            chunks[0] = None;
            parts.take(part, chunks);
        }
        assert_eq!(counts[..5], [32, 64, 128, 256, 512]);
        assert!(counts[6..].iter().all(|count| *count <= 2), "{counts:?}");
        assert_eq!(next, 2000);
        assert_eq!(parts.into_missing().len(), counts.len());
    }

    #[test]
    fn who_needs_more_than_all_takes_all() {
        let memory = Memory::new(10);
        let room = memory.try_take(u64::MAX).unwrap();
        assert!(memory.try_take(1).is_none());
        drop(room);
        assert!(memory.try_take(1).is_some());
    }
}
