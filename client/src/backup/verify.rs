//! Whether a backup is whole: every chunk of its files, and everything that its root points at.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::file_name;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::ChunkSource as _;

use super::backup_id::BackupId;
use super::chosen::{Chosen, Which, choose};
use super::error::BackupError;
use super::listing::Catalog;
use super::record::RecordError;
use super::survey::Survey;
use super::walk::check_commits;
use crate::database::{io, remove};
use crate::remote::{Lot, Remote, RemoteFile, RemoteSource, Shelf};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::{
    CheckError, Forgiving, Observer, TransferError, check_file, check_references, described,
};

/// How many chunks are read at once.
const BATCH: usize = 256;

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// Where the backups are.
    pub target: Arc<dyn Remote>,
    /// Which of them.
    pub which: Which,
    /// How much of it is checked.
    pub depth: Depth,
}

/// How much is checked. That each record follows the one before is looked at in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every chunk of every file, and every reference.
    Whole,
    /// Some chunks, and all commits. A server cannot be asked which chunks there are: of it only commits.
    Sample(Lot),
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// How many files.
    pub files: u64,
    /// How many chunks against their addresses.
    pub chunks: u64,
    /// How many chunks the root reaches; of a sample, how many commits.
    pub reached: u64,
    /// How many problems were told.
    pub problems: u64,
}

/// Checks a backup, and tells each problem in a line.
pub async fn verify(
    request: &VerifyRequest,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Verified, BackupError> {
    let mut problems = 0;
    let mut told = |problem: String| {
        problems += 1;
        tell(problem);
    };
    let verifier = Verifier {
        target: &request.target,
        pool,
        clock,
        observer,
    };
    let mut verified = Verified::default();
    let chosen = choose(&request.target, request.which).await;
    if let Some(shelf) = request.target.shelf() {
        let chosen = chosen.as_ref().ok();
        verified.records = verifier.check_records(shelf, chosen, &mut told).await?;
    }
    let chosen = chosen?;
    let listed = chosen.files_of(request.target.list_files().await?);
    verified.files = listed.files.len() as u64;
    match request.depth {
        Depth::Whole => {
            for file in &listed.files {
                verified.chunks += verifier.check_file(file, &mut told).await?;
            }
            verified.reached = verifier.check_references(&chosen, &mut told).await?;
        }
        Depth::Sample(lot) => {
            for (number, file) in (0..).zip(&listed.files) {
                // Each file has a chance of its own.
                let seed = lot.seed.wrapping_add(number);
                verified.chunks += verifier
                    .check_some(file, Lot { seed, ..lot }, &mut told)
                    .await?;
            }
            let source = RemoteSource::new(Arc::clone(&request.target));
            let source = Forgiving::new(&source, &*verifier.observer);
            let target = &*request.target;
            let walked = check_commits(target, &source, chosen.root, &mut told).await;
            verified.reached = match walked {
                Err(error @ BackupError::Read { .. })
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Dangling) =>
                {
                    told(described(error));
                    0
                }
                walked => walked?,
            };
        }
    }
    verified.problems = problems;
    Ok(verified)
}

struct Verifier<'a> {
    target: &'a Arc<dyn Remote>,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

type Told<'a> = &'a mut (dyn FnMut(String) + Send);

impl Verifier<'_> {
    /// Checks that the newest record vouches for all others, those that are forgotten too, and returns how many there
    /// are. Besides the records that this takes it reads those that the backup needs.
    async fn check_records(
        &self,
        shelf: &dyn Shelf,
        chosen: Option<&Chosen>,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let catalog = Catalog::read(shelf).await?;
        let Some(newest) = catalog.newest() else {
            return Ok(0);
        };
        let mut survey = Survey::read(&catalog, shelf, BackupId::FIRST, newest).await?;
        let needed = chosen.map_or(&[][..], |chosen| &chosen.records);
        survey.add_all(&catalog, shelf, needed.to_vec()).await?;
        let count = survey.len();
        let gaps = catalog.gaps().map(|id| BackupError::Record {
            id,
            source: RecordError::Gap,
        });
        let faults = gaps.chain(survey.into_faults()).map(described);
        let mut faults: Vec<_> = faults.collect();
        faults.extend(chosen.and_then(|chosen| chosen.fault.clone()));
        faults.sort();
        faults.dedup();
        faults.into_iter().for_each(told);
        Ok(count)
    }

    /// Checks every chunk of a file, and returns how many there are.
    async fn check_file(&self, file: &RemoteFile, told: Told<'_>) -> Result<u64, BackupError> {
        let here = self.target.shelf().and_then(|shelf| shelf.path(file));
        let checked = match here {
            Some(path) => {
                let checked = check_file(&path, file.kind, &std::env::temp_dir(), self.pool).await;
                checked.map_err(TransferError::from)
            }
            None => self.bring_and_check(file).await,
        };
        match checked {
            Ok(chunks) if chunks != file.chunks && file.chunks != 0 => {
                let (id, listed) = (file.id, file.chunks);
                told(format!(
                    "file {id} holds {chunks} chunks, and {listed} are listed"
                ));
                Ok(u64::from(chunks))
            }
            Ok(chunks) => Ok(u64::from(chunks)),
            Err(error) if is_damage(&error) => {
                told(described(error));
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a file to a directory of its own for as long as it is checked.
    async fn bring_and_check(&self, file: &RemoteFile) -> Result<u32, TransferError> {
        let made = self.pool.run(tempfile::tempdir).await;
        let directory = made.map_err(io("make a directory in", &std::env::temp_dir()))?;
        let folders = Folders {
            parts: directory.path().to_owned(),
            store: directory.path().to_owned(),
        };
        let downloader =
            Downloader::new(self.target, folders, self.pool, self.clock, &self.observer);
        let taken = downloader.take(file).await?;
        let path = directory.path().join(file_name(file.id, file.kind));
        self.pool.run(move || remove(&path)).await?;
        Ok(taken.map_or(0, |listed| listed.chunks))
    }

    async fn check_references(&self, chosen: &Chosen, told: Told<'_>) -> Result<u64, BackupError> {
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, &*self.observer);
        let none = HashSet::new();
        let walked = check_references(&source, chosen.root, &none, |problem| {
            told(problem);
            ControlFlow::Continue(())
        });
        let (reached, ended) = walked.await;
        ended?;
        Ok(reached)
    }

    /// Checks some chunks of a file, and returns how many.
    async fn check_some(
        &self,
        file: &RemoteFile,
        lot: Lot,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let Some(shelf) = self.target.shelf() else {
            return Ok(0);
        };
        let drawn = shelf.draw(file, lot).await?;
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, &*self.observer);
        for batch in drawn.chunks(BATCH) {
            let chunks = source.get(batch).await.map_err(|error| {
                let count = batch.len();
                holdfast_doltdb::ReadError::Source {
                    count,
                    source: error,
                }
            })?;
            for (address, chunk) in batch.iter().zip(chunks) {
                if chunk.is_none() {
                    let fault = source.fault(*address);
                    let fault = fault.unwrap_or_else(|| "it is missing".to_owned());
                    told(format!(
                        "chunk {address} of file {} cannot be read: {fault}",
                        file.id
                    ));
                }
            }
        }
        Ok(drawn.len() as u64)
    }
}

/// Whether a file is to blame, and not whoever gives it.
fn is_damage(error: &TransferError) -> bool {
    match error {
        TransferError::Check {
            source: CheckError::Io { .. },
        }
        | TransferError::Count { .. }
        | TransferError::Short { .. } => true,
        error => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound),
    }
}
