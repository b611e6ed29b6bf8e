//! Reads chunks: asks where they lie, reads few ranges that hold them, and checks what came.
//!
//! Each range is read by a task of its own, which waits for nobody who has stopped asking: leave to make a request,
//! and dictionaries that another task is about to bring, are never held by a future that nobody polls.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Dictionary;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::pool::BlockingPool;
use tokio::task::JoinSet;

use super::answers::{Located, Location, Place};
use super::chunks::{Stored, decode_checked};
use super::connection::Connection;
use super::data::Data;
use super::dictionaries::{Dictionaries, DictionaryKey};
use super::flow;
use crate::remote::ranges::{Region, Want, plan};
use crate::remote::{Reach, RemoteChunk, RemoteError};

/// How many stored bytes are decoded by one thread in one go.
const PIECE_BYTES: usize = 512 << 10;

/// Gaps of as many bytes are not read over: a request costs about as much.
const GAP_BYTES: u64 = 8 << 10;

/// How often in a row addresses may have ended before anything came from them.
const FRUITLESS_ROUNDS: u32 = 3;

/// Reads chunks of one server.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) data: Data,
    pub(super) dictionaries: Dictionaries,
    pub(super) pool: BlockingPool,
}

/// Chunks that came, and were checked.
type Chunks = HashMap<ChunkAddress, RemoteChunk>;

/// A range that is to be read, with all that it takes.
#[derive(Debug)]
struct Errand {
    place: Place,
    region: Region,
    /// What is wanted of it, in the order of the region's.
    chunks: Vec<(ChunkAddress, Location)>,
}

/// Reads chunks: one answer per address, in their order.
pub(super) async fn read(
    connection: &Connection,
    fetcher: &Arc<Fetcher>,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
    let mut seen = HashSet::with_capacity(addresses.len());
    let mut missing = addresses.to_vec();
    missing.retain(|address| seen.insert(*address));
    let mut chunks = Chunks::with_capacity(missing.len());
    let mut fruitless = 0;
    while !missing.is_empty() {
        let had = chunks.len();
        let located = connection.locate(&missing).await?;
        let errands = errands(&located, &missing, reach);
        let Some(ended) = fetch(fetcher, errands, &mut chunks).await? else {
            break;
        };
        // The addresses of the rest came to their end. New ones are asked for.
        fruitless = if chunks.len() > had { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS_ROUNDS {
            return Err(ended);
        }
        missing.retain(|address| !chunks.contains_key(address));
    }
    let addresses = addresses.iter();
    Ok(addresses
        .map(|address| chunks.get(address).cloned())
        .collect())
}

fn errands(
    located: &Located,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> impl Iterator<Item = Errand> {
    let locations = located.locations.iter().enumerate();
    let wants = locations.filter_map(|(chunk, location)| {
        let Location { place, span, .. } = (*location)?;
        Some(Want { place, span, chunk })
    });
    let chunk_of = |want: &Want| {
        let location = located.locations[want.chunk].expect("only what was found is planned");
        (addresses[want.chunk], location)
    };
    let errand = move |region: Region| Errand {
        place: located.places[region.place].clone(),
        chunks: region.wants.iter().map(chunk_of).collect(),
        region,
    };
    plan(wants.collect(), reach, GAP_BYTES)
        .into_iter()
        .map(errand)
}

/// What a task did.
enum Done {
    /// A range was read.
    Came(Vec<Stored>),
    /// What came was decoded and checked.
    Checked(Vec<(ChunkAddress, RemoteChunk)>),
}

/// Runs errands, some at once. When an address has ended no more are begun, and the refusal is returned.
async fn fetch(
    fetcher: &Arc<Fetcher>,
    mut errands: impl Iterator<Item = Errand>,
    chunks: &mut Chunks,
) -> Result<Option<RemoteError>, RemoteError> {
    let mut ended = None;
    let mut tasks = JoinSet::new();
    let mut unchecked = Vec::new();
    let check = |tasks: &mut JoinSet<_>, piece| {
        let pool = fetcher.pool.clone();
        tasks.spawn(async move {
            let checked = pool.run(move || decode_checked(piece)).await;
            checked.map(Done::Checked)
        });
    };
    loop {
        while tasks.len() < flow::MOST
            && ended.is_none()
            && let Some(errand) = errands.next()
        {
            let fetcher = Arc::clone(fetcher);
            tasks.spawn(async move { fetcher.run(errand).await.map(Done::Came) });
        }
        let Some(done) = tasks.join_next().await else {
            if unchecked.is_empty() {
                return Ok(ended);
            }
            check(&mut tasks, std::mem::take(&mut unchecked));
            continue;
        };
        match done {
            // Small ranges are checked together: hashing takes several chunks at once.
            Ok(Ok(Done::Came(stored))) => {
                unchecked.extend(stored);
                while let Some(piece) = take_piece(&mut unchecked) {
                    check(&mut tasks, piece);
                }
            }
            Ok(Ok(Done::Checked(read))) => chunks.extend(read),
            Ok(Err(error)) if error.is_of_an_ended_address() => ended = Some(error),
            Ok(Err(error)) => return Err(error),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that shuts down cancels it; nobody waits for the answer then.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Takes from the end as many chunks as are worth a thread, if there are as many.
fn take_piece(stored: &mut Vec<Stored>) -> Option<Vec<Stored>> {
    let mut bytes = 0;
    let mut at = stored.len();
    while bytes < PIECE_BYTES {
        at = at.checked_sub(1)?;
        bytes += stored[at].bytes.len();
    }
    Some(stored.split_off(at))
}

impl Fetcher {
    async fn run(&self, errand: Errand) -> Result<Vec<Stored>, RemoteError> {
        let needed = errand.chunks.iter();
        let needed: HashSet<_> = needed.filter_map(|(_, at)| at.dictionary).collect();
        let (inside, outside): (Vec<_>, Vec<_>) =
            (needed.into_iter()).partition(|span| errand.region.holds(*span));
        let body = (self.data).read_range(&errand.place.url, errand.region.range.clone());
        let read_outside = outside.into_iter().map(|span| {
            let range = span.offset..span.offset + u64::from(span.len);
            let stored = self.data.read_range(&errand.place.url, range);
            self.dictionary(&errand.place, span, stored)
        });
        let (body, outside) = futures::try_join!(body, try_join_all(read_outside))?;
        let read_inside = inside.into_iter().map(|span| {
            let stored = body.slice(errand.region.within(span));
            self.dictionary(&errand.place, span, async { Ok(stored) })
        });
        let inside = try_join_all(read_inside).await?;
        let dictionaries: HashMap<_, _> = inside.into_iter().chain(outside).collect();
        Ok(errand.stored(&body, &dictionaries).collect())
    }

    async fn dictionary(
        &self,
        place: &Place,
        span: ByteSpan,
        stored: impl Future<Output = Result<Bytes, RemoteError>>,
    ) -> Result<(ByteSpan, Arc<Dictionary>), RemoteError> {
        let key = DictionaryKey {
            place: Arc::clone(&place.name),
            span,
        };
        let dictionary = self.dictionaries.get(&key, stored, &self.pool).await?;
        Ok((span, dictionary))
    }
}

impl Errand {
    /// Cuts the chunks out of what came. Those of a region that is mostly gap are copied, so that they do not keep all
    /// of it in memory.
    fn stored(
        self,
        body: &Bytes,
        dictionaries: &HashMap<ByteSpan, Arc<Dictionary>>,
    ) -> impl Iterator<Item = Stored> {
        let is_sparse = self.region.is_sparse();
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
            }
        })
    }
}
