//! One table file or archive on disk, its chunks found with a few small reads.
//!
//! # Memory
//! The index stays on disk. Of each run of [`RUN`] entries one prefix is kept in memory, and of each run of records
//! in a table file where it begins: an eighth of a byte a chunk. A question reads one run of prefixes and then what
//! belongs to the entry.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::{StoreError, damaged, io};
use super::handle::{Handle, HandleError};
use super::layout;
use crate::address::{ChunkAddress, TableFileId};
use crate::format::archive::{self, DataSpans, Dictionary, SpanReference, StoredDictionary};
use crate::format::manifest::ListedFile;
use crate::format::table::{self, RecordSpans};
use crate::format::{DecodeError, FileKind, MAX_CHUNK_LEN, TAIL_LEN};
use crate::index::{ByteSpan, ChunkSpan};
use crate::items::{BLOCK_BYTES, ItemReader};

/// How many entries of an index share one place in memory.
const RUN: u32 = 128;

/// How many prepared dictionaries are kept; Dolt's archives have one each, conjoined ones many.
const DICTIONARIES: usize = 64;

/// A table file or an archive whose index was read. Clones of the `Arc` share it between threads.
///
/// Few files of a process are open at once, and this one is opened when it is read: one that a collection took away is
/// [`StoreError::Vanished`] then.
#[derive(Debug)]
pub struct StoredFile {
    id: TableFileId,
    handle: Handle,
    layout: Layout,
    /// The first prefix of each run of prefixes.
    prefixes: Vec<u64>,
    dictionaries: Mutex<HashMap<ByteSpan, Arc<Dictionary>>>,
}

#[derive(Debug)]
enum Layout {
    Table {
        layout: table::Layout,
        /// Where the first record of each run of ordinals begins.
        offsets: Vec<u64>,
    },
    Archive(archive::Layout),
}

impl StoredFile {
    /// How many entries of the index are read together.
    pub const RUN: u32 = RUN;

    /// Opens the file of that id in `directory`, a table file before an archive as Dolt does; nothing if there is
    /// neither. Reads its index once and checks that prefixes rise and that spans fill the data.
    pub fn open(directory: &Path, id: TableFileId) -> Result<Option<Self>, StoreError> {
        for kind in [FileKind::Table, FileKind::Archive] {
            let path = directory.join(layout::file_name(id, kind));
            match File::open(&path) {
                Ok(file) => return Self::read(id, &path, file, kind).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io("open", &path)(error)),
            }
        }
        Ok(None)
    }

    /// Opens a file that a manifest lists in `directory`.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::File`] and [`StoreError::Count`] for one that does not hold what is listed.
    pub fn open_listed(directory: &Path, listed: ListedFile) -> Result<Self, StoreError> {
        let file = Self::open(directory, listed.id)?;
        let file = file.ok_or_else(|| StoreError::Missing {
            id: listed.id,
            directory: directory.to_owned(),
        })?;
        // Dolt finds the index of a table file by the count.
        if file.kind() == FileKind::Table && file.count() != listed.chunks {
            return Err(StoreError::Count {
                path: file.path().to_owned(),
                listed: listed.chunks,
                found: file.count(),
            });
        }
        Ok(file)
    }

    fn read(id: TableFileId, path: &Path, file: File, kind: FileKind) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        let handle = Handle::new(path, &file).map_err(io("read", path))?;
        let len = handle.len();
        let tail_len = usize::try_from(len).map_or(TAIL_LEN, |len| len.min(TAIL_LEN));
        let mut tail = vec![0; tail_len];
        file.read_exact_at(&mut tail, len - tail_len as u64)
            .map_err(io("read the end of", path))?;
        let wrong = damaged(path);
        let (layout, prefixes) = match kind {
            FileKind::Table => {
                let layout = table::Layout::decode(&tail, len).map_err(&wrong)?;
                let index = IndexOnDisk { file: &file, path };
                let prefixes = index.runs::<12>(layout.prefixes())?;
                let offsets = index.offsets(&layout)?;
                (Layout::Table { layout, offsets }, prefixes)
            }
            FileKind::Archive => {
                let layout = archive::Layout::decode(&tail, len).map_err(&wrong)?;
                let index = IndexOnDisk { file: &file, path };
                index.check_spans(&layout)?;
                let prefixes = index.runs::<8>(layout.prefixes())?;
                (Layout::Archive(layout), prefixes)
            }
        };
        Ok(Self {
            id,
            handle,
            layout,
            prefixes,
            dictionaries: Mutex::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> TableFileId {
        self.id
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.handle.path()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.handle.len()
    }

    /// Whether it has no bytes, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What kind of file it is.
    pub fn kind(&self) -> FileKind {
        match self.layout {
            Layout::Table { .. } => FileKind::Table,
            Layout::Archive(_) => FileKind::Archive,
        }
    }

    /// How many chunks it holds.
    pub fn count(&self) -> u32 {
        match &self.layout {
            Layout::Table { layout, .. } => layout.count(),
            Layout::Archive(layout) => layout.count(),
        }
    }

    /// How many of its bytes are data: what an upload calls the split offset.
    pub fn data_len(&self) -> u64 {
        match &self.layout {
            Layout::Table { layout, .. } => layout.data_len(),
            Layout::Archive(layout) => layout.data_len(),
        }
    }

    /// Whether it was taken away: it can be read no more. Blocks.
    pub(super) fn has_vanished(&self) -> bool {
        matches!(self.handle.file(), Err(HandleError::Vanished))
    }

    /// Finds where a chunk lies. Blocks.
    pub fn find(&self, address: ChunkAddress) -> Result<Option<ChunkSpan>, StoreError> {
        let prefix = address.prefix();
        // Equal prefixes may begin in the run before the first that begins with them.
        let begin = self.prefixes.partition_point(|first| *first < prefix);
        let end = self.prefixes.partition_point(|first| *first <= prefix);
        for run in begin.saturating_sub(1)..end {
            if let Some(span) = self.find_in_run(run, address)? {
                return Ok(Some(span));
            }
        }
        Ok(None)
    }

    fn find_in_run(
        &self,
        run: usize,
        address: ChunkAddress,
    ) -> Result<Option<ChunkSpan>, StoreError> {
        let first = u32::try_from(run).unwrap_or(u32::MAX).saturating_mul(RUN);
        let count = (self.count() - first.min(self.count())).min(RUN);
        match &self.layout {
            Layout::Table { layout, offsets } => {
                let block = self.items::<12>(layout.prefixes(), first, count)?;
                for tuple in table::prefix_tuples(&block).map_err(damaged(self.path()))? {
                    if tuple.prefix == address.prefix()
                        && self.suffix(layout.suffixes(), tuple.ordinal)? == address.suffix()
                    {
                        let data = self.record(layout, offsets, tuple.ordinal)?;
                        return Ok(Some(ChunkSpan {
                            data,
                            dictionary: None,
                        }));
                    }
                }
            }
            Layout::Archive(layout) => {
                let block = self.items::<8>(layout.prefixes(), first, count)?;
                let prefixes = archive::prefixes(&block).map_err(damaged(self.path()))?;
                for (number, prefix) in (first..).zip(prefixes) {
                    if prefix == address.prefix()
                        && self.suffix(layout.suffixes(), number)? == address.suffix()
                    {
                        return self.spans(layout, number).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Adds to `found` which of some addresses are here; the addresses rise. Each run of the index is read once,
    /// however many are asked for. Blocks.
    pub fn find_present(
        &self,
        addresses: &[ChunkAddress],
        found: &mut Vec<ChunkAddress>,
    ) -> Result<(), StoreError> {
        let (mut at, mut block) = (usize::MAX, Vec::new());
        for address in addresses {
            let prefix = address.prefix();
            let begin = self.prefixes.partition_point(|first| *first < prefix);
            let end = self.prefixes.partition_point(|first| *first <= prefix);
            for run in begin.saturating_sub(1)..end {
                if run != at {
                    (at, block) = (run, self.prefixes_of_run(run)?);
                }
                if self.has_entry(&block, *address)? {
                    found.push(*address);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The prefixes of a run, each with the number of its suffix.
    fn prefixes_of_run(&self, run: usize) -> Result<Vec<(u64, u32)>, StoreError> {
        let first = u32::try_from(run).unwrap_or(u32::MAX).saturating_mul(RUN);
        let count = (self.count() - first.min(self.count())).min(RUN);
        match &self.layout {
            Layout::Table { layout, .. } => {
                let block = self.items::<12>(layout.prefixes(), first, count)?;
                let tuples = table::prefix_tuples(&block).map_err(damaged(self.path()))?;
                Ok(tuples.map(|tuple| (tuple.prefix, tuple.ordinal)).collect())
            }
            Layout::Archive(layout) => {
                let block = self.items::<8>(layout.prefixes(), first, count)?;
                let prefixes = archive::prefixes(&block).map_err(damaged(self.path()))?;
                Ok(prefixes.zip(first..).collect())
            }
        }
    }

    /// Whether one of the entries of a run is that of an address.
    fn has_entry(&self, entries: &[(u64, u32)], address: ChunkAddress) -> Result<bool, StoreError> {
        let suffixes = match &self.layout {
            Layout::Table { layout, .. } => layout.suffixes(),
            Layout::Archive(layout) => layout.suffixes(),
        };
        let begin = entries.partition_point(|(prefix, _)| *prefix < address.prefix());
        for &(prefix, number) in &entries[begin..] {
            if prefix != address.prefix() {
                break;
            }
            if self.suffix(suffixes.clone(), number)? == address.suffix() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the record of an ordinal lies.
    fn record(
        &self,
        layout: &table::Layout,
        offsets: &[u64],
        ordinal: u32,
    ) -> Result<ByteSpan, StoreError> {
        let first = ordinal - ordinal % RUN;
        let block = self.items::<4>(layout.lengths(), first, ordinal - first + 1)?;
        let mut offset = offsets[(first / RUN) as usize];
        let mut len = 0;
        for next in table::lengths(&block).map_err(damaged(self.path()))? {
            offset += u64::from(len);
            len = next;
        }
        Ok(ByteSpan { offset, len })
    }

    /// Where the spans of an entry lie.
    fn spans(&self, layout: &archive::Layout, number: u32) -> Result<ChunkSpan, StoreError> {
        let block = self.items::<8>(layout.references(), number, 1)?;
        let mut references = archive::references(&block).map_err(damaged(self.path()))?;
        let SpanReference { dictionary, data } = references.next().expect("one was read");
        Ok(ChunkSpan {
            data: self.span(layout, data)?,
            dictionary: match dictionary {
                0 => None,
                dictionary => Some(self.span(layout, dictionary)?),
            },
        })
    }

    /// Where a span lies, by its id.
    fn span(&self, layout: &archive::Layout, id: u32) -> Result<ByteSpan, StoreError> {
        let first = id.saturating_sub(2);
        let count = if id > 1 { 2 } else { 1 };
        let block = self.items::<8>(layout.span_ends(), first, count)?;
        let mut ends = archive::span_ends(&block).map_err(damaged(self.path()))?;
        let offset = if id > 1 { ends.next().unwrap_or(0) } else { 0 };
        let end = ends.next().unwrap_or(offset);
        // That lengths are right was checked when the file was opened.
        let len = u32::try_from(end.saturating_sub(offset)).unwrap_or(0);
        Ok(ByteSpan { offset, len })
    }

    fn suffix(&self, section: Range<u64>, number: u32) -> Result<[u8; 12], StoreError> {
        let block = self.items::<12>(section, number, 1)?;
        Ok(*block.first_chunk().expect("twelve bytes were read"))
    }

    /// Reads items of a section of the index.
    fn items<const LEN: usize>(
        &self,
        section: Range<u64>,
        first: u32,
        count: u32,
    ) -> Result<Vec<u8>, StoreError> {
        let len = LEN as u64;
        let offset = section.start + u64::from(first) * len;
        if offset + u64::from(count) * len > section.end {
            return Err(damaged(self.path())(DecodeError::Truncated {
                what: "index",
                need: offset + u64::from(count) * len - section.start,
                have: section.end - section.start,
            }));
        }
        let mut block = vec![0; count as usize * LEN];
        let read = self.handle.read_exact_at(&mut block, offset);
        read.map_err(self.failed("read the index of"))?;
        Ok(block)
    }

    /// Reads the stored form of a chunk onto the end of `out`. Blocks.
    pub fn read_stored(&self, span: ByteSpan, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = out.len();
        out.resize(start + span.len as usize, 0);
        let read = self.handle.read_exact_at(&mut out[start..], span.offset);
        read.map_err(self.failed("read a chunk of"))
    }

    /// Says why the file could not be read.
    fn failed(&self, action: &'static str) -> impl FnOnce(HandleError) -> StoreError {
        move |error| match error {
            HandleError::Vanished => StoreError::Vanished {
                path: self.path().to_owned(),
            },
            HandleError::Io(source) => io(action, self.path())(source),
        }
    }

    /// Reads a chunk onto the end of `out`; its address is not checked. Blocks.
    pub fn read_chunk(
        &self,
        span: ChunkSpan,
        decoder: &mut archive::Decoder,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.read_both(span, decoder, &mut Vec::new(), out)
    }

    /// The same, and reads its stored form onto the end of `stored`. Blocks.
    pub fn read_both(
        &self,
        span: ChunkSpan,
        decoder: &mut archive::Decoder,
        stored: &mut Vec<u8>,
        chunk: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = stored.len();
        self.read_stored(span.data, stored)?;
        let dictionary = match span.dictionary {
            Some(span) => Some(self.dictionary(span)?),
            None => None,
        };
        let (stored, dictionary) = (&stored[start..], dictionary.as_deref());
        decoder
            .decode(stored, dictionary, MAX_CHUNK_LEN, chunk)
            .map_err(damaged(self.path()))?;
        Ok(())
    }

    /// Reads a dictionary as it is stored. Blocks.
    pub fn read_dictionary(&self, span: ByteSpan) -> Result<StoredDictionary, StoreError> {
        let mut stored = Vec::new();
        self.read_stored(span, &mut stored)?;
        StoredDictionary::new(stored).map_err(damaged(self.path()))
    }

    /// A dictionary, prepared once.
    fn dictionary(&self, span: ByteSpan) -> Result<Arc<Dictionary>, StoreError> {
        if let Some(known) = self.dictionaries.lock().get(&span) {
            return Ok(Arc::clone(known));
        }
        let mut stored = Vec::new();
        self.read_stored(span, &mut stored)?;
        let dictionary = Dictionary::decode(&stored).map_err(damaged(self.path()))?;
        let dictionary = Arc::new(dictionary);
        let mut known = self.dictionaries.lock();
        if known.len() >= DICTIONARIES {
            known.clear();
        }
        known.insert(span, Arc::clone(&dictionary));
        Ok(dictionary)
    }

    /// The addresses of all chunks, in the order of the index. Blocks, block by block.
    pub fn addresses(&self) -> impl Iterator<Item = Result<ChunkAddress, StoreError>> + '_ {
        self.addresses_from(0)
    }

    /// The same, without the first ones; `from` is a multiple of [`StoredFile::RUN`].
    pub fn addresses_from(
        &self,
        from: u32,
    ) -> impl Iterator<Item = Result<ChunkAddress, StoreError>> + '_ {
        let count = self.count();
        let firsts = (from..count).step_by(RUN as usize);
        firsts.flat_map(move |first| {
            let addresses = self.addresses_of_run(first, (count - first).min(RUN));
            let (addresses, error) = match addresses {
                Ok(addresses) => (addresses, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            addresses.into_iter().map(Ok).chain(error)
        })
    }

    fn addresses_of_run(&self, first: u32, count: u32) -> Result<Vec<ChunkAddress>, StoreError> {
        match &self.layout {
            Layout::Table { layout, .. } => {
                let block = self.items::<12>(layout.prefixes(), first, count)?;
                let tuples = table::prefix_tuples(&block).map_err(damaged(self.path()))?;
                let address = |tuple: table::PrefixTuple| {
                    let suffix = self.suffix(layout.suffixes(), tuple.ordinal)?;
                    Ok(ChunkAddress::from_parts(tuple.prefix, suffix))
                };
                tuples.map(address).collect()
            }
            Layout::Archive(layout) => {
                let prefixes = self.items::<8>(layout.prefixes(), first, count)?;
                let suffixes = self.items::<12>(layout.suffixes(), first, count)?;
                let prefixes = archive::prefixes(&prefixes).map_err(damaged(self.path()))?;
                let suffixes = archive::suffixes(&suffixes).map_err(damaged(self.path()))?;
                let pairs = prefixes.zip(suffixes);
                Ok(pairs
                    .map(|(prefix, suffix)| ChunkAddress::from_parts(prefix, *suffix))
                    .collect())
            }
        }
    }
}

/// The index of a file that is being opened.
struct IndexOnDisk<'a> {
    file: &'a Arc<File>,
    path: &'a Path,
}

impl IndexOnDisk<'_> {
    /// The first prefix of each run; each item begins with one.
    fn runs<const LEN: usize>(&self, section: Range<u64>) -> Result<Vec<u64>, StoreError> {
        let mut items = self.reader::<LEN>(section);
        let (mut firsts, mut position, mut last) = (Vec::new(), 0_u32, 0);
        while let Some(item) = items
            .next_item()
            .map_err(io("read the index of", self.path))?
        {
            let prefix = u64::from_be_bytes(*item.first_chunk().expect("an item holds a prefix"));
            if prefix < last {
                return Err(damaged(self.path)(DecodeError::Order { position }));
            }
            if position.is_multiple_of(RUN) {
                firsts.push(prefix);
            }
            last = prefix;
            position = position.saturating_add(1);
        }
        Ok(firsts)
    }

    /// Where the first record of each run begins.
    fn offsets(&self, layout: &table::Layout) -> Result<Vec<u64>, StoreError> {
        let mut items = self.reader::<4>(layout.lengths());
        let mut spans = RecordSpans::new(layout);
        let (mut offsets, mut ordinal) = (Vec::new(), 0_u32);
        while let Some(item) = items
            .next_item()
            .map_err(io("read the index of", self.path))?
        {
            let span = spans.advance(u32::from_be_bytes(item));
            let span = span.map_err(damaged(self.path))?;
            if ordinal.is_multiple_of(RUN) {
                offsets.push(span.offset);
            }
            ordinal = ordinal.saturating_add(1);
        }
        spans.finish().map_err(damaged(self.path))?;
        Ok(offsets)
    }

    fn check_spans(&self, layout: &archive::Layout) -> Result<(), StoreError> {
        let mut items = self.reader::<8>(layout.span_ends());
        let mut spans = DataSpans::new(layout);
        while let Some(item) = items
            .next_item()
            .map_err(io("read the index of", self.path))?
        {
            let span = spans.advance(u64::from_be_bytes(item));
            span.map_err(damaged(self.path))?;
        }
        spans.finish().map_err(damaged(self.path))
    }

    fn reader<const LEN: usize>(&self, section: Range<u64>) -> ItemReader<LEN> {
        let len = section.end - section.start;
        ItemReader::new(Arc::clone(self.file), section.start, len, BLOCK_BYTES)
    }
}
