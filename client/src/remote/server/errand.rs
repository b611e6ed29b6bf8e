//! One range that is to be read, with the dictionaries that its chunks need.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Dictionary;
use holdfast_chunkstore::index::ByteSpan;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::answers::{Location, Place};
use super::chunks::Stored;
use super::dictionaries::DictionaryKey;
use super::fetch::Fetcher;
use super::held::Claim;
use crate::remote::RemoteError;
use crate::remote::parcel::Room;
use crate::remote::ranges::Region;

/// A range that is to be read, with all that it takes.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) place: Place,
    pub(super) region: Region,
    /// What is wanted of it and was not handed over.
    pub(super) chunks: VecDeque<(ChunkAddress, Location)>,
    /// Of a whole file, which is kept.
    pub(super) claim: Option<Claim>,
}

/// Dictionaries by where they lie.
type Dictionaries = HashMap<ByteSpan, Arc<Dictionary>>;

/// A longer range does not wait for the dictionaries that lie in it: they are read beside it.
const WAITING_BYTES: u64 = 64 << 10;

/// When so much came, what is whole of it is handed over.
const HANDED_BYTES: usize = 16 << 10;

/// Why a range was not read, and what was wanted of it and not handed over.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: RemoteError,
    pub(super) unread: Vec<ChunkAddress>,
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self {
            error,
            unread: Vec::new(),
        }
    }
}

impl Fetcher {
    /// Reads a range, for which there is room. What came is handed over while the rest is on its way, as far as there is
    /// place `to` go; returns what was not.
    pub(super) async fn run(
        &self,
        mut errand: Errand,
        mut room: Room,
        to: mpsc::Sender<Vec<Stored>>,
    ) -> Result<Vec<Stored>, Failure> {
        errand
            .chunks
            .make_contiguous()
            .sort_by_key(|(_, location)| location.span);
        let mut rest = Vec::new();
        match self.read(&mut errand, &mut room, &to, &mut rest).await {
            Ok(()) => Ok(rest),
            Err(error) => Err(Failure {
                error,
                unread: errand
                    .addresses()
                    .chain(rest.iter().map(|stored| stored.address))
                    .collect(),
            }),
        }
    }

    async fn read(
        &self,
        errand: &mut Errand,
        room: &mut Room,
        to: &mpsc::Sender<Vec<Stored>>,
        rest: &mut Vec<Stored>,
    ) -> Result<(), RemoteError> {
        let Place { url, name } = errand.place.clone();
        let needed = errand.chunks.iter();
        let needed: HashSet<_> = needed.filter_map(|(_, at)| at.dictionary).collect();
        let may_wait = errand.region.len() <= WAITING_BYTES;
        let (inside, outside): (Vec<_>, Vec<_>) =
            (needed.into_iter()).partition(|span| may_wait && errand.region.holds(*span));
        let ready: OnceLock<Dictionaries> = OnceLock::new();
        let read_outside = outside.into_iter().map(|span| {
            let range = span.offset..span.offset + u64::from(span.len);
            let stored = async { Ok(self.data.read_range(&url, range).await?.bytes) };
            self.dictionary(&name, span, stored)
        });
        let read_outside = async {
            let outside = try_join_all(read_outside).await?;
            ready.get_or_init(|| outside.into_iter().collect());
            Ok::<_, RemoteError>(())
        };
        // What holds dictionaries is needed whole; what is kept is copied as it comes.
        let is_whole = !inside.is_empty();
        let claimed = errand.claim.as_ref().map(|claim| to_usize(claim.len()));
        let mut kept = claimed.map(BytesMut::with_capacity);
        let read_body = async {
            let mut reader = self.data.range_reader(&url, errand.region.range.clone());
            while reader.more().await? {
                let dictionaries = ready.get().filter(|_| !is_whole);
                if let Some(dictionaries) = dictionaries
                    && reader.arrived.bytes.len() >= HANDED_BYTES
                {
                    let cut = errand.next_cut(reader.arrived.start, reader.arrived.end());
                    let body = reader.arrived.take(cut.len).freeze();
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(&body);
                    }
                    rest.extend(errand.cut(&cut, &body, dictionaries, room));
                    hand_over(to, rest);
                }
            }
            Ok::<_, RemoteError>(reader)
        };
        let (mut reader, ()) = futures::try_join!(read_body, read_outside)?;
        let mut dictionaries = ready.into_inner().unwrap_or_default();
        let cut = errand.next_cut(reader.arrived.start, reader.arrived.end());
        let whole = reader.arrived.bytes.split().freeze();
        if let Some((claim, mut kept)) = errand.claim.take().zip(kept) {
            kept.extend_from_slice(&whole);
            self.pool.run(move || claim.keep(kept.freeze())).await;
        }
        let read_inside = inside.into_iter().map(|span| {
            let stored = whole.slice(errand.region.within(span));
            self.dictionary(&name, span, async { Ok(stored) })
        });
        dictionaries.extend(try_join_all(read_inside).await?);
        rest.extend(errand.cut(&cut, &whole, &dictionaries, room));
        self.held.meet(&name, reader.into_rest().file_len);
        Ok(())
    }

    /// Finds a dictionary, or makes it of its stored bytes.
    pub(super) async fn dictionary(
        &self,
        place: &Arc<str>,
        span: ByteSpan,
        stored: impl Future<Output = Result<Bytes, RemoteError>>,
    ) -> Result<(ByteSpan, Arc<Dictionary>), RemoteError> {
        let key = DictionaryKey {
            place: Arc::clone(place),
            span,
        };
        let dictionary = self.dictionaries.get(&key, stored, &self.pool).await?;
        Ok((span, dictionary))
    }
}

impl Errand {
    /// What is wanted.
    pub(super) fn addresses(&self) -> impl Iterator<Item = ChunkAddress> + '_ {
        self.chunks.iter().map(|(address, _)| *address)
    }

    /// Up to where what came can be cut: chunks may overlap, and there is none across it.
    fn next_cut(&self, start: u64, arrived: u64) -> Cut {
        let (mut end, mut count, mut reach) = (start, 0, start);
        for (number, (_, location)) in self.chunks.iter().enumerate() {
            let span = location.span;
            if span.offset >= reach {
                (end, count) = (reach, number);
            }
            let ends_at = span.offset + u64::from(span.len);
            if ends_at > arrived {
                break;
            }
            reach = reach.max(ends_at);
            if number + 1 == self.chunks.len() {
                (end, count) = (reach, number + 1);
            }
        }
        Cut {
            start,
            len: to_usize(end - start),
            count,
        }
    }

    /// Cuts the chunks out of what came. Those of a region that is mostly gap are copied, so that they do not keep all
    /// of it in memory.
    fn cut(
        &mut self,
        cut: &Cut,
        body: &Bytes,
        dictionaries: &Dictionaries,
        room: &mut Room,
    ) -> Vec<Stored> {
        let is_sparse = self.region.is_sparse();
        let chunks: Vec<_> = self.chunks.drain(..cut.count).collect();
        let mut of_these = room.split(cut.len);
        if let Some(room) = of_these.as_mut().filter(|_| is_sparse) {
            room.shrink(chunks.iter().map(|(_, at)| at.span.len as usize).sum());
        }
        let room = of_these.map(Arc::new);
        let stored = chunks.into_iter().map(|(address, location)| {
            let from = to_usize(location.span.offset - cut.start);
            let range = from..from + location.span.len as usize;
            let dictionary = location.dictionary.map(|span| {
                let dictionary = dictionaries.get(&span);
                Arc::clone(dictionary.expect("every dictionary that is needed was read"))
            });
            Stored {
                address,
                bytes: match is_sparse {
                    true => Bytes::copy_from_slice(&body[range]),
                    false => body.slice(range),
                },
                dictionary,
                room: room.clone(),
            }
        });
        stored.collect()
    }
}

/// Bytes of a region that hold some chunks, the first of those that were not handed over.
struct Cut {
    /// Where in the file they begin.
    start: u64,
    len: usize,
    /// How many chunks.
    count: usize,
}

/// Hands over what there is, unless too much waits already: the request must not wait for it.
fn hand_over(to: &mpsc::Sender<Vec<Stored>>, stored: &mut Vec<Stored>) {
    if stored.is_empty() {
        return;
    }
    let sent = to.try_send(std::mem::take(stored));
    if let Err(TrySendError::Full(back) | TrySendError::Closed(back)) = sent {
        *stored = back;
    }
}

/// A number of bytes of a region.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a region fits into memory")
}
