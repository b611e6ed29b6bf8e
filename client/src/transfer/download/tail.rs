//! The end of a file, read before the rest: where its chunks lie, so that they can be checked while they come.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::noms_dir::file_name;
use holdfast_chunkstore::stored_index::StoredIndex;

use super::Downloader;
use super::inflow::Inflow;
use crate::database::io;
use crate::remote::RemoteFile;
use crate::transfer::check::CheckError;
use crate::transfer::error::TransferError;

/// The index of an archive is about a hundredth of it: an entry of 28 bytes and a span of 8 for some kilobytes.
const ARCHIVE_SHARE: u64 = 64;

/// So many bytes come in about the time of a request.
const LEAST_BYTES: u64 = 64 << 10;

/// No more than this part of a file is read on a guess; files are larger than four times [`LEAST_BYTES`].
const MOST_SHARE: u64 = 4;

/// The end of a file.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) index: StoredIndex,
    /// What is there of the file from `start` on.
    file: Arc<File>,
    start: u64,
}

impl Tail {
    /// Reads the end of a file of `len` bytes, at least from its index on; nothing from a remote that knows no ranges.
    pub(super) async fn read(
        downloader: &Downloader,
        file: &RemoteFile,
        len: u64,
    ) -> Result<Option<Self>, TransferError> {
        let guess = match file.kind {
            FileKind::Table => table::ENTRY_LEN * u64::from(file.chunks) + table::FOOTER_LEN as u64,
            FileKind::Archive => len / ARCHIVE_SHARE,
        };
        // A remote says how many chunks there are; that is not to be believed.
        let guess = guess.clamp(LEAST_BYTES, len / MOST_SHARE);
        let guessed_start = len - guess;
        let Some(tail) = Self::read_from(downloader, file, guessed_start, len).await? else {
            return Ok(None);
        };
        let start = tail.index.data_len();
        if start >= tail.start {
            return Ok(Some(tail));
        }
        let tail = Self::read_from(downloader, file, start, len).await?;
        // Its footer may be another one now, and then the file is checked when all of it is here.
        Ok(tail.filter(|tail| tail.index.data_len() >= tail.start))
    }

    async fn read_from(
        downloader: &Downloader,
        file: &RemoteFile,
        start: u64,
        len: u64,
    ) -> Result<Option<Self>, TransferError> {
        let begin = || downloader.remote.read_file(file, start, Some(len));
        let body = downloader.patiently(begin).await?;
        if body.begins_at != start {
            return Ok(None);
        }
        let parts = &downloader.parts;
        let kept = tempfile::tempfile_in(parts).map_err(io("make a file in", parts))?;
        let output = kept.try_clone().map_err(io("open a file in", parts))?;
        let mut inflow = Inflow::of_body(downloader, file, len, body, output);
        inflow.fill(&AtomicU64::new(len), |_| {}).await?;
        let (kept, kind) = (Arc::new(kept), file.kind);
        let end = Arc::clone(&kept);
        let opened = downloader
            .pool
            .run(move || StoredIndex::of_end(end, start, len, kind));
        let index = opened.await.map_err(|source| {
            let name = file_name(file.id, kind);
            CheckError::index(Path::new(&name), source)
        })?;
        Ok(Some(Self {
            index,
            file: kept,
            start,
        }))
    }

    /// Puts the index and what is behind it where it belongs in a file that has all before it. Blocks.
    pub(super) fn append_to(&self, part: &Path) -> Result<(), TransferError> {
        let data_len = self.index.data_len();
        let mut output = OpenOptions::new()
            .write(true)
            .open(part)
            .map_err(io("open", part))?;
        let mut input = &*self.file;
        let copied = output
            .set_len(data_len)
            .and_then(|()| output.seek(SeekFrom::Start(data_len)))
            .and_then(|_| input.seek(SeekFrom::Start(data_len - self.start)))
            .and_then(|_| io::copy(&mut input, &mut output));
        copied.map_err(io("write", part))?;
        Ok(())
    }
}
