//! Everything below some chunks that a remote lacks, in files to that remote.
//!
//! The remote is asked which chunks it lacks; those are read where they come from and checked, and their children are
//! asked for next. Files are sent while the walk goes on.
//!
//! # Order
//! A chunk goes into a file when everything below it is in a file or at the remote, and files become part of the remote
//! in the order in which they were made, at most four times a second. What has arrived is thus there for good, with
//! everything below it, whatever becomes of this push and whatever the next one is of.

mod frames;
mod frontier;
mod held;
mod kept;
mod local;
mod order;
mod origin;
mod outgoing;
mod pace;
mod uploads;
mod walk;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::noms_dir::StoredFile;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use self::frontier::Frontier;
use self::held::HeldFile;
pub(crate) use self::origin::Origin;
use self::origin::{Read, Reader};
use self::outgoing::Outgoing;
pub(crate) use self::outgoing::write_small;
use self::uploads::{Uploads, may_lack_files};
use self::walk::Walk;
use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::reads::{Event, Reads};
use crate::database::check_form;
use crate::remote::{OutgoingFile, Remote};

/// Sends from where chunks are to a remote.
pub(crate) struct Sender {
    pub(crate) remote: Arc<dyn Remote>,
    /// Nothing is there, so nothing need be asked.
    pub(crate) is_empty: bool,
    /// It takes archives, so that what is compressed with zstd need not be made longer.
    pub(crate) takes_archives: bool,
    /// Where the chunks are.
    pub(crate) origin: Origin,
    /// Where files gather until they are sent.
    pub(crate) folder: PathBuf,
    pub(crate) pool: BlockingPool,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) extent: Extent,
}

/// What was sent, and is part of the remote now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// A chunk that is there has everything below it there.
    Missing,
    /// Past the chunks that are there: the remote may have lost what is below them.
    All,
}

impl Sender {
    /// Sends all that is missing below `roots`, also below chunks that are there, as far as it is here.
    pub(crate) async fn repair(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        self.run_along(roots, Course::All).await
    }

    /// Sends what is missing below `roots`, them included. What is kept for the next attempt is forgotten if the remote
    /// refuses it, or if it is damaged.
    pub(crate) async fn run(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        self.run_along(roots, Course::Missing).await
    }

    async fn run_along(
        self,
        roots: &[ChunkAddress],
        course: Course,
    ) -> Result<Sent, TransferError> {
        if self.extent == Extent::DryRun {
            return self.count(roots, course).await;
        }
        let sent = self.send(roots, course).await;
        let is_useless = match &sent {
            Err(TransferError::Remote { source }) => source.kind() == ErrorKind::Refused,
            Err(TransferError::Check { source }) => source.kind() == ErrorKind::Corrupt,
            _ => false,
        };
        if is_useless {
            let folder = self.folder.clone();
            let remove = move || crate::database::remove(&folder);
            self.pool.run(remove).await?;
        }
        sent
    }

    async fn send(&self, roots: &[ChunkAddress], course: Course) -> Result<Sent, TransferError> {
        let mut uploads = self.uploads();
        let (folder, address) = (self.folder.clone(), self.remote.address());
        let (takes_archives, length) = (self.takes_archives, uploads.length().clone());
        let is_kept = self.origin.is_remote();
        let open = move || {
            check_form(folder.parent().unwrap_or(&folder))?;
            let (outgoing, whole) = Outgoing::open(&folder, &address, takes_archives, length)?;
            if !is_kept {
                // What lies on this machine is read again.
                HeldFile::forget(outgoing.folder())?;
            }
            let (held, came) = HeldFile::open(outgoing.folder())?;
            Ok::<_, TransferError>((outgoing, whole, held, came))
        };
        let (outgoing, whole, held, came) = self.pool.run(open).await?;
        let (is_more_there, fresh) = self.send_kept(uploads, whole).await?;
        uploads = fresh;
        let route = Route {
            course,
            is_empty: self.is_empty && !is_more_there,
            reader: self.origin.reader(takes_archives, came, &self.pool),
        };
        let length = uploads.length().clone();
        let all = roots.to_vec();
        let begin = move || Walk::into_files(outgoing.of_length(length), held, &all);
        let walk = self.pool.run(begin).await?;
        let walk = self.walk(walk, roots, route, Some(&mut uploads)).await;
        let mut walk = walk?;
        let finish = move || walk.finish_files().map(|files| (walk, files));
        let (walk, last) = self.pool.run(finish).await?;
        uploads.begin(last).await?;
        uploads.finish().await?;
        Ok(walk.sent())
    }

    fn uploads(&self) -> Uploads {
        let (remote, observer) = (Arc::clone(&self.remote), Arc::clone(&self.observer));
        Uploads::new(remote, self.pool.clone(), observer)
    }

    /// Sends what an earlier attempt left and is of use. Says whether that was anything.
    async fn send_kept(
        &self,
        mut uploads: Uploads,
        files: Vec<StoredFile>,
    ) -> Result<(bool, Uploads), TransferError> {
        let files = kept::usable(files, &self.remote, &self.pool).await?;
        if files.is_empty() {
            return Ok((false, uploads));
        }
        let paths = files.iter().map(|file: &OutgoingFile| file.path.clone());
        let paths: Vec<_> = paths.collect();
        match uploads.send_kept(files).await {
            Ok(()) => Ok((true, uploads)),
            // They are made again, of what is wanted now.
            Err(TransferError::Remote { source }) if may_lack_files(source.kind()) => {
                self.pool.run(move || kept::forget(&paths)).await?;
                Ok((false, self.uploads()))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts what is missing below `roots`, them included, and sends nothing.
    async fn count(&self, roots: &[ChunkAddress], course: Course) -> Result<Sent, TransferError> {
        let all = roots.to_vec();
        let walk = self.pool.run(move || Walk::counting(&all)).await?;
        let route = Route {
            course,
            is_empty: self.is_empty,
            reader: self
                .origin
                .reader(self.takes_archives, Vec::new(), &self.pool),
        };
        Ok(self.walk(walk, roots, route, None).await?.sent())
    }

    /// Walks over what is missing, and sends files as they become whole.
    async fn walk(
        &self,
        mut walk: Walk,
        roots: &[ChunkAddress],
        route: Route,
        mut uploads: Option<&mut Uploads>,
    ) -> Result<Walk, TransferError> {
        let mut frontier = Frontier::new(roots, self.origin.batch());
        let mut calls = Reads::new();
        loop {
            while calls.len() < self.origin.calls()
                && let Some(batch) = frontier.next_batch()
            {
                let remote = (!route.is_empty).then(|| Arc::clone(&self.remote));
                let (reader, course) = (route.reader.clone(), route.course);
                calls.begin(|to| async move {
                    let absent = match remote {
                        Some(remote) => remote.absent(&batch).await?,
                        None => batch.clone(),
                    };
                    let there = present(batch, &absent);
                    if !there.is_empty() {
                        drop(to.send(Read::Present(there.clone())).await);
                    }
                    if course == Course::All {
                        reader.clone().read_here(there, to.clone()).await?;
                    }
                    reader.read(absent, to).await
                });
            }
            let read = match calls.next().await? {
                None => return Ok(walk),
                Some(Event::Ended(())) => continue,
                Some(Event::Came(read)) => read,
            };
            let take = move || walk.take(read).map(|found| (walk, found));
            let (back, found) = self.pool.run(take).await?;
            walk = back;
            frontier.add(found.nodes, found.below);
            if let Some(uploads) = &mut uploads {
                for files in found.groups {
                    uploads.begin(files).await?;
                }
            }
        }
    }
}

/// How a walk goes.
struct Route {
    course: Course,
    /// Nothing is there, so nothing need be asked.
    is_empty: bool,
    reader: Reader,
}

/// Those of a batch that are not absent.
fn present(batch: Vec<ChunkAddress>, absent: &[ChunkAddress]) -> Vec<ChunkAddress> {
    let absent: HashSet<_> = absent.iter().collect();
    let mut present = batch;
    present.retain(|address| !absent.contains(address));
    present
}
