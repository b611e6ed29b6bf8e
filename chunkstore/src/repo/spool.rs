//! Files on their way in: a bounded directory where bytes wait until they are checked.
//!
//! The directory must lie on the same file system as a local object store, because that store takes a spool
//! file over by a hard link; the caller chooses the path.
//!
//! * Truth: none. Nothing in the spool was promised to anybody.
//! * Order: room is reserved before the bytes, of an upload as they come; a file is appended to, finished, read.
//! * Crash: what a killed process left is removed by the next [`SpoolDir::open`]. Only one process may use a
//!   directory; its owner sees to that.
//! * Cleanup: dropping a file removes its name. Where a store linked it away, the bytes stay there.
//! * Room: the sum of what was reserved stays under a budget, and the disk keeps a floor of free bytes; both
//!   are asked again while bytes arrive.

mod error;
mod room;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use md5::Digest as _;
use tokio::task::JoinHandle;

pub use self::error::SpoolError;
pub(crate) use self::error::is_full;
use self::room::{Owner, Room, Share};
use crate::clock::Clock;
use crate::pool::BlockingPool;
use crate::repo::file::{Md5, Sha256};
pub use crate::repo::turns::Sender;
use crate::repo::turns::{Portion, SharedTurns};
use crate::sort::{SortOptions, SpillRoom, SpilledRoom};

/// How the name of every spool file ends.
const SUFFIX: &str = ".spool";

/// How much room a file that is received takes at a time.
const STEP_BYTES: u64 = 256 << 10;

/// How many bytes are gathered before they are written.
const BLOCK_BYTES: usize = 1 << 20;

/// A block of so many bytes is worth a second thread for its MD5, the slower one of the digests.
const SHARED_WORK_BYTES: usize = 128 << 10;

/// The bounds of a [`SpoolDir`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The sum of the lengths of all files in the spool never passes this.
    pub max_total_bytes: u64,
    /// Nothing is taken in that would leave less free bytes on the disk.
    pub free_floor_bytes: u64,
}

/// How many bytes of records a sorter keeps in memory, unless told otherwise.
const SORT_MEMORY_BYTES: usize = 4 << 20;

/// How many percent of all room the files of one sender may take, unless told otherwise.
const SHARE_PERCENT: u8 = 50;

/// A directory of files on their way in. Clones share its bounds.
#[derive(Debug, Clone)]
pub struct SpoolDir {
    shared: Arc<Shared>,
    free_floor_bytes: u64,
    sort_memory_bytes: usize,
    share_percent: u8,
    decoded_limit: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    pool: BlockingPool,
    /// Turns of the checks of received files on the threads of the pool.
    leases: SharedTurns,
    room: Room,
}

impl SpoolDir {
    /// Opens the directory, makes it where it is missing, and removes what an earlier process left in it.
    /// Files that are not the spool's are left alone. Blocks.
    pub fn open(
        path: impl Into<PathBuf>,
        options: SpoolOptions,
        pool: BlockingPool,
    ) -> Result<Self, SpoolError> {
        let path = path.into();
        std::fs::create_dir_all(&path)
            .map_err(|source| SpoolError::io("create the spool directory", &path, source))?;
        let list = |source| SpoolError::io("list the spool directory", &path, source);
        for entry in std::fs::read_dir(&path).map_err(list)? {
            let entry = entry.map_err(list)?;
            let is_ours = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.ends_with(SUFFIX));
            if is_ours && entry.file_type().map_err(list)?.is_file() {
                std::fs::remove_file(entry.path()).map_err(|source| {
                    SpoolError::io("remove the left spool file", &entry.path(), source)
                })?;
            }
        }
        let shared = Shared {
            path,
            leases: SharedTurns::new(pool.threads(), Portion::All),
            pool,
            room: Room::new(options.max_total_bytes),
        };
        Ok(Self {
            shared: Arc::new(shared),
            free_floor_bytes: options.free_floor_bytes,
            sort_memory_bytes: SORT_MEMORY_BYTES,
            share_percent: SHARE_PERCENT,
            decoded_limit: None,
        })
    }

    /// Changes how many percent of all room the files of one sender may take.
    #[must_use]
    pub fn with_share(self, share_percent: u8) -> Self {
        Self {
            share_percent,
            ..self
        }
    }

    /// Changes how much each sorter that puts its runs here keeps in memory.
    #[must_use]
    pub fn with_sort_memory(self, sort_memory_bytes: usize) -> Self {
        Self {
            sort_memory_bytes,
            ..self
        }
    }

    /// Changes how many bytes the chunks of one file that comes in may have together, decoded.
    #[must_use]
    pub fn with_decoded_limit(self, decoded_limit: Option<u64>) -> Self {
        Self {
            decoded_limit,
            ..self
        }
    }

    /// How many bytes the chunks of one file that comes in may have together, decoded.
    pub fn decoded_limit(&self) -> Option<u64> {
        self.decoded_limit
    }

    /// The same spool for what reads need: the floor is there so that they have room.
    #[must_use]
    pub fn for_reads(&self) -> Self {
        Self {
            free_floor_bytes: 0,
            ..self.clone()
        }
    }

    /// How sets that belong to files of this spool are sorted.
    pub fn sort_options(&self) -> SortOptions {
        SortOptions {
            directory: self.shared.path.clone(),
            memory_bytes: self.sort_memory_bytes,
            room: Some(Arc::new(SortRoom {
                shared: Arc::clone(&self.shared),
                floor: self.free_floor_bytes,
            })),
        }
    }

    /// Where the directory lies: also the place for what sorting puts aside.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The threads that write the spool's files.
    pub fn pool(&self) -> &BlockingPool {
        &self.shared.pool
    }

    /// Turns of the checks of received files on those threads: no more of them wait there than can run, so that what else
    /// is to be done need not wait behind all that one sender sent.
    pub fn leases(&self) -> &SharedTurns {
        &self.shared.leases
    }

    /// Reserves room for `expected_len` bytes and makes an empty file for them.
    pub async fn create(&self, expected_len: u64) -> Result<SpoolFile, SpoolError> {
        self.make(None, expected_len).await
    }

    /// Makes an empty file for `declared_len` bytes of a sender, with room for none: that is waited for while they come,
    /// see [`SpoolFile::room_for`].
    pub async fn receive(
        &self,
        sender: Sender,
        declared_len: u64,
        clock: &Arc<dyn Clock>,
    ) -> Result<SpoolFile, SpoolError> {
        let share = self.share();
        share.check(declared_len)?;
        let mut file = self.make(Some(Owner { sender, share }), 0).await?;
        file.awaited = Some(Awaited {
            declared_len,
            clock: Arc::clone(clock),
            has_waited: false,
        });
        Ok(file)
    }

    /// Whether a file of so many bytes can be received, now or when others are done: it is not longer than the share of
    /// its sender, and the disk has room.
    pub async fn judge(&self, declared_len: u64) -> Result<(), SpoolError> {
        self.share().check(declared_len)?;
        let (shared, floor) = (Arc::clone(&self.shared), self.free_floor_bytes);
        let check = move || shared.check_floor(floor, declared_len, shared.room.promised());
        self.shared.pool.run(check).await
    }

    fn share(&self) -> Share {
        self.shared.room.share(self.share_percent)
    }

    async fn make(&self, owner: Option<Owner>, len: u64) -> Result<SpoolFile, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let sort = self.sort_options();
        let floor = self.free_floor_bytes;
        self.shared
            .pool
            .run(move || {
                let slot = Slot::reserve(shared, floor, owner, len)?;
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&slot.path)
                    .map_err(|source| {
                        SpoolError::io("create the spool file", &slot.path, source)
                    })?;
                Ok(SpoolFile::new(Arc::new(file), Arc::new(slot), sort))
            })
            .await
    }
}

impl Shared {
    fn free_bytes(&self) -> Result<u64, SpoolError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|errno| SpoolError::io("ask the free space of", &self.path, errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Refuses `wanted` more bytes where the disk would then have less than the floor.
    fn check_floor(&self, floor: u64, wanted: u64, promised: u64) -> Result<(), SpoolError> {
        let free = self.free_bytes()?;
        let needed = wanted.saturating_add(promised).saturating_add(floor);
        if free < needed {
            return Err(SpoolError::Floor {
                wanted,
                free,
                promised,
                floor,
            });
        }
        Ok(())
    }
}

/// Room for what sorting puts aside: under the same bounds as the files.
#[derive(Debug)]
struct SortRoom {
    shared: Arc<Shared>,
    floor: u64,
}

impl SpillRoom for SortRoom {
    fn begin(&self) -> io::Result<Arc<dyn SpilledRoom>> {
        let slot = Slot::reserve(Arc::clone(&self.shared), self.floor, None, 0);
        Ok(Arc::new(slot.map_err(no_room)?))
    }
}

impl SpilledRoom for Slot {
    /// What is granted is written at once.
    fn grow(&self, more: u64) -> io::Result<()> {
        Slot::grow(self, more).map_err(no_room)?;
        self.note_written(more);
        Ok(())
    }
}

fn no_room(error: SpoolError) -> io::Error {
    let kind = match &error {
        SpoolError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::StorageFull,
    };
    io::Error::new(kind, error)
}

/// The name of a file; dropping it removes the file.
#[derive(Debug)]
struct Name {
    path: PathBuf,
}

impl Drop for Name {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The next start removes it.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "a spool file could not be removed");
            }
        }
    }
}

/// Reserved room; dropping it gives it back.
#[derive(Debug)]
struct Slot {
    shared: Arc<Shared>,
    /// The free bytes that this file must leave.
    floor: u64,
    path: PathBuf,
    number: u64,
}

impl Slot {
    fn reserve(
        shared: Arc<Shared>,
        floor: u64,
        owner: Option<Owner>,
        wanted: u64,
    ) -> Result<Self, SpoolError> {
        let number = shared.room.begin(owner);
        let slot = Self {
            path: shared.path.join(format!("{number:016x}{SUFFIX}")),
            shared,
            floor,
            number,
        };
        slot.grow(wanted)?;
        Ok(slot)
    }

    fn grow(&self, wanted: u64) -> Result<(), SpoolError> {
        let shared = &self.shared;
        let check = |promised| shared.check_floor(self.floor, wanted, promised);
        shared.room.grow(self.number, wanted, check)
    }

    fn reserved(&self) -> u64 {
        self.shared.room.reserved(self.number)
    }

    fn note_written(&self, len: u64) {
        self.shared.room.note_written(self.number, len);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.room.end(self.number);
    }
}

/// A file that is being received.
///
/// Bytes are gathered into blocks; while one block is written and digested on the pool, the next is gathered.
/// At most two blocks wait in memory, and what is kept for a reader until it is taken.
#[derive(Debug)]
pub struct SpoolFile {
    name: Name,
    slot: Arc<Slot>,
    sort: SortOptions,
    gathered: Vec<Bytes>,
    gathered_len: usize,
    /// What was written and not yet taken; nothing where nobody takes it.
    written: Option<Vec<Bytes>>,
    len: u64,
    writer: Writer,
    /// What the room of a received file is waited for with.
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    declared_len: u64,
    clock: Arc<dyn Clock>,
    has_waited: bool,
}

/// What comes back from the pool: the sink, and the block that it wrote.
type Written = Result<(Sink, Vec<Bytes>), SpoolError>;

#[derive(Debug)]
enum Writer {
    Idle(Sink),
    Busy(JoinHandle<Written>),
    /// An earlier write failed, and its error was told.
    Failed,
}

/// What writes and digests blocks, one after the other.
#[derive(Debug)]
struct Sink {
    output: Box<Output>,
    md5: Box<md5::Md5>,
}

struct Output {
    file: Arc<File>,
    slot: Arc<Slot>,
    sha256: ring::digest::Context,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl Output {
    fn write(&mut self, block: &[Bytes]) -> Result<(), SpoolError> {
        self.slot.shared.check_floor(self.slot.floor, 0, 0)?;
        for piece in block {
            self.file.as_ref().write_all(piece).map_err(|source| {
                SpoolError::io("write the spool file", &self.slot.path, source)
            })?;
            self.sha256.update(piece);
            self.slot.note_written(piece.len() as u64);
        }
        Ok(())
    }
}

impl Sink {
    async fn write(self, block: Vec<Bytes>, pool: BlockingPool) -> Written {
        let Self {
            mut output,
            mut md5,
        } = self;
        let len: usize = block.iter().map(Bytes::len).sum();
        let (output, md5) = if len < SHARED_WORK_BYTES {
            let block = block.clone();
            let both = move || {
                digest(&mut md5, &block);
                (output.write(&block).map(|()| output), md5)
            };
            pool.run(both).await
        } else {
            let (of_output, of_md5) = (block.clone(), block.clone());
            tokio::join!(
                pool.run(move || output.write(&of_output).map(|()| output)),
                pool.run(move || {
                    digest(&mut md5, &of_md5);
                    md5
                }),
            )
        };
        let output = output?;
        Ok((Self { output, md5 }, block))
    }
}

fn digest(md5: &mut md5::Md5, block: &[Bytes]) {
    for piece in block {
        md5.update(piece);
    }
}

impl SpoolFile {
    fn new(file: Arc<File>, slot: Arc<Slot>, sort: SortOptions) -> Self {
        let output = Output {
            file,
            slot: Arc::clone(&slot),
            sha256: ring::digest::Context::new(&ring::digest::SHA256),
        };
        let sink = Sink {
            output: Box::new(output),
            md5: Box::default(),
        };
        Self {
            name: Name {
                path: slot.path.clone(),
            },
            slot,
            sort,
            gathered: Vec::new(),
            gathered_len: 0,
            written: None,
            len: 0,
            writer: Writer::Idle(sink),
            awaited: None,
        }
    }

    /// Where the file lies, for a store that links it away.
    pub fn path(&self) -> &Path {
        &self.name.path
    }

    /// How sets that belong to this file are sorted.
    pub fn sort_options(&self) -> SortOptions {
        self.sort.clone()
    }

    /// How many bytes were appended.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reserves what is missing for so many more bytes, which may be more than were expected in the beginning.
    pub fn reserve(&mut self, more: u64) -> Result<(), SpoolError> {
        let wanted = self.len.saturating_add(more);
        match wanted.saturating_sub(self.slot.reserved()) {
            0 => Ok(()),
            missing => self.slot.grow(missing),
        }
    }

    /// Waits until there is room for so many more bytes of a file that is received; of another it was reserved before.
    pub async fn room_for(&mut self, more: u64) -> Result<(), SpoolError> {
        let Some(awaited) = &mut self.awaited else {
            return Ok(());
        };
        let reserved = self.slot.reserved();
        let missing = self.len.saturating_add(more).saturating_sub(reserved);
        if missing == 0 {
            return Ok(());
        }
        let to_come = awaited.declared_len.saturating_sub(reserved);
        let wanted = missing.max(to_come.min(STEP_BYTES));
        let room = &self.slot.shared.room;
        if room.try_grow(self.slot.number, wanted)? {
            return Ok(());
        }
        if !std::mem::replace(&mut awaited.has_waited, true) {
            tracing::info!(
                declared_len = awaited.declared_len,
                "an upload waits: unfinished ones take all room of the spool, or the share of their sender"
            );
        }
        let clock = &*awaited.clock;
        room.grow_in_turn(self.slot.number, wanted, clock).await
    }

    /// Appends bytes. Returns when they are taken over, which may be before they are written; a failure to
    /// write comes with a later call.
    pub async fn append(&mut self, piece: Bytes) -> Result<(), SpoolError> {
        let len = piece.len() as u64;
        let expected = self.slot.reserved();
        if len > expected - self.len {
            return Err(SpoolError::TooLong { expected });
        }
        self.len += len;
        self.gathered_len += piece.len();
        self.gathered.push(piece);
        if self.gathered_len >= BLOCK_BYTES {
            self.write_block().await?;
        }
        Ok(())
    }

    /// From here on what is written is kept in memory until [`SpoolFile::take_written`] takes it.
    pub fn keep_written(&mut self) {
        self.written.get_or_insert_default();
    }

    /// Takes the pieces that are in the file by now and were not taken before, in their order: for a reader that may
    /// see bytes only when they are written. Nothing unless they are kept.
    pub fn take_written(&mut self) -> Vec<Bytes> {
        self.written
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Writes everything that was appended.
    pub async fn flush(&mut self) -> Result<(), SpoolError> {
        if !self.gathered.is_empty() {
            self.write_block().await?;
        }
        let sink = self.idle_sink().await?;
        self.writer = Writer::Idle(sink);
        Ok(())
    }

    /// Ends the file: everything is written and digested.
    pub async fn finish(mut self) -> Result<SpooledFile, SpoolError> {
        self.flush().await?;
        let Sink { output, md5 } = self.idle_sink().await?;
        let Output { file, slot, sha256 } = *output;
        let sha256 = sha256.finish();
        let sha256 = sha256.as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok(SpooledFile {
            name: self.name,
            file,
            _slot: slot,
            len: self.len,
            md5: Md5(md5.finalize().into()),
            sha256: Sha256(sha256),
        })
    }

    /// Hands the gathered bytes to the pool, once the block before is written.
    async fn write_block(&mut self) -> Result<(), SpoolError> {
        let sink = self.idle_sink().await?;
        let block = std::mem::take(&mut self.gathered);
        self.gathered_len = 0;
        let pool = self.slot.shared.pool.clone();
        self.writer = Writer::Busy(tokio::spawn(sink.write(block, pool)));
        Ok(())
    }

    /// Waits for the block that is being written.
    async fn idle_sink(&mut self) -> Result<Sink, SpoolError> {
        if let Writer::Busy(task) = &mut self.writer {
            let written = task.await;
            self.writer = Writer::Failed;
            return match written {
                Ok(written) => {
                    let (sink, block) = written?;
                    if let Some(kept) = &mut self.written {
                        kept.extend(block);
                    }
                    Ok(sink)
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => Err(self.broken(io::Error::other(error))),
            };
        }
        match std::mem::replace(&mut self.writer, Writer::Failed) {
            Writer::Idle(sink) => Ok(sink),
            Writer::Busy(_) | Writer::Failed => {
                Err(self.broken(io::Error::other("an earlier write failed")))
            }
        }
    }

    fn broken(&self, source: io::Error) -> SpoolError {
        SpoolError::io("write the spool file", &self.slot.path, source)
    }
}

/// A file that was received whole. Its name goes when it is dropped.
#[derive(Debug)]
pub struct SpooledFile {
    name: Name,
    file: Arc<File>,
    /// Kept for its room.
    _slot: Arc<Slot>,
    len: u64,
    md5: Md5,
    sha256: Sha256,
}

impl SpooledFile {
    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.name.path
    }

    /// Its bytes, for reading at offsets. The handle outlives the name.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The MD5 of its bytes.
    pub fn md5(&self) -> Md5 {
        self.md5
    }

    /// The SHA-256 of its bytes.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

#[cfg(test)]
mod tests;
