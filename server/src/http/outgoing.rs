//! Memory for the bytes of downloads: what was read from the store and not yet taken by a client.
//!
//! A piece is read when there is room for it and for the one that the store reads ahead, and gives its room back when
//! its last byte was handed to the system. Each peer has a part of the room, so that clients which do not read keep
//! others of their peer waiting and no other peer. Peers enough to take all of it keep others waiting for a piece and no
//! longer: while one waits, a client that does not read its piece in time is cut off ([`ClientWait::holds_memory`]), and
//! a peer that holds nothing has room of its own for its first piece.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use holdfast_chunkstore::objects::MAX_PIECE_BYTES;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peer::Peer;
#[cfg(doc)]
use crate::transport::ClientWait;

/// Room for all downloads, in KiB.
const ALL_KIB: u32 = 256 << 10;
/// A peer gets one part of so many; one more is for first pieces.
const PARTS: u32 = 8;
/// From how many peers on those of which nothing is held are forgotten.
const REMEMBERED: usize = 256;

/// The memory that the bytes of all downloads may take.
#[derive(Debug)]
pub struct Outgoing {
    part_kib: u32,
    all: Arc<Semaphore>,
    /// For peers that hold nothing.
    first: Arc<Semaphore>,
    /// How many pieces wait for room that other peers hold.
    waiting: Arc<AtomicUsize>,
    peers: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new(ALL_KIB)
    }
}

/// Room for one piece, until dropped.
#[derive(Debug)]
pub(super) struct Room {
    part: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Room {
    /// The room of a piece that is here, and as much for what is read ahead: a bucket sends short ones.
    fn shrunk(mut self, len: usize) -> Self {
        let kib = (2 * len).div_ceil(1 << 10).max(1);
        for permit in [&mut self.part, &mut self.all] {
            let spare = permit.num_permits().saturating_sub(kib);
            drop(permit.split(spare));
        }
        self
    }
}

/// Bytes with the room that they take.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Outgoing {
    /// Room of so many KiB.
    fn new(all_kib: u32) -> Self {
        Self {
            part_kib: (all_kib / PARTS).max(1),
            all: Arc::new(Semaphore::new((all_kib - all_kib / PARTS) as usize)),
            first: Arc::new(Semaphore::new((all_kib / PARTS) as usize)),
            waiting: Arc::default(),
            peers: Mutex::default(),
        }
    }

    fn part(&self, peer: Peer) -> Arc<Semaphore> {
        let mut peers = self.peers.lock();
        if peers.len() >= REMEMBERED {
            peers.retain(|_, part| Arc::strong_count(part) > 1);
        }
        let part = peers.entry(peer);
        let new = || Arc::new(Semaphore::new(self.part_kib as usize));
        Arc::clone(part.or_insert_with(new))
    }

    /// Waits for room for the first piece of `len` bytes: a store reads it when it is asked for the stream.
    pub(super) async fn room(&self, peer: Peer, len: u64) -> Room {
        self.take(self.part(peer), self.kib(len)).await
    }

    /// How many downloads wait for room that other peers hold.
    pub(super) fn waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    /// Waits for so much room, of a peer's part first.
    async fn take(&self, part: Arc<Semaphore>, kib: u32) -> Room {
        let never_closed = "the semaphore is never closed";
        let is_first = part.available_permits() == self.part_kib as usize;
        let part = part.acquire_many_owned(kib).await.expect(never_closed);
        let (first, all) = (Arc::clone(&self.first), Arc::clone(&self.all));
        let taken = async {
            tokio::select! {
                biased;
                first = first.acquire_many_owned(kib), if is_first => first,
                all = all.acquire_many_owned(kib) => all,
            }
        };
        let mut taken = std::pin::pin!(taken);
        let all = match taken.as_mut().now_or_never() {
            Some(all) => all,
            None => {
                let _waits = Waits::begin(&self.waiting);
                taken.await
            }
        };
        Room {
            part,
            all: all.expect(never_closed),
        }
    }

    /// What the next piece takes, and the one that is read ahead, where so many bytes are left.
    fn kib(&self, left: u64) -> u32 {
        let wanted = left.min(2 * MAX_PIECE_BYTES as u64).div_ceil(1 << 10);
        let wanted = u32::try_from(wanted).unwrap_or(self.part_kib);
        wanted.clamp(1, self.part_kib)
    }

    /// The same stream of `len` bytes, the first piece of which has room; each other is asked for when there is room.
    pub(super) fn held<E, S>(
        self: &Arc<Self>,
        peer: Peer,
        first: Room,
        len: u64,
        pieces: S,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send + use<E, S>
    where
        E: Send,
        S: Stream<Item = Result<Bytes, E>> + Send,
    {
        let outgoing = Arc::clone(self);
        let part = self.part(peer);
        let begin = (Box::pin(pieces), len, Some(first));
        stream::unfold(begin, move |(mut pieces, left, first)| {
            let (part, outgoing) = (Arc::clone(&part), Arc::clone(&outgoing));
            async move {
                let room = match first {
                    Some(first) => first,
                    None => outgoing.take(part, outgoing.kib(left)).await,
                };
                let piece = pieces.next().await?;
                let piece = piece.map(|bytes| {
                    let _room = room.shrunk(bytes.len());
                    Bytes::from_owner(Held { bytes, _room })
                });
                let sent = piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Some((piece, (pieces, left.saturating_sub(sent), None)))
            }
        })
    }
}

/// Counts one that waits, until dropped.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn begin(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::IpAddr;

    use super::*;

    /// What a piece takes, and the one that is read ahead.
    const PIECE_KIB: u32 = 256;

    fn peer(last: u8) -> Peer {
        Peer::of(IpAddr::from([10, 0, 0, last]))
    }

    /// A download of so many whole pieces.
    fn download(
        outgoing: &Arc<Outgoing>,
        of: u8,
        count: usize,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + use<> {
        let pieces = stream::repeat_with(|| Ok(vec![1; MAX_PIECE_BYTES].into())).take(count);
        whole(outgoing, of, (count * MAX_PIECE_BYTES) as u64, pieces)
    }

    fn whole<S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static>(
        outgoing: &Arc<Outgoing>,
        of: u8,
        len: u64,
        pieces: S,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + use<S> {
        let outgoing = Arc::clone(outgoing);
        let begun = async move {
            let first = outgoing.room(peer(of), len).await;
            outgoing.held(peer(of), first, len, pieces)
        };
        Box::pin(stream::once(begun).flatten())
    }

    #[test]
    fn what_a_client_does_not_take_is_not_read_and_keeps_no_other_peer_waiting() {
        // A part has room for two pieces and what is read ahead of each.
        let outgoing = Arc::new(Outgoing::new(PARTS * 2 * PIECE_KIB));
        let mut unread: Vec<_> = (0..1_000).map(|_| download(&outgoing, 1, 30)).collect();
        let held: Vec<_> = unread
            .iter_mut()
            .filter_map(|download| download.next().now_or_never())
            .collect();
        assert_eq!(held.len(), 2);
        let mut other = download(&outgoing, 2, 4);
        for _ in 0..4 {
            let piece = other.next().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(piece.len(), MAX_PIECE_BYTES);
        }
        assert!(other.next().now_or_never().unwrap().is_none());
        drop((held, unread));
        let mut next = download(&outgoing, 1, 1);
        assert!(next.next().now_or_never().is_some());
    }

    #[test]
    fn a_peer_has_its_first_piece_and_the_next_when_another_has_read_its_own() {
        // Each peer has room for one piece, there is room for seven, and for one of a peer that holds nothing.
        let outgoing = Arc::new(Outgoing::new(PARTS * PIECE_KIB));
        assert_eq!(outgoing.kib(u64::MAX), PIECE_KIB);
        let waiting = outgoing.waiting();
        let mut downloads: Vec<_> = (0..8).map(|of| download(&outgoing, of, 4)).collect();
        let pieces = downloads.iter_mut();
        let mut held: Vec<_> = pieces
            .map(|download| download.next().now_or_never().unwrap())
            .collect();
        let mut ninth = download(&outgoing, 8, 4);
        for _ in 0..4 {
            assert!(ninth.next().now_or_never().is_none());
            assert_eq!(waiting.load(Ordering::Relaxed), 1);
            drop(held.remove(0));
            assert!(ninth.next().now_or_never().is_some());
            assert_eq!(waiting.load(Ordering::Relaxed), 0);
            held.push(downloads.remove(0).next().now_or_never().unwrap());
        }
        // What is given up while it waits is counted no longer.
        let mut given_up = download(&outgoing, 9, 1);
        assert!(given_up.next().now_or_never().is_none());
        assert_eq!(waiting.load(Ordering::Relaxed), 1);
        drop(given_up);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_part_of_a_piece_gives_its_room_back_with_its_last_byte() {
        let outgoing = Arc::new(Outgoing::new(PARTS * PIECE_KIB));
        let mut download = download(&outgoing, 1, 2);
        let mut piece = download.next().now_or_never().unwrap().unwrap().unwrap();
        let _sent = piece.split_to(MAX_PIECE_BYTES / 2);
        assert!(download.next().now_or_never().is_none());
        drop((piece, _sent));
        assert!(download.next().now_or_never().is_some());
    }

    #[test]
    fn short_pieces_of_a_long_file_hold_no_more_than_they_are() {
        let outgoing = Arc::new(Outgoing::new(PARTS * PIECE_KIB));
        let short = || Ok::<_, Infallible>(Bytes::from(vec![1; 8 << 10]));
        let pieces = stream::repeat_with(short).take(100);
        let mut download = whole(&outgoing, 1, 100 * (8 << 10), pieces);
        let mut held = Vec::new();
        while let Some(Some(piece)) = download.next().now_or_never() {
            held.push(piece.unwrap());
        }
        // The next one may be as long as any.
        assert_eq!(held.len(), 1);
        drop(held);
        let mut other = self::download(&outgoing, 1, 1);
        assert!(
            other.next().now_or_never().is_none(),
            "the first waits before it"
        );
        drop(download);
        assert!(other.next().now_or_never().is_some());
    }

    #[test]
    fn short_ranges_take_what_they_have() {
        let outgoing = Arc::new(Outgoing::new(8 << 10));
        let held: Vec<_> = (0..1_024)
            .map(|_| {
                let piece = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"chunk"))]);
                let mut download = whole(&outgoing, 1, 5, piece);
                download.next().now_or_never().unwrap()
            })
            .collect();
        assert_eq!(held.len(), 1_024);
        let piece = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"chunk"))]);
        let mut one_more = whole(&outgoing, 1, 5, piece);
        assert!(one_more.next().now_or_never().is_none());
    }

    #[test]
    fn peers_that_hold_nothing_are_forgotten() {
        let outgoing = Outgoing::default();
        for number in 0..10 * u32::try_from(REMEMBERED).unwrap() {
            let address = std::net::Ipv4Addr::from(number);
            drop(outgoing.part(Peer::of(address.into())));
        }
        assert!(outgoing.peers.lock().len() <= REMEMBERED);
    }
}
