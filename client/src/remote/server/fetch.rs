//! Reads chunks: asks where they lie, reads few ranges that hold them, and checks what came.
//!
//! ```text
//! addresses → held: what lies in small files that are in memory → locate → plan → errands ─▶ decode, check ─▶ parcels
//! ```
//!
//! Each range is read by a task of its own, which waits for nobody who has stopped asking: leave to make a request,
//! and dictionaries that another task is about to bring, are never held by a future that nobody polls.
//!
//! # Memory
//! What was asked for and what came takes [`STORED_BYTES`] until it is decoded, and [`DECODED_BYTES`] from then on until
//! it is taken off, however many read at once and however long the chunks are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::pool::BlockingPool;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::answers::{Located, Location};
use super::chunks::{Stored, decode_checked};
use super::connection::Connection;
use super::data::Data;
use super::dictionaries::Dictionaries;
use super::errand::{Errand, Failure};
use super::flow;
use super::held::{Claim, Held};
use crate::remote::parcel::{Memory, Parcel, Room};
use crate::remote::ranges::{Region, Want, plan};
use crate::remote::{MOST_BYTES, Reach, RemoteChunk, RemoteError};

/// How many stored bytes are decoded by one thread in one go.
const PIECE_BYTES: usize = 512 << 10;

/// How many bytes they become at most, unless it is one chunk.
const PIECE_DECODED_BYTES: u64 = 4 << 20;

/// Gaps of as many bytes are not read over: a request costs about as much.
const GAP_BYTES: u64 = 8 << 10;

/// Of chunks that are too many bytes together, one of so many is read.
const FEWER: usize = 8;

/// How often in a row addresses may have ended before anything came from them.
const FRUITLESS_ROUNDS: u32 = 3;

/// What may be read at once: several times what a long line holds. A chunk that has more is read alone.
pub(super) const STORED_BYTES: u32 = 12 << 20;

/// How many parts of ranges may have come and not be taken.
const CAME: usize = 64;

/// What may be decoded and not taken off.
pub(super) const DECODED_BYTES: u32 = 16 << 20;

/// Reads chunks of one server.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) data: Data,
    pub(super) dictionaries: Dictionaries,
    pub(super) held: Arc<Held>,
    pub(super) pool: BlockingPool,
    stored: Memory,
    decoded: Memory,
}

impl Fetcher {
    /// Has read nothing yet.
    pub(super) fn new(data: Data, pool: BlockingPool) -> Self {
        Self {
            data,
            dictionaries: Dictionaries::new(),
            held: Arc::default(),
            pool,
            stored: Memory::new(STORED_BYTES),
            decoded: Memory::new(DECODED_BYTES),
        }
    }
}

/// Reads the first of some chunks, as many as may be in memory: one answer for each, in their order.
pub(super) async fn read(
    connection: &Connection,
    fetcher: &Arc<Fetcher>,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
    let mut asked = addresses;
    loop {
        if let Some(chunks) = read_all(connection, fetcher, asked, reach).await? {
            return Ok(chunks);
        }
        // They come in any order, so none of what came is of use. Chunks are short as a rule.
        asked = &asked[..asked.len().div_ceil(FEWER)];
    }
}

/// Reads chunks; nothing if they are several and more than may be in memory.
async fn read_all(
    connection: &Connection,
    fetcher: &Arc<Fetcher>,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> Result<Option<Vec<Option<RemoteChunk>>>, RemoteError> {
    let (to, mut from) = mpsc::channel::<Parcel>(1);
    let mut chunks = HashMap::with_capacity(addresses.len());
    let mut reading = std::pin::pin!(read_each(
        connection,
        fetcher,
        addresses.to_vec(),
        reach,
        to
    ));
    let (mut bytes, mut is_read) = (0, false);
    loop {
        let parcel = tokio::select! {
            read = &mut reading, if !is_read => {
                is_read = true;
                read?;
                continue;
            }
            parcel = from.recv() => parcel,
        };
        let Some(parcel) = parcel else {
            break;
        };
        for (address, chunk) in parcel.chunks {
            bytes += chunk.chunk.len();
            chunks.insert(address, chunk);
        }
        if bytes > MOST_BYTES && addresses.len() > 1 {
            return Ok(None);
        }
    }
    if !is_read {
        reading.await?;
    }
    let addresses = addresses.iter();
    let chunk = |address| chunks.get(address).cloned();
    Ok(Some(addresses.map(chunk).collect()))
}

/// Reads chunks and sends each on, in any order. Returns those that are not there.
pub(super) async fn read_each(
    connection: &Connection,
    fetcher: &Arc<Fetcher>,
    addresses: Vec<ChunkAddress>,
    reach: Reach,
    to: mpsc::Sender<Parcel>,
) -> Result<Vec<ChunkAddress>, RemoteError> {
    let mut seen = HashSet::with_capacity(addresses.len());
    let mut unread = addresses;
    unread.retain(|address| seen.insert(*address));
    drop(seen);
    let mut missing = Vec::new();
    let mut fruitless = 0;
    while !unread.is_empty() {
        let mut course = Course::new(fetcher, &to);
        if reach == Reach::Near {
            unread = course.take_held(unread).await?;
        }
        let asked = unread.len();
        if asked > 0 {
            let located = connection.locate(&unread).await?;
            let found = located.locations.iter().zip(&unread);
            missing.extend(found.filter(|(at, _)| at.is_none()).map(|(_, it)| *it));
            let errands = errands(&fetcher.held, &located, &unread, reach);
            course.run(errands).await?;
        }
        let (ended, rest) = course.finish().await?;
        let Some(ended) = ended else {
            break;
        };
        // The addresses of the rest came to their end. New ones are asked for.
        fruitless = if rest.len() < asked { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS_ROUNDS {
            return Err(ended.of_lost_data());
        }
        unread = rest;
    }
    Ok(missing)
}

fn errands(
    held: &Arc<Held>,
    located: &Located,
    addresses: &[ChunkAddress],
    reach: Reach,
) -> impl Iterator<Item = Errand> {
    let locations = located.locations.iter().enumerate();
    let wants = locations.filter_map(|(chunk, location)| {
        let Location { place, span, .. } = (*location)?;
        Some(Want { place, span, chunk })
    });
    let mut wants: Vec<_> = wants.collect();
    let whole = match reach {
        Reach::Exact => Vec::new(),
        Reach::Near => whole_files(held, located, &mut wants),
    };
    let chunk_of = |want: &Want| {
        let location = located.locations[want.chunk].expect("only what was found is planned");
        (addresses[want.chunk], location)
    };
    let errand = move |(region, claim): (Region, Option<Claim>)| Errand {
        place: located.places[region.place].clone(),
        chunks: region.wants.iter().map(chunk_of).collect(),
        region,
        claim,
    };
    let whole = whole.into_iter();
    let whole = whole.map(|(region, claim)| (region, Some(claim)));
    let parts = plan(wants, reach, GAP_BYTES).into_iter();
    let parts = parts.map(|region| (region, None));
    whole.chain(parts).map(errand)
}

/// Takes what is wanted of files that are to be read whole.
fn whole_files(held: &Arc<Held>, located: &Located, wants: &mut Vec<Want>) -> Vec<(Region, Claim)> {
    let mut regions = Vec::new();
    for (number, place) in located.places.iter().enumerate() {
        let is_here = |want: &Want| want.place == number;
        let here = || wants.iter().filter(|want| is_here(want));
        let Some(end) = here().map(Want::end).max() else {
            continue;
        };
        let wanted = here().map(|want| u64::from(want.span.len)).sum();
        let claim = held.claim(&place.name, wanted);
        if let Some(claim) = claim.filter(|claim| end <= claim.len()) {
            let region = Region {
                place: number,
                range: 0..claim.len(),
                wants: wants.extract_if(.., |want| is_here(want)).collect(),
            };
            regions.push((region, claim));
        }
    }
    regions
}

/// What a task did.
enum Done {
    /// A range was read.
    Came(Vec<Stored>),
    /// What came was decoded, checked and sent on.
    Sent,
}

/// The tasks of one read.
struct Course<'a> {
    fetcher: &'a Arc<Fetcher>,
    to: &'a mpsc::Sender<Parcel>,
    tasks: JoinSet<Result<Done, Failure>>,
    /// What came of ranges whose rest is on its way.
    came: (mpsc::Sender<Vec<Stored>>, mpsc::Receiver<Vec<Stored>>),
    /// What came while as much as can be was being checked; it is checked together, as hashing takes several chunks at
    /// once.
    unchecked: Vec<Stored>,
    /// How many tasks check.
    checking: usize,
    /// The refusal of an address that ended; no more ranges are begun then.
    ended: Option<RemoteError>,
    /// What was not read because of it.
    unread: Vec<ChunkAddress>,
}

impl<'a> Course<'a> {
    fn new(fetcher: &'a Arc<Fetcher>, to: &'a mpsc::Sender<Parcel>) -> Self {
        Self {
            fetcher,
            to,
            tasks: JoinSet::new(),
            came: mpsc::channel(CAME),
            unchecked: Vec::new(),
            checking: 0,
            ended: None,
            unread: Vec::new(),
        }
    }

    /// Begins with what is in memory, and returns the rest.
    async fn take_held(
        &mut self,
        addresses: Vec<ChunkAddress>,
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        let files = self.fetcher.held.kept();
        if files.is_empty() {
            return Ok(addresses);
        }
        let mut rest = Vec::new();
        for address in addresses {
            let mut files = files.iter();
            let found = files.find_map(|file| {
                let span = file.find(address)?;
                Some((file, file.slice(span.data)?, span.dictionary))
            });
            let Some((file, bytes, dictionary)) = found else {
                rest.push(address);
                continue;
            };
            let dictionary = match dictionary.map(|span| (span, file.slice(span))) {
                None => None,
                Some((span, Some(stored))) => {
                    let stored = async { Ok(stored) };
                    let made = self.fetcher.dictionary(&file.name, span, stored).await?;
                    Some(made.1)
                }
                Some((_, None)) => {
                    rest.push(address);
                    continue;
                }
            };
            self.take(vec![Stored {
                address,
                bytes,
                dictionary,
                room: None,
            }]);
        }
        Ok(rest)
    }

    /// Runs errands, as many at once as there is room for.
    async fn run(&mut self, errands: impl Iterator<Item = Errand>) -> Result<(), RemoteError> {
        let fetcher = self.fetcher;
        for errand in errands {
            while self.tasks.len() >= flow::MOST {
                self.wait().await?;
            }
            if self.ended.is_some() {
                self.unread.extend(errand.addresses());
                continue;
            }
            let len = errand.region.len();
            let room = match fetcher.stored.try_take(len) {
                Some(room) => room,
                None => self.wait_for_room(len).await?,
            };
            let (fetcher, to) = (Arc::clone(fetcher), self.came.0.clone());
            self.tasks
                .spawn(async move { fetcher.run(errand, room, to).await.map(Done::Came) });
        }
        Ok(())
    }

    /// Waits for the rest. Returns the refusal of an address that ended, with what was not read because of it.
    async fn finish(mut self) -> Result<(Option<RemoteError>, Vec<ChunkAddress>), RemoteError> {
        loop {
            while !self.tasks.is_empty() {
                self.wait().await?;
            }
            while let Ok(stored) = self.came.1.try_recv() {
                self.take(stored);
            }
            self.check_rest();
            if self.tasks.is_empty() {
                return Ok((self.ended, self.unread));
            }
        }
    }

    /// Waits for room. Nothing lies about meanwhile, as that may be what it waits for.
    async fn wait_for_room(&mut self, len: u64) -> Result<Room, RemoteError> {
        let fetcher = self.fetcher;
        let mut room = std::pin::pin!(fetcher.stored.take(len));
        loop {
            self.check_rest();
            tokio::select! {
                room = &mut room => return Ok(room),
                Some(done) = self.tasks.join_next() => self.note(done)?,
                Some(stored) = self.came.1.recv() => self.take(stored),
            }
        }
    }

    async fn wait(&mut self) -> Result<(), RemoteError> {
        tokio::select! {
            Some(done) = self.tasks.join_next() => self.note(done),
            Some(stored) = self.came.1.recv() => {
                self.take(stored);
                Ok(())
            }
            else => Ok(()),
        }
    }

    fn note(&mut self, done: Result<Result<Done, Failure>, JoinError>) -> Result<(), RemoteError> {
        match done {
            Ok(Ok(Done::Came(stored))) => self.take(stored),
            Ok(Ok(Done::Sent)) => {
                self.checking -= 1;
                self.check_if_idle();
            }
            Ok(Err(failure)) if failure.error.is_of_an_ended_address() => {
                self.unread.extend(failure.unread);
                self.ended = Some(failure.error);
            }
            Ok(Err(failure)) => return Err(failure.error),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that shuts down cancels it, and nobody waits for the answer then.
            Err(_) => {}
        }
        Ok(())
    }

    fn take(&mut self, stored: Vec<Stored>) {
        self.unchecked.extend(stored);
        while let Some(piece) = take_piece(&mut self.unchecked) {
            self.check(piece);
        }
        self.check_if_idle();
    }

    /// On a slow line nothing waits for more to come: it counts only when it was sent on.
    fn check_if_idle(&mut self) {
        if self.checking == 0 {
            self.check_rest();
        }
    }

    fn check_rest(&mut self) {
        if !self.unchecked.is_empty() {
            let rest = std::mem::take(&mut self.unchecked);
            self.check(rest);
        }
    }

    /// Decodes, checks and sends on.
    fn check(&mut self, piece: Vec<Stored>) {
        let (fetcher, to) = (Arc::clone(self.fetcher), self.to.clone());
        self.checking += 1;
        self.tasks.spawn(async move {
            let len = piece.iter().map(Stored::claimed_len).sum();
            let room = fetcher.decoded.take(len).await;
            let mut parcel = fetcher.pool.run(move || decode_checked(piece)).await?;
            parcel.rooms.push(Arc::new(room));
            // Who has stopped asking wants nothing of it.
            drop(to.send(parcel).await);
            Ok(Done::Sent)
        });
    }
}

/// Takes from the end as many chunks as are worth a thread, if there are as many.
fn take_piece(stored: &mut Vec<Stored>) -> Option<Vec<Stored>> {
    let (mut bytes, mut decoded_bytes) = (0, 0);
    let mut at = stored.len();
    while bytes < PIECE_BYTES && decoded_bytes < PIECE_DECODED_BYTES {
        at = at.checked_sub(1)?;
        bytes += stored[at].bytes.len();
        decoded_bytes += stored[at].claimed_len();
    }
    Some(stored.split_off(at))
}
