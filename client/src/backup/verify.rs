//! Whether a backup is whole: every chunk of its files, and everything that its root points at.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::JOURNAL_ID;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, TableFileId};
use holdfast_doltdb::source::each;

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::chosen::{Chosen, Which, choose};
use super::error::BackupError;
use super::needing::needing;
use super::record::RecordError;
use super::survey::Survey;
use super::walk::check_commits;
use crate::database::io;
use crate::remote::{Lot, Remote, RemoteFile, RemoteSource, Shelf};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::{
    CheckError, FileCheck, Forgiving, Needs, Observer, TransferError, check_references,
    check_whole_file, described, needs,
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

/// How much is checked. That the newest record vouches for the others is looked at in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every chunk of every file, every reference, and every record.
    Whole,
    /// Some chunks, and all commits. A server cannot be asked which chunks there are: of it only commits.
    Sample(Lot),
}

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The files that hold damage, and the backups that need each, the newest first; nothing of a target that keeps no
    /// records.
    pub damaged: Vec<(TableFileId, Vec<BackupId>)>,
    /// What needs the damaged chunks in the backup that was checked.
    pub needs: Needs,
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
    let mut damage = Damage::default();
    let mut verified = Verified::default();
    let chosen = choose(&request.target, request.which).await;
    if let Some(shelf) = request.target.shelf() {
        let chosen = chosen.as_ref().ok();
        let depth = request.depth;
        let checked = verifier.check_records(shelf, depth, chosen, &mut told);
        verified.records = checked.await?;
    }
    let chosen = chosen?;
    let listed = chosen.files_of(request.target.list_files().await?);
    verified.files = listed.files.len() as u64;
    match request.depth {
        Depth::Whole => {
            for file in &listed.files {
                let checked = verifier.check_file(file, &mut damage, &mut told);
                verified.chunks += checked.await?;
            }
            let walked = verifier.check_references(&chosen, &mut damage, &mut told);
            verified.reached = walked.await?;
        }
        Depth::Sample(lot) => {
            for file in &listed.files {
                verified.chunks += verifier
                    .check_some(file, lot, &mut damage, &mut told)
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
    verified.needs = verifier.needs(&chosen, damage.chunks, &mut told).await?;
    if let Some(shelf) = request.target.shelf() {
        let files = request.target.list_files().await?.files;
        verified.damaged = needing(shelf, &files, damage.files).await?;
    }
    verified.problems = problems;
    Ok(verified)
}

/// What is damaged.
#[derive(Debug, Default)]
struct Damage {
    files: BTreeSet<TableFileId>,
    chunks: BTreeSet<ChunkAddress>,
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
    /// are. All are read, of a sample those that this takes and that the backup needs.
    async fn check_records(
        &self,
        shelf: &dyn Shelf,
        depth: Depth,
        chosen: Option<&Chosen>,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let catalog = Catalog::read(shelf).await?;
        let Some(newest) = catalog.newest() else {
            return Ok(0);
        };
        let mut survey = Survey::read(&catalog, shelf, BackupId::FIRST, newest).await?;
        let read = match depth {
            Depth::Whole => catalog.between(BackupId::FIRST, newest).collect(),
            Depth::Sample(_) => chosen.map_or_else(Vec::new, |chosen| chosen.records.clone()),
        };
        survey.add_all(&catalog, shelf, read).await?;
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

    /// Checks every chunk of a file, those behind a damaged one too, and returns how many there are.
    async fn check_file(
        &self,
        file: &RemoteFile,
        damage: &mut Damage,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let id = file.id;
        let here = self.target.shelf().and_then(|shelf| shelf.path(file));
        let checked = match here {
            Some(path) => self.check_whole(&path, file).await,
            None => self.bring_and_check(file).await,
        };
        let FileCheck { count, problems } = match checked {
            Ok(checked) => checked,
            Err(error) if is_damage(&error) => {
                damage.files.insert(id);
                told(format!("file {id}: {}", described(error)));
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        if count != file.chunks && file.chunks != 0 {
            let listed = file.chunks;
            damage.files.insert(id);
            told(format!(
                "file {id} holds {count} chunks, and {listed} are listed"
            ));
        }
        for problem in problems {
            damage.files.insert(id);
            damage.chunks.extend(problem.chunk());
            told(match problem.chunk() {
                Some(chunk) => format!("chunk {chunk} of file {id}: {}", described(problem)),
                None => format!("file {id}: {}", described(problem)),
            });
        }
        Ok(u64::from(count))
    }

    async fn check_whole(
        &self,
        path: &Path,
        file: &RemoteFile,
    ) -> Result<FileCheck, TransferError> {
        let spill = std::env::temp_dir();
        Ok(check_whole_file(path, file.kind, &spill, self.pool).await?)
    }

    /// Brings a file to a directory of its own for as long as it is checked.
    async fn bring_and_check(&self, file: &RemoteFile) -> Result<FileCheck, TransferError> {
        let made = self.pool.run(tempfile::tempdir).await;
        let directory = made.map_err(io("make a directory in", &std::env::temp_dir()))?;
        let folders = Folders {
            parts: directory.path().to_owned(),
            store: directory.path().to_owned(),
        };
        let downloader =
            Downloader::new(self.target, folders, self.pool, self.clock, &self.observer);
        let checked = match file.id == JOURNAL_ID {
            // A journal that comes is checked while a file is made of it.
            true => FileCheck {
                count: downloader
                    .take(file)
                    .await?
                    .map_or(0, |listed| listed.chunks),
                problems: Vec::new(),
            },
            false => {
                let path = downloader.take_unchecked(file).await?;
                self.check_whole(&path, file).await?
            }
        };
        // Removing it takes time where it is large.
        self.pool.run(move || drop(directory)).await;
        Ok(checked)
    }

    async fn check_references(
        &self,
        chosen: &Chosen,
        damage: &mut Damage,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, &*self.observer);
        let none = HashSet::new();
        let walked = check_references(&source, chosen.root, &none, |problem| {
            damage.chunks.insert(problem.address);
            told(problem.text);
            ControlFlow::Continue(())
        });
        let (reached, ended) = walked.await;
        ended?;
        Ok(reached)
    }

    /// Finds what needs the damaged chunks.
    async fn needs(
        &self,
        chosen: &Chosen,
        damaged: BTreeSet<ChunkAddress>,
        told: Told<'_>,
    ) -> Result<Needs, BackupError> {
        if damaged.is_empty() {
            return Ok(Needs::default());
        }
        let damaged: Vec<_> = damaged.into_iter().collect();
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, &*self.observer);
        let none = HashSet::new();
        match needs(&source, chosen.root, &none, &damaged, self.pool).await {
            Ok(needs) => Ok(needs),
            Err(error) => {
                let error = described(error);
                told(format!(
                    "could not tell what needs the damaged chunks: {error}"
                ));
                Ok(Needs::default())
            }
        }
    }

    /// Checks some chunks of a file, and returns how many.
    async fn check_some(
        &self,
        file: &RemoteFile,
        lot: Lot,
        damage: &mut Damage,
        told: Told<'_>,
    ) -> Result<u64, BackupError> {
        let Some(shelf) = self.target.shelf() else {
            return Ok(0);
        };
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, &*self.observer);
        let (mut count, mut from) = (0, Some(0));
        while let Some(first) = from {
            let drawn = shelf.draw(file, first, lot).await?;
            count += drawn.chunks.len() as u64;
            from = drawn.next;
            self.read_back(file, &drawn.chunks, &source, damage, told)
                .await?;
        }
        Ok(count)
    }

    /// Reads chunks of a file, and tells which cannot be read.
    async fn read_back(
        &self,
        file: &RemoteFile,
        chunks: &[ChunkAddress],
        source: &Forgiving<'_>,
        damage: &mut Damage,
        told: Told<'_>,
    ) -> Result<(), BackupError> {
        for batch in chunks.chunks(BATCH) {
            each(source, batch, |address, chunk| {
                if chunk.is_none() {
                    damage.files.insert(file.id);
                    damage.chunks.insert(address);
                    let fault = source.fault(address);
                    let fault = fault.unwrap_or_else(|| "it is missing".to_owned());
                    told(format!(
                        "chunk {address} of file {} cannot be read: {fault}",
                        file.id
                    ));
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
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
