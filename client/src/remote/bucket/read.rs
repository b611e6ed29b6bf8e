//! Chunks of the files in a bucket, read by ranges and checked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::format::MAX_CHUNK_LEN;
use holdfast_chunkstore::format::archive::{Decoder, Dictionary};
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::{ByteSpan, ChunkSpan};
use holdfast_chunkstore::noms_dir::{StoreError, StoredFile, file_name};
use holdfast_chunkstore::objects::ObjectStoreExt as _;
use holdfast_chunkstore::objects::retrying::RetryingStore;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, TableFileId};

use super::index::key_of;
use crate::remote::ranges::{Want, plan};
use crate::remote::{MOST_BYTES, Reach, RemoteChunk, RemoteError};

/// How many ranges are read at once.
const AT_ONCE: usize = 8;

/// Gaps of as many bytes are not read over: a request to a bucket costs about as much.
const GAP_BYTES: u64 = 512 << 10;

/// How many prepared dictionaries are kept.
const DICTIONARIES: usize = 64;

/// Where a chunk lies: which file, and where in it.
pub(super) type Found = Option<(usize, ChunkSpan)>;

/// A dictionary's place.
type DictionaryPlace = (TableFileId, ByteSpan);

/// Reads chunks.
#[derive(Debug)]
pub(super) struct Reader {
    objects: RetryingStore,
    pool: BlockingPool,
    dictionaries: Mutex<HashMap<DictionaryPlace, Arc<Dictionary>>>,
}

/// A chunk that is to be decoded.
struct Stored {
    /// Its number in the question.
    number: usize,
    address: ChunkAddress,
    bytes: Bytes,
    dictionary: Option<Arc<Dictionary>>,
    file: Arc<StoredFile>,
}

impl Reader {
    pub(super) fn new(objects: RetryingStore, pool: BlockingPool) -> Self {
        Self {
            objects,
            pool,
            dictionaries: Mutex::default(),
        }
    }

    /// Finds chunks in files, in the order of the question.
    pub(super) async fn locate(
        &self,
        files: Vec<Arc<StoredFile>>,
        addresses: Vec<ChunkAddress>,
    ) -> Result<Vec<Found>, RemoteError> {
        let found = self.pool.run(move || {
            let find = |address: &ChunkAddress| {
                for (number, file) in files.iter().enumerate() {
                    if let Some(span) = file.find(*address)? {
                        return Ok(Some((number, span)));
                    }
                }
                Ok(None)
            };
            addresses
                .iter()
                .map(find)
                .collect::<Result<_, StoreError>>()
        });
        Ok(found.await?)
    }

    /// Reads the first of some chunks at places that were found: as many as may be in memory.
    pub(super) async fn read(
        &self,
        files: &[Arc<StoredFile>],
        addresses: &[ChunkAddress],
        found: &[Found],
        reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        let found = &found[..within(found.iter().map(|found| {
            let (_, span) = (*found)?;
            Some(u64::from(span.data.len))
        }))];
        let wants = found.iter().enumerate().filter_map(|(chunk, found)| {
            let (place, span) = (*found)?;
            let span = span.data;
            Some(Want { place, span, chunk })
        });
        let regions = plan(wants.collect(), reach, GAP_BYTES).into_iter();
        let reads = regions.map(|region| async {
            let bytes = self.range(&files[region.place], region.range.clone());
            Ok::<_, RemoteError>((bytes.await?, region))
        });
        let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        let mut stored = Vec::new();
        while let Some((bytes, region)) = reads.try_next().await? {
            let file = &files[region.place];
            for want in &region.wants {
                let dictionary = found[want.chunk].and_then(|(_, span)| span.dictionary);
                stored.push(Stored {
                    number: want.chunk,
                    address: addresses[want.chunk],
                    bytes: bytes.slice(region.within(want.span)),
                    dictionary: self.dictionary(file, dictionary).await?,
                    file: Arc::clone(file),
                });
            }
        }
        // What few bytes stand for is seen only now.
        let mut claimed = vec![None; found.len()];
        for one in &stored {
            let dictionary = one.dictionary.as_deref();
            let len = Decoder::claimed_len(&one.bytes, dictionary, MAX_CHUNK_LEN);
            claimed[one.number] = Some(u64::from(len));
        }
        let count = within(claimed.into_iter());
        stored.retain(|one| one.number < count);
        self.pool.run(move || decode(stored, count)).await
    }

    async fn range(
        &self,
        file: &StoredFile,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, RemoteError> {
        let key = key_of(file.id(), file.kind());
        let len = range.end - range.start;
        Ok(self.objects.read(&key, Some(range), len).await?)
    }

    /// A dictionary, prepared once.
    async fn dictionary(
        &self,
        file: &StoredFile,
        span: Option<ByteSpan>,
    ) -> Result<Option<Arc<Dictionary>>, RemoteError> {
        let Some(span) = span else {
            return Ok(None);
        };
        let place = (file.id(), span);
        let known = {
            let dictionaries = self.dictionaries.lock();
            let dictionaries = dictionaries.unwrap_or_else(PoisonError::into_inner);
            dictionaries.get(&place).map(Arc::clone)
        };
        if known.is_some() {
            return Ok(known);
        }
        let range = span.offset..span.offset + u64::from(span.len);
        let bytes = self.range(file, range).await?;
        let dictionary = self.pool.run(move || Dictionary::decode(&bytes)).await;
        let dictionary = Arc::new(dictionary.map_err(damaged(file))?);
        let dictionaries = self.dictionaries.lock();
        let mut dictionaries = dictionaries.unwrap_or_else(PoisonError::into_inner);
        if dictionaries.len() >= DICTIONARIES {
            dictionaries.clear();
        }
        dictionaries.insert(place, Arc::clone(&dictionary));
        Ok(Some(dictionary))
    }
}

/// How many of the first chunks may be in memory at once, by the lengths of those that are there; one at least.
fn within(lens: impl ExactSizeIterator<Item = Option<u64>>) -> usize {
    let count = lens.len();
    let mut bytes = 0;
    let full = lens.enumerate().find_map(|(at, len)| {
        bytes += len.unwrap_or(0);
        (bytes >= MOST_BYTES as u64).then_some(at + 1)
    });
    full.unwrap_or(count)
}

/// Decodes and checks chunks, and puts each in its place among `count`.
fn decode(stored: Vec<Stored>, count: usize) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
    let mut decoder = Decoder::new();
    let mut chunks = Vec::with_capacity(stored.len());
    for one in &stored {
        let mut chunk = Vec::new();
        let dictionary = one.dictionary.as_deref();
        decoder
            .decode(&one.bytes, dictionary, MAX_CHUNK_LEN, &mut chunk)
            .map_err(damaged(&one.file))?;
        chunks.push(Bytes::from(chunk));
    }
    let addresses: Vec<_> = stored.iter().map(|one| one.address).collect();
    check_chunks(&addresses, &chunks).map_err(|source| RemoteError::OtherChunk { source })?;
    let mut answer = vec![None; count];
    for (one, chunk) in stored.into_iter().zip(chunks) {
        answer[one.number] = Some(RemoteChunk {
            chunk,
            record: one.dictionary.is_none().then_some(one.bytes),
        });
    }
    Ok(answer)
}

/// Says which file is damaged.
fn damaged(
    file: &StoredFile,
) -> impl FnOnce(holdfast_chunkstore::format::DecodeError) -> RemoteError + '_ {
    |source| {
        RemoteError::from(StoreError::File {
            path: file_name(file.id(), file.kind()).into(),
            source,
        })
    }
}
