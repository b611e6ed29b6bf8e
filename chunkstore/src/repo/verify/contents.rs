//! The files: bytes, structure, chunks, references, and what the index says of them.
//!
//! What a damaged file held counts as missing: it is told which references dangle for it.

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::index::{ChunkEntry, SortedEntries};
use crate::objects::ObjectError;
use crate::repo::check::{Checker, Findings, Tell, UploadError};
use crate::repo::entries::FileEntries;
use crate::repo::error::RepositoryError;
use crate::repo::file::DeclaredFile;
use crate::repo::repository::Repository;
use crate::repo::served::ServedFile;
use crate::repo::spool::{SpoolError, SpooledFile};
use crate::repo::state::State;
use crate::repo::verify::history::{Replayed, chain};
use crate::repo::verify::indexed::{self, IndexCheck};
use crate::repo::verify::{Damage, Report, Stage, VerifyProgress, beside};
use crate::sort::{Sorted, Sorter};

/// How many entries of a file are taken at once from where they are sorted.
const ENTRIES_AT_ONCE: usize = 16_384;

/// All addresses that the files hold and all that they refer to.
pub(super) struct Addresses {
    held: Sorter<20>,
    wanted: Sorter<20>,
}

impl Addresses {
    /// None yet.
    pub(super) fn new(repository: &Repository) -> Self {
        let sort = repository.shared.parts.spool.for_reads().sort_options();
        Self {
            held: Sorter::new(sort.clone()),
            wanted: Sorter::new(sort),
        }
    }

    /// Takes one of the sets, for a thread that may block to add to it.
    fn take(&mut self, set: impl FnOnce(&mut Self) -> &mut Sorter<20>) -> Sorter<20> {
        let set = set(self);
        let empty = Sorter::new(set.options().clone());
        std::mem::replace(set, empty)
    }
}

/// Reads every file that the log names, and compares. References are judged only where all of the log was read.
pub(super) async fn check(
    repository: &Repository,
    replayed: &Replayed,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<(), RepositoryError> {
    let state = &replayed.state;
    let mut addresses = Addresses::new(repository);
    let claimed = indexed::claimed(repository, state, report).await?;
    let total = state.stored_len().saturating_mul(2);
    for file in state.files.values() {
        let before = report.bytes.saturating_mul(2);
        let tell = |done| progress.done(Stage::Files, before.saturating_add(done), total);
        tell(0);
        let served = repository.as_served(file);
        match fetch(repository, &served, &tell).await {
            Fetched::Whole(spooled) => {
                let in_index = claimed
                    .contains(&file.upload)
                    .then(|| IndexCheck::begin(repository, &served));
                let whole = WholeFile {
                    served: &served,
                    spooled,
                    in_index,
                };
                let tell = |checked| tell(file.len.saturating_add(checked));
                let checked = check_bytes(repository, &whole, &tell).await;
                judge_file(repository, whole, checked, &mut addresses, report).await?;
            }
            Fetched::Damaged(damage, detail) => report.find(damage, &served.key, detail),
        }
        report.bytes = report.bytes.saturating_add(file.len);
        report.files += 1;
    }
    progress.done(Stage::Files, total, total);
    beside::check_retired(repository, state, report, progress).await?;
    beside::check_twins(repository, state, report, progress).await?;
    if replayed.is_complete {
        check_references(repository, state, addresses, report).await?;
    }
    Ok(())
}

/// What became of an attempt to read a file.
pub(super) enum Fetched {
    /// It is in the spool, byte for byte what was recorded.
    Whole(SpooledFile),
    /// It is not.
    Damaged(Damage, String),
}

/// Brings a file into the spool, if it can be read and its bytes are the recorded ones. Tells how many are read.
pub(super) async fn fetch(repository: &Repository, served: &ServedFile, tell: Tell<'_>) -> Fetched {
    let file = &served.file;
    match copy(repository, served, tell).await {
        Ok(spooled) if spooled.sha256() == file.sha256 => Fetched::Whole(spooled),
        Ok(_) => {
            let detail = "its SHA-256 is not the recorded one".to_owned();
            Fetched::Damaged(Damage::FileBytes, detail)
        }
        Err(CopyError::Length(len)) => {
            let detail = format!("it has {len} bytes, not {}", file.len);
            Fetched::Damaged(Damage::FileLength, detail)
        }
        Err(CopyError::Object(ObjectError::NotFound { .. })) => {
            Fetched::Damaged(Damage::FileMissing, "it is missing".to_owned())
        }
        Err(CopyError::Object(error)) => Fetched::Damaged(Damage::Unreadable, chain(&error)),
        Err(CopyError::Spool(error)) => Fetched::Damaged(Damage::Unreadable, chain(&error)),
    }
}

enum CopyError {
    Object(ObjectError),
    Length(u64),
    Spool(SpoolError),
}

async fn copy(
    repository: &Repository,
    served: &ServedFile,
    tell: Tell<'_>,
) -> Result<SpooledFile, CopyError> {
    use futures::TryStreamExt as _;
    let parts = &repository.shared.parts;
    let body = parts.objects.get(&served.key, None).await;
    let body = body.map_err(CopyError::Object)?;
    let len = served.file.len;
    if body.object_len != len {
        return Err(CopyError::Length(body.object_len));
    }
    let spool = parts.spool.for_reads().create(len).await;
    let mut spool = spool.map_err(CopyError::Spool)?;
    let mut stream = body.stream;
    while let Some(piece) = stream.try_next().await.map_err(CopyError::Object)? {
        spool.append(piece).await.map_err(CopyError::Spool)?;
        tell(spool.len());
    }
    spool.finish().await.map_err(CopyError::Spool)
}

/// A file whose bytes are the recorded ones.
pub(super) struct WholeFile<'a> {
    pub(super) served: &'a ServedFile,
    pub(super) spooled: SpooledFile,
    /// Where the index claims to hold the file.
    pub(super) in_index: Option<IndexCheck<'a>>,
}

/// Notes what the check of a file found, and compares it with what the record and the index say.
pub(super) async fn judge_file(
    repository: &Repository,
    file: WholeFile<'_>,
    checked: Result<Findings, UploadError>,
    addresses: &mut Addresses,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let WholeFile {
        served,
        spooled,
        mut in_index,
    } = file;
    // Its room is wanted for the next.
    drop(spooled);
    let findings = match checked {
        Ok(findings) => findings,
        Err(error) => {
            let damage = match error.kind() {
                ErrorKind::Exhausted | ErrorKind::Unavailable => Damage::Unreadable,
                _ => Damage::FileContents,
            };
            report.find(damage, &served.key, chain(&error));
            return Ok(());
        }
    };
    if findings.split_offset != served.file.split_offset {
        let detail = "its index begins elsewhere than its record says";
        report.find(Damage::FileContents, &served.key, detail);
    }
    report.chunks += u64::from(findings.chunks);
    let (pool, reading) = (&repository.shared.parts.pool, crate::repo::error::index);
    let wanted = addresses.take(|addresses| &mut addresses.wanted);
    let add = move || add_all(wanted, &findings.leaving);
    addresses.wanted = pool.run(add).await.map_err(sorting)?;
    let entries = FileEntries::new(served.file.upload, findings.entries);
    let sorted = pool.run(move || entries.sorted()).await;
    let mut sorted = sorted.map_err(reading("read a file's entries"))?;
    loop {
        let mut held = addresses.take(|addresses| &mut addresses.held);
        let take = move || {
            let batch = take_entries(&mut sorted, &mut held);
            (sorted, held, batch)
        };
        let batch;
        (sorted, addresses.held, batch) = pool.run(take).await;
        let batch = batch?;
        if batch.is_empty() {
            break;
        }
        if let Some(check) = &mut in_index {
            for entry in batch {
                check.push(entry).await?;
            }
        }
    }
    match in_index {
        Some(check) => check.finish(report).await,
        None => Ok(()),
    }
}

/// Adds all records of a set.
fn add_all(mut all: Sorter<20>, more: &Sorted<20>) -> std::io::Result<Sorter<20>> {
    for address in more.iter()? {
        all.push(address?)?;
    }
    Ok(all)
}

/// Takes some of a file's entries and notes their addresses; none are left behind an empty answer.
fn take_entries(
    sorted: &mut SortedEntries,
    held: &mut Sorter<20>,
) -> Result<Vec<ChunkEntry>, RepositoryError> {
    let mut batch = Vec::new();
    for entry in sorted.take(ENTRIES_AT_ONCE) {
        let entry = entry.map_err(crate::repo::error::index("read a file's entries"))?;
        held.push(*entry.address.as_bytes()).map_err(sorting)?;
        batch.push(entry);
    }
    Ok(batch)
}

/// Checks a file as if it were uploaded now. Tells how many bytes are checked.
pub(super) async fn check_bytes(
    repository: &Repository,
    whole: &WholeFile<'_>,
    tell: Tell<'_>,
) -> Result<Findings, UploadError> {
    let parts = &repository.shared.parts;
    let file = &whole.served.file;
    let declared = DeclaredFile {
        id: file.id,
        kind: file.kind,
        len: file.len,
        chunks: file.chunks,
        md5: Some(file.md5),
    };
    let checker = Checker {
        children: parts.find_children(),
        pool: parts.pool.clone(),
        sort: parts.spool.for_reads().sort_options(),
        decoded_limit: u64::MAX,
        leases: None,
    };
    checker.check_telling(&declared, &whole.spooled, tell).await
}

pub(super) fn sorting(source: std::io::Error) -> RepositoryError {
    RepositoryError::Io {
        action: "sort the addresses of a table file",
        source,
    }
}

/// Every reference, and the root, must be held.
async fn check_references(
    repository: &Repository,
    state: &State,
    addresses: Addresses,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let (has_root, dangling) = compare(repository, state, addresses).await?;
    if !has_root {
        report.find(
            Damage::RootMissing,
            state.root,
            "no named file holds the chunk of the root",
        );
    }
    for address in &dangling.first {
        report.find(
            Damage::DanglingReference,
            address,
            "a chunk refers to it and no named file holds it",
        );
    }
    report.damages += dangling.count - dangling.first.len() as u64;
    Ok(())
}

/// Whether the root is held, and which references are to nothing.
pub(super) async fn compare(
    repository: &Repository,
    state: &State,
    addresses: Addresses,
) -> Result<(bool, Dangling), RepositoryError> {
    let root = state.root.chunk();
    let compare = move || -> std::io::Result<(bool, Dangling)> {
        let (held, wanted) = (addresses.held.finish()?, addresses.wanted.finish()?);
        let has_root = match root {
            None => true,
            Some(root) => holds(&held, root)?,
        };
        Ok((has_root, dangling(&held, &wanted)?))
    };
    let compared = repository.shared.parts.pool.run(compare).await;
    compared.map_err(|source| RepositoryError::Io {
        action: "compare addresses",
        source,
    })
}

/// References to nothing.
pub(super) struct Dangling {
    count: u64,
    pub(super) first: Vec<ChunkAddress>,
}

fn holds(held: &Sorted<20>, wanted: ChunkAddress) -> std::io::Result<bool> {
    for address in held.iter()? {
        if address? == *wanted.as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn dangling(held: &Sorted<20>, wanted: &Sorted<20>) -> std::io::Result<Dangling> {
    let mut found = Dangling {
        count: 0,
        first: Vec::new(),
    };
    let mut held = held.distinct()?;
    let mut next = held.next().transpose()?;
    for address in wanted.distinct()? {
        let address = address?;
        while next.is_some_and(|held| held < address) {
            next = held.next().transpose()?;
        }
        if next != Some(address) {
            found.count += 1;
            if found.first.len() < 100 {
                found.first.push(ChunkAddress::new(address));
            }
        }
    }
    Ok(found)
}
