//! The check of a whole file: nothing about it is believed.
//!
//! ```text
//! footer → layout → index sections, streamed ──pieces in file order──▶ workers: read, checksum, decompress,
//!                                                                       hash in lanes, children
//!             index sections, streamed ◀── compared ── entries, sorted ◀──┘ └──▶ children, sorted
//!                                                            └────── taken away ─────┘ = what leaves
//! ```
//!
//! The lengths of the stored chunks stand in the index behind them, so the check begins when the whole file is
//! in the spool. It reads the file once from front to back and the sections of the index two or three times,
//! each as a stream. What must be compared out of order is sorted on disk, so memory depends on neither the
//! number of chunks nor the length of the file: a few sort budgets, and for each worker a block of the file
//! and the chunks that are in it.
//!
//! Work is handed to the pool in leases of some 32 MiB, stored or decoded, in turns that the senders of files share, so that
//! the check of a large file, or of many, does not hold the pool's threads against others. Which error is told does not depend on the order in which workers finish:
//! it is that of the first bad block.

mod archive;
mod batch;
mod compare;
mod dictionaries;
mod error;
mod table;
mod work;
mod worker;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::format::TAIL_LEN;
use crate::items::{BLOCK_BYTES, ItemReader};
use crate::pool::BlockingPool;
use crate::repo::entries;
use crate::repo::file::{DeclaredFile, FileKind};
use crate::repo::spool::{Sender, SpooledFile};
use crate::repo::turns::SharedTurns;
use crate::sort::{SortOptions, Sorted, Sorter};

pub use error::UploadError;
use work::Work;

/// How many workers check one file at once.
const WORKERS: usize = 2;

/// Finds what a chunk refers to. It lives where chunks have a meaning, which is not this crate.
pub trait FindChildren: Send + Sync {
    /// Calls `visit` with each address that `chunk` refers to; some may come several times.
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused>;
}

/// A chunk whose references cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ChildrenRefused {
    /// [`ErrorKind::Refused`] for a kind of chunk that is not known, [`ErrorKind::Invalid`] for one that is
    /// malformed.
    pub kind: ErrorKind,
    /// What is wrong, on one line.
    pub message: String,
}

/// What the check of a file found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// How many chunks its index lists.
    pub(crate) chunks: u32,
    /// Where the index begins.
    pub(crate) split_offset: u64,
    /// Its entries, ascending.
    pub(crate) entries: Sorted<{ entries::RECORD_LEN }>,
    /// What its chunks refer to and it does not hold, ascending, each once.
    pub(crate) leaving: Sorted<20>,
}

/// Is told how many bytes of a file are done.
pub(crate) type Tell<'a> = &'a (dyn Fn(u64) + Sync);

/// How a file is checked.
#[derive(Clone)]
pub(crate) struct Checker {
    /// What chunks refer to.
    pub(crate) children: Arc<dyn FindChildren>,
    /// The threads that do the work.
    pub(crate) pool: BlockingPool,
    /// How sets are sorted.
    pub(crate) sort: SortOptions,
    /// How many bytes the chunks of a file, and what they were compressed with, may have decoded.
    pub(crate) decoded_limit: u64,
    /// The turns in which it works on the pool, and whose they are, where they are shared.
    pub(crate) leases: Option<(SharedTurns, Sender)>,
}

impl Checker {
    /// Checks a received file against what was declared of it.
    pub(crate) async fn check(
        &self,
        declared: &DeclaredFile,
        spooled: &SpooledFile,
    ) -> Result<Findings, UploadError> {
        self.check_telling(declared, spooled, &|_| {}).await
    }

    /// Does the same, and tells now and then how many bytes are checked.
    pub(crate) async fn check_telling(
        &self,
        declared: &DeclaredFile,
        spooled: &SpooledFile,
        tell: Tell<'_>,
    ) -> Result<Findings, UploadError> {
        check_declared(declared, spooled)?;
        let context = Context {
            file: spooled.file(),
            len: spooled.len(),
            sort: self.sort.clone(),
        };
        let (declared, opening) = (declared.clone(), context.clone());
        let (plan, pieces) = self
            .pool
            .run(move || Plan::open(&declared, &opening))
            .await?;
        let children = Arc::clone(&self.children);
        let work = Work::new(&context, pieces, children, self.decoded_limit);
        let found = batch::run(work, self, tell).await?;
        self.pool.run(move || plan.conclude(&context, found)).await
    }
}

/// What comes before any look at the bytes.
fn check_declared(declared: &DeclaredFile, spooled: &SpooledFile) -> Result<(), UploadError> {
    let received = spooled.len();
    if received != declared.len {
        return Err(UploadError::Length {
            declared: declared.len,
            received,
        });
    }
    match declared.md5 {
        Some(md5) if md5 != spooled.md5() => Err(UploadError::Md5 {
            declared: md5,
            computed: spooled.md5(),
        }),
        _ => Ok(()),
    }
}

/// The file under check, and how its sets are sorted.
#[derive(Debug, Clone)]
struct Context {
    file: Arc<File>,
    len: u64,
    sort: SortOptions,
}

impl Context {
    fn sorter<const N: usize>(&self) -> Sorter<N> {
        Sorter::new(self.sort.clone())
    }

    fn section<const N: usize>(&self, range: std::ops::Range<u64>) -> Section<N> {
        let len = range.end - range.start;
        Section(ItemReader::new(
            Arc::clone(&self.file),
            range.start,
            len,
            BLOCK_BYTES,
        ))
    }

    fn tail(&self) -> Result<Vec<u8>, UploadError> {
        let len = self.len.min(TAIL_LEN as u64);
        self.read(self.len - len, len)
    }

    /// Reads a stretch whose length was found to lie inside the file and under a limit.
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, UploadError> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let mut bytes = vec![0; len.map_err(UploadError::Scratch)?];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(UploadError::Scratch)?;
        Ok(bytes)
    }
}

/// A section of the index, item by item.
#[derive(Debug)]
struct Section<const N: usize>(ItemReader<N>);

impl<const N: usize> Section<N> {
    /// The next item; nothing behind the last.
    fn next(&mut self) -> Result<Option<[u8; N]>, UploadError> {
        self.0.next_item().map_err(UploadError::Scratch)
    }

    /// The next item of a section that is as long as one that had one.
    fn expect(&mut self) -> Result<[u8; N], UploadError> {
        let missing = || UploadError::Scratch(io::ErrorKind::UnexpectedEof.into());
        self.next()?.ok_or_else(missing)
    }
}

/// What is known of a file before its chunks are read.
enum Plan {
    Table(table::Plan),
    Archive(archive::Plan),
}

impl Plan {
    /// Reads footer and index as far as they can be checked by themselves.
    fn open(
        declared: &DeclaredFile,
        context: &Context,
    ) -> Result<(Self, Box<dyn work::Pieces>), UploadError> {
        match declared.kind {
            FileKind::Table => {
                let (plan, records) = table::Plan::open(declared, context)?;
                Ok((Self::Table(plan), Box::new(records)))
            }
            FileKind::Archive => {
                let (plan, spans) = archive::Plan::open(declared, context)?;
                Ok((Self::Archive(plan), Box::new(spans)))
            }
        }
    }

    /// Compares the index with what the chunks are, and finds the references that leave.
    fn conclude(self, context: &Context, found: work::Found) -> Result<Findings, UploadError> {
        let entries = found.entries.finish().map_err(UploadError::Scratch)?;
        let (chunks, split_offset) = match self {
            Self::Table(plan) => plan.compare(context, &entries, found.uncompressed_len)?,
            Self::Archive(plan) => plan.compare(context, &entries)?,
        };
        let children = found.children.finish().map_err(UploadError::Scratch)?;
        let leaving = leaving(context, &entries, &children).map_err(UploadError::Scratch)?;
        Ok(Findings {
            chunks,
            split_offset,
            entries,
            leaving,
        })
    }
}

/// Takes the file's own addresses away from what its chunks refer to.
fn leaving(
    context: &Context,
    entries: &Sorted<{ entries::RECORD_LEN }>,
    children: &Sorted<20>,
) -> io::Result<Sorted<20>> {
    let mut leaving = context.sorter();
    let mut own = entries.iter()?;
    let mut next_own = own.next().transpose()?;
    for child in children.distinct()? {
        let child = child?;
        while let Some(record) = &next_own
            && record[..20] < child[..]
        {
            next_own = own.next().transpose()?;
        }
        if next_own.is_none_or(|record| record[..20] != child[..]) {
            leaving.push(child)?;
        }
    }
    leaving.finish()
}
