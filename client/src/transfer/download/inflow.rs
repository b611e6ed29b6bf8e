//! Bytes of a remote's file on their way into a file here.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt as _;

use super::{Downloader, length};
use crate::database::io;
use crate::remote::{Budget, FileBody, RemoteFile};
use crate::transfer::error::TransferError;
use crate::transfer::events::{Told, TransferEvent};

/// What comes of a file. All positions are those in the remote's file.
#[derive(Debug)]
pub(super) struct Inflow<'a> {
    downloader: &'a Downloader,
    file: &'a RemoteFile,
    /// How long the file is.
    len: u64,
    /// Up to where it is here.
    have: u64,
    /// What the remote began to send.
    body: Option<FileBody>,
    output: File,
    path: PathBuf,
    /// Whether those who watch are told.
    is_told: bool,
}

impl<'a> Inflow<'a> {
    /// Begins behind what is in `part`, which may not be there.
    pub(super) async fn begin(
        downloader: &'a Downloader,
        file: &'a RemoteFile,
        part: &Path,
    ) -> Result<Self, TransferError> {
        let had = length(part);
        let remote = &downloader.remote;
        let body = match had {
            0 => {
                let begin = || remote.read_file(file, 0, None);
                Some(downloader.patiently(begin).await?)
            }
            _ => None,
        };
        // What came of the body stays, also where this is asked several times.
        let len = match body.as_ref().and_then(|body| body.len) {
            Some(len) => len,
            None => downloader.patiently(|| remote.file_len(file)).await?,
        };
        // A longer one is another file of that name.
        let have = if had > len { 0 } else { had };
        downloader
            .observer
            .tell(TransferEvent::Expected { bytes: len - have });
        Ok(Self {
            downloader,
            file,
            len,
            have,
            body,
            output: open(part, have)?,
            path: part.to_owned(),
            is_told: true,
        })
    }

    /// Begins with a body of which nothing is here, and that nobody is told of.
    pub(super) fn of_body(
        downloader: &'a Downloader,
        file: &'a RemoteFile,
        len: u64,
        body: FileBody,
        output: File,
    ) -> Self {
        Self {
            downloader,
            file,
            len,
            have: body.begins_at,
            body: Some(body),
            output,
            path: downloader.parts.clone(),
            is_told: false,
        }
    }

    /// How long the file is.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Up to where it is here.
    pub(super) fn have(&self) -> u64 {
        self.have
    }

    /// Reads up to `end`, which may move meanwhile, and tells how far it came. What is cut off is continued.
    pub(super) async fn fill(
        &mut self,
        end: &AtomicU64,
        mut tell: impl FnMut(u64),
    ) -> Result<(), TransferError> {
        let mut budget = Budget::new();
        loop {
            let had = self.have;
            let Err(error) = self.fill_once(end, &mut tell).await else {
                return Ok(());
            };
            if self.have > had {
                budget.renew();
            }
            let (asked, clock) = (error.retry_after(), &*self.downloader.clock);
            let told = Told(&*self.downloader.observer);
            if !error.may_pass() || !budget.wait_after(&error, asked, &told, clock).await {
                return Err(error);
            }
        }
    }

    async fn fill_once(
        &mut self,
        end: &AtomicU64,
        tell: &mut impl FnMut(u64),
    ) -> Result<(), TransferError> {
        let want = end.load(Ordering::Relaxed);
        if self.have >= want {
            return Ok(());
        }
        let mut body = match self.body.take() {
            Some(body) => body,
            None => {
                let remote = &self.downloader.remote;
                remote.read_file(self.file, self.have, Some(want)).await?
            }
        };
        // Whoever knows no ranges sends once more what is here.
        let mut known = self.have.saturating_sub(body.begins_at);
        while let Some(piece) = body.bytes.try_next().await? {
            let skipped = known.min(piece.len() as u64);
            known -= skipped;
            let end = end.load(Ordering::Relaxed);
            let room = end.saturating_sub(self.have);
            let taken = room.min(piece.len() as u64 - skipped);
            let bytes = &piece[to_usize(skipped)..to_usize(skipped + taken)];
            // The system gathers what is written; that takes no time worth a thread.
            let written = self.output.write_all(bytes);
            written.map_err(io("write", &self.path))?;
            self.have += taken;
            if self.is_told {
                let observer = &self.downloader.observer;
                observer.tell(TransferEvent::Received { bytes: taken });
            }
            tell(self.have);
            // At the file's end the body ends too, and its connection serves the next request.
            let is_over = taken == room && end < self.len;
            if is_over || room < piece.len() as u64 - skipped {
                return Ok(());
            }
        }
        let want = end.load(Ordering::Relaxed);
        if self.have < want {
            return Err(TransferError::Short {
                file: self.file.id,
                have: self.have,
                want,
            });
        }
        Ok(())
    }
}

/// Opens a file to be written from `offset` on.
fn open(part: &Path, offset: u64) -> Result<File, TransferError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(part)
        .map_err(io("open", part))?;
    file.set_len(offset).map_err(io("cut", part))?;
    file.seek(SeekFrom::Start(offset))
        .map_err(io("write", part))?;
    Ok(file)
}

/// A number that is at most the length of something in memory.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("at most the length of a piece")
}
