//! Chunks of stored files, copied into one new file in the spool.
//!
//! ```text
//! entries of all inputs, by address ──▶ the first of equals ──▶ by input and offset ──▶ copied in that order
//! ```
//!
//! The inputs' bytes are read as streams from front to back, each once; dictionaries are fetched when first
//! needed. The order of the result depends on nothing but the inputs and their order. Nothing of an input is
//! trusted: the result passes the same check as an upload before it is published.
//!
//! Memory: the budgets of a few sorters however many inputs there are, a block of one input, some dictionaries,
//! and what the format's writer keeps for its index (28 bytes a chunk for a table file, 36 for an archive).

mod output;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;

use self::output::{Output, Piece, ReadyDictionary};
use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::format::archive::{Dictionary, StoredDictionary};
use crate::format::{DecodeError, EncodeError, MAX_STORED_LEN};
use crate::index::{ByteSpan, ChunkSpan};
use crate::objects::{ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _};
use crate::repo::entries::{EntriesError, FileEntries, RECORD_LEN, StoredEntry, read_entries};
use crate::repo::file::{DeclaredFile, FileKind, Md5, StoredFile};
use crate::repo::receive::MadeFile;
use crate::repo::spool::{SpoolDir, SpoolError, is_full};
use crate::sort::{SortOptions, Sorted, SortedIter, Sorter};

/// How many stored bytes are copied at once, unless one chunk is longer.
const BLOCK_BYTES: u64 = 1 << 20;

/// How many dictionaries are kept at hand.
const KEPT_DICTIONARIES: usize = 64;

/// A stored file that is read.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Where it is stored.
    pub key: ObjectKey,
    /// What is known of it.
    pub file: StoredFile,
}

/// Why a file could not be made of others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// There is nothing to make a file of.
    #[error("no files to copy from")]
    NoInputs,
    /// The index of an input could not be read.
    #[error("list the chunks to copy")]
    Entries(#[from] EntriesError),
    /// The bytes of an input could not be read.
    #[error("read {key}")]
    Object {
        /// The input.
        key: ObjectKey,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// An input has fewer bytes than its index says.
    #[error("{key} ends before its chunks do")]
    Short {
        /// The input.
        key: ObjectKey,
    },
    /// A dictionary of an input is damaged.
    #[error("the dictionary at byte {offset} of {key} is damaged")]
    Dictionary {
        /// The input.
        key: ObjectKey,
        /// Where the dictionary begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A chunk of an input is damaged.
    #[error("the stored chunk {address} in {key} is damaged")]
    Chunk {
        /// The input.
        key: ObjectKey,
        /// The chunk.
        address: ChunkAddress,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The new file could not be written.
    #[error("write the new file")]
    Encode(#[from] EncodeError),
    /// The spool has no room, or failed.
    #[error("keep the new file")]
    Spool(#[from] SpoolError),
    /// Sorting beside the spool failed.
    #[error("sort the chunks to copy")]
    Scratch(#[source] io::Error),
}

impl RewriteError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoInputs => ErrorKind::Invalid,
            Self::Entries(error) => error.kind(),
            Self::Object { source, .. } => source.kind(),
            Self::Short { .. } | Self::Dictionary { .. } | Self::Chunk { .. } => ErrorKind::Corrupt,
            Self::Encode(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::Scratch(error) if is_full(error) => ErrorKind::Exhausted,
            Self::Scratch(_) => ErrorKind::Unavailable,
        }
    }

    /// The input that is damaged or lost, if that is the reason.
    pub fn input_at_fault(&self) -> Option<&ObjectKey> {
        match self {
            Self::Short { key } | Self::Dictionary { key, .. } | Self::Chunk { key, .. } => {
                Some(key)
            }
            Self::Entries(EntriesError::Damaged { key, .. } | EntriesError::Different { key }) => {
                Some(key)
            }
            Self::Entries(EntriesError::Object { key, source }) | Self::Object { key, source } => {
                let is_lost = matches!(
                    source,
                    ObjectError::NotFound { .. } | ObjectError::Range { .. }
                );
                is_lost.then_some(key)
            }
            Self::NoInputs
            | Self::Entries(EntriesError::Spool { .. } | EntriesError::Scratch { .. })
            | Self::Encode(_)
            | Self::Spool(_)
            | Self::Scratch(_) => None,
        }
    }
}

/// Copies every distinct chunk of the inputs into a new file of the given kind.
pub(super) async fn rewrite(
    store: &dyn ObjectStore,
    inputs: &[InputFile],
    kind: FileKind,
    spool: &SpoolDir,
) -> Result<MadeFile, RewriteError> {
    // What cannot fit is refused before anything is read.
    let mut result = spool
        .create(inputs.iter().map(|input| input.file.len).sum())
        .await?;
    let mut kept = plan(store, inputs, spool).await?;
    let pool = spool.pool();
    let mut output = Output::new(kind);
    let mut reading = Reading {
        store,
        inputs,
        kind,
        open: None,
        dictionaries: VecDeque::new(),
    };
    loop {
        let (back, block) = pool.run(move || (kept.next_block(), kept)).await.swap();
        kept = back;
        let Some(block) = block.map_err(RewriteError::Scratch)? else {
            break;
        };
        let input = block.first().map_or(0, |chunk| chunk.input);
        let key = &inputs[crate::format::to_usize(input)].key;
        let mut pieces = VecDeque::with_capacity(block.len());
        for chunk in block {
            pieces.push_back(reading.fetch(chunk).await?);
        }
        while !pieces.is_empty() {
            let (back, bytes) = pool
                .run(move || (output.append(&mut pieces), (output, pieces)))
                .await
                .swap();
            (output, pieces) = back;
            let bytes = bytes.map_err(|unfit| unfit.of(key))?;
            append(&mut result, bytes).await?;
        }
    }
    let (bytes, written) = pool.run(move || output.finish()).await?;
    append(&mut result, bytes).await?;
    let declared = DeclaredFile {
        id: written.id,
        kind,
        len: written.len,
        chunks: written.count,
        md5: written.md5.map(Md5),
    };
    Ok(MadeFile {
        declared,
        spooled: result.finish().await?,
        sort: spool.sort_options(),
    })
}

/// Turns a pair around: results come before what made them.
trait Swap<A, B> {
    fn swap(self) -> (B, A);
}

impl<A, B> Swap<A, B> for (A, B) {
    fn swap(self) -> (B, A) {
        (self.1, self.0)
    }
}

async fn append(
    result: &mut crate::repo::spool::SpoolFile,
    bytes: Vec<u8>,
) -> Result<(), RewriteError> {
    if bytes.is_empty() {
        return Ok(());
    }
    result.reserve(bytes.len() as u64)?;
    Ok(result.append(Bytes::from(bytes)).await?)
}

/// Chooses the chunks to copy and their order.
async fn plan(
    store: &dyn ObjectStore,
    inputs: &[InputFile],
    spool: &SpoolDir,
) -> Result<Kept, RewriteError> {
    if inputs.is_empty() {
        return Err(RewriteError::NoInputs);
    }
    let sort = spool.sort_options();
    let mut all = Sorter::new(sort.clone());
    for (number, input) in (0..).zip(inputs) {
        let entries = read_entries(store, &input.key, &input.file, spool).await?;
        let add = move || add_all(all, number, &entries);
        all = spool.pool().run(add).await.map_err(RewriteError::Scratch)?;
    }
    let kept = spool.pool().run(move || {
        let sorted = first_of_equals(&all.finish()?, sort)?;
        Ok(Kept {
            records: sorted.iter()?,
            ahead: None,
        })
    });
    kept.await.map_err(RewriteError::Scratch)
}

/// Length of a chunk of any input.
///
/// ```text
/// 20 bytes address | u32 number of the input | u32 number of the record or span | 24 bytes as in an entry
/// ```
const FOUND_LEN: usize = RECORD_LEN + 4;

/// Length of a chunk to copy.
///
/// ```text
/// u32 number of the input | u64 offset | u32 length | u64 offset | u32 length of the dictionary | 20 bytes address
/// ```
const KEPT_LEN: usize = 48;

/// Adds the entries of one input.
fn add_all(
    mut all: Sorter<FOUND_LEN>,
    input: u32,
    entries: &FileEntries,
) -> io::Result<Sorter<FOUND_LEN>> {
    for record in entries.records().iter()? {
        let record = record?;
        let mut found = [0; FOUND_LEN];
        found[..20].copy_from_slice(&record[..20]);
        found[20..24].copy_from_slice(&input.to_be_bytes());
        found[24..].copy_from_slice(&record[20..]);
        all.push(found)?;
    }
    Ok(all)
}

/// Of equal addresses, keeps the one in the first input, and there the first.
fn first_of_equals(all: &Sorted<FOUND_LEN>, sort: SortOptions) -> io::Result<Sorted<KEPT_LEN>> {
    let mut kept = Sorter::new(sort);
    let mut last = None;
    for found in all.iter()? {
        let found = found?;
        let address: [u8; 20] = *found.first_chunk().expect("52 bytes hold 20");
        if last != Some(address) {
            last = Some(address);
            let mut record = [0; KEPT_LEN];
            record[..4].copy_from_slice(&found[20..24]);
            record[4..28].copy_from_slice(&found[28..]);
            record[28..].copy_from_slice(&address);
            kept.push(record)?;
        }
    }
    kept.finish()
}

/// A chunk to copy.
struct KeptChunk {
    input: u32,
    address: ChunkAddress,
    span: ChunkSpan,
}

impl KeptChunk {
    fn decode(kept: &[u8; KEPT_LEN]) -> Self {
        // The same fields as an entry, in another order.
        let mut record = [0; RECORD_LEN];
        record[..20].copy_from_slice(&kept[28..]);
        record[20..].copy_from_slice(&kept[..28]);
        let entry = StoredEntry::decode(&record);
        Self {
            input: entry.number,
            address: entry.address,
            span: entry.span,
        }
    }
}

/// The chunks to copy, in blocks of one input each.
struct Kept {
    records: SortedIter<KEPT_LEN>,
    ahead: Option<KeptChunk>,
}

impl Kept {
    fn next_block(&mut self) -> io::Result<Option<Vec<KeptChunk>>> {
        let mut block: Vec<KeptChunk> = Vec::new();
        let mut bytes = 0;
        loop {
            let next = match self.ahead.take() {
                Some(chunk) => Some(chunk),
                None => self
                    .records
                    .next()
                    .transpose()?
                    .map(|kept| KeptChunk::decode(&kept)),
            };
            let Some(chunk) = next else {
                return Ok((!block.is_empty()).then_some(block));
            };
            bytes += u64::from(chunk.span.data.len);
            let fits = match block.first() {
                Some(first) => first.input == chunk.input && bytes <= BLOCK_BYTES,
                None => true,
            };
            if !fits {
                self.ahead = Some(chunk);
                return Ok(Some(block));
            }
            block.push(chunk);
        }
    }
}

/// The input that is being read.
struct Reading<'a> {
    store: &'a dyn ObjectStore,
    inputs: &'a [InputFile],
    /// What is written.
    kind: FileKind,
    open: Option<(u32, SpanStream)>,
    /// The latest first; by input and offset.
    dictionaries: VecDeque<(u32, u64, Arc<ReadyDictionary>)>,
}

impl Reading<'_> {
    async fn fetch(&mut self, chunk: KeptChunk) -> Result<Piece, RewriteError> {
        let dictionary = match chunk.span.dictionary {
            Some(span) => Some(self.dictionary(chunk.input, span).await?),
            None => None,
        };
        let input = &self.inputs[crate::format::to_usize(chunk.input)];
        let data = chunk.span.data;
        let stream = match &mut self.open {
            Some((number, stream)) if *number == chunk.input => stream,
            open => {
                let range = data.offset..input.file.split_offset;
                let stream = SpanStream::open(self.store, &input.key, range).await?;
                &mut open.insert((chunk.input, stream)).1
            }
        };
        Ok(Piece {
            address: chunk.address,
            stored: stream.take(&input.key, data).await?,
            dictionary,
        })
    }

    async fn dictionary(
        &mut self,
        input: u32,
        span: ByteSpan,
    ) -> Result<Arc<ReadyDictionary>, RewriteError> {
        let wanted = (input, span.offset);
        let at = |kept: &(u32, u64, _)| (kept.0, kept.1) == wanted;
        if let Some(at) = self.dictionaries.iter().position(at)
            && let Some(found) = self.dictionaries.remove(at)
        {
            let dictionary = Arc::clone(&found.2);
            self.dictionaries.push_front(found);
            return Ok(dictionary);
        }
        let key = &self.inputs[crate::format::to_usize(input)].key;
        let range = span.offset..span.offset + u64::from(span.len);
        let limit = u64::from(MAX_STORED_LEN);
        let bytes = self.store.read(key, Some(range), limit).await;
        let bytes = bytes.map_err(|source| RewriteError::Object {
            key: key.clone(),
            source,
        })?;
        let ready = match self.kind {
            FileKind::Table => Dictionary::decode(&bytes).map(ReadyDictionary::ToDecode),
            FileKind::Archive => StoredDictionary::new(bytes.to_vec()).map(ReadyDictionary::ToCopy),
        };
        let ready = ready.map_err(|source| RewriteError::Dictionary {
            key: key.clone(),
            offset: span.offset,
            source,
        })?;
        let ready = Arc::new(ready);
        self.dictionaries
            .push_front((input, span.offset, Arc::clone(&ready)));
        self.dictionaries.truncate(KEPT_DICTIONARIES);
        Ok(ready)
    }
}

/// The data of one input, read forward.
struct SpanStream {
    stream: BoxStream<'static, Result<Bytes, ObjectError>>,
    position: u64,
    piece: Bytes,
}

impl SpanStream {
    async fn open(
        store: &dyn ObjectStore,
        key: &ObjectKey,
        range: Range<u64>,
    ) -> Result<Self, RewriteError> {
        let position = range.start;
        let body = store.get(key, Some(range)).await;
        let body = body.map_err(|source| RewriteError::Object {
            key: key.clone(),
            source,
        })?;
        Ok(Self {
            stream: body.stream,
            position,
            piece: Bytes::new(),
        })
    }

    /// Returns the bytes of a span that does not begin before the end of the last one.
    async fn take(&mut self, key: &ObjectKey, span: ByteSpan) -> Result<Bytes, RewriteError> {
        while self.position < span.offset {
            let gap = span.offset - self.position;
            let skipped = self.some(key, gap).await?;
            self.position += skipped.len() as u64;
        }
        let end = span.offset + u64::from(span.len);
        let first = self.some(key, u64::from(span.len)).await?;
        self.position += first.len() as u64;
        if self.position == end {
            return Ok(first);
        }
        let mut bytes = BytesMut::from(first);
        while self.position < end {
            let more = self.some(key, end - self.position).await?;
            self.position += more.len() as u64;
            bytes.extend_from_slice(&more);
        }
        Ok(bytes.freeze())
    }

    /// The next bytes: at least one, at most `limit`.
    async fn some(&mut self, key: &ObjectKey, limit: u64) -> Result<Bytes, RewriteError> {
        while self.piece.is_empty() {
            let piece = self.stream.try_next().await;
            let piece = piece.map_err(|source| RewriteError::Object {
                key: key.clone(),
                source,
            })?;
            self.piece = piece.ok_or_else(|| RewriteError::Short { key: key.clone() })?;
        }
        let len =
            usize::try_from(limit).map_or(self.piece.len(), |limit| limit.min(self.piece.len()));
        Ok(self.piece.split_to(len))
    }
}
