//! One range that is to be read, with the dictionaries that its chunks need.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Dictionary;
use holdfast_chunkstore::index::ByteSpan;

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
    /// What is wanted of it, in the order of the region's.
    pub(super) chunks: Vec<(ChunkAddress, Location)>,
    /// Of a whole file, which is kept.
    pub(super) claim: Option<Claim>,
}

/// Why a range was not read, and what was wanted of it.
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
    /// Reads a range, for which there is room.
    pub(super) async fn run(&self, mut errand: Errand, room: Room) -> Result<Vec<Stored>, Failure> {
        match self.read(&mut errand).await {
            Ok((body, dictionaries)) => Ok(errand.stored(&body, &dictionaries, room).collect()),
            Err(error) => Err(Failure {
                error,
                unread: errand.addresses().collect(),
            }),
        }
    }

    async fn read(
        &self,
        errand: &mut Errand,
    ) -> Result<(Bytes, HashMap<ByteSpan, Arc<Dictionary>>), RemoteError> {
        let Place { url, name } = &errand.place;
        let needed = errand.chunks.iter();
        let needed: HashSet<_> = needed.filter_map(|(_, at)| at.dictionary).collect();
        let (inside, outside): (Vec<_>, Vec<_>) =
            (needed.into_iter()).partition(|span| errand.region.holds(*span));
        let body = self.data.read_range(url, errand.region.range.clone());
        let read_outside = outside.into_iter().map(|span| {
            let range = span.offset..span.offset + u64::from(span.len);
            let stored = async { Ok(self.data.read_range(url, range).await?.bytes) };
            self.dictionary(name, span, stored)
        });
        let (body, outside) = futures::try_join!(body, try_join_all(read_outside))?;
        self.held.meet(name, body.file_len);
        let body = body.bytes;
        if let Some(claim) = errand.claim.take() {
            let body = body.clone();
            self.pool.run(move || claim.keep(body)).await;
        }
        let read_inside = inside.into_iter().map(|span| {
            let stored = body.slice(errand.region.within(span));
            self.dictionary(name, span, async { Ok(stored) })
        });
        let inside = try_join_all(read_inside).await?;
        Ok((body, inside.into_iter().chain(outside).collect()))
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

    /// Cuts the chunks out of what came. Those of a region that is mostly gap are copied, so that they do not keep all
    /// of it in memory.
    fn stored(
        self,
        body: &Bytes,
        dictionaries: &HashMap<ByteSpan, Arc<Dictionary>>,
        mut room: Room,
    ) -> impl Iterator<Item = Stored> {
        let is_sparse = self.region.is_sparse();
        if is_sparse {
            room.shrink(usize::try_from(self.region.wanted_len()).unwrap_or(usize::MAX));
        }
        let room = Arc::new(room);
        self.chunks.into_iter().map(move |(address, location)| {
            let range = self.region.within(location.span);
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
                room: Some(Arc::clone(&room)),
            }
        })
    }
}
