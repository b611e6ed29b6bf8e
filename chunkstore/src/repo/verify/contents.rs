//! The files: bytes, structure, chunks, references, and what the index says of them.

use std::collections::HashMap;

use crate::address::{ChunkAddress, TableFileId};
use crate::id::UploadId;
use crate::objects::{ObjectError, ObjectMeta, ObjectStoreExt as _};
use crate::repo::check::{Checker, UploadError};
use crate::repo::entries::FileEntries;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::{DeclaredFile, StoredFile};
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::served::ServedFile;
use crate::repo::spool::SpooledFile;
use crate::repo::state::State;
use crate::repo::verify::history::chain;
use crate::repo::verify::{Damage, Report, VerifyProgress};
use crate::sort::{Sorted, Sorter};

/// How many addresses are looked up at once.
const BATCH: usize = 16_384;

/// All addresses that the files hold and all that they refer to.
struct Addresses {
    held: Sorter<20>,
    wanted: Sorter<20>,
}

/// Reads every file that `state` names, and compares.
pub(super) async fn check(
    repository: &Repository,
    state: &State,
    report: &mut Report,
    progress: &dyn VerifyProgress,
) -> Result<(), RepositoryError> {
    let sort = repository.shared.parts.spool.sort_options();
    let mut addresses = Addresses {
        held: Sorter::new(sort.clone()),
        wanted: Sorter::new(sort),
    };
    let total = state.stored_len();
    for file in state.files.values() {
        progress.bytes(report.bytes, total);
        let served = repository.as_served(file);
        if let Some(spooled) = fetch(repository, &served, Damage::FileMissing, report).await? {
            check_file(repository, &served, spooled, &mut addresses, report).await?;
        }
        report.bytes += file.len;
        report.files += 1;
    }
    progress.bytes(total, total);
    check_retired(repository, state, report).await?;
    check_twins(repository, state, report).await?;
    check_references(repository, state, addresses, report).await
}

/// Brings a file into the spool, if it is there and its bytes are the recorded ones.
async fn fetch(
    repository: &Repository,
    served: &ServedFile,
    missing: Damage,
    report: &mut Report,
) -> Result<Option<SpooledFile>, RepositoryError> {
    use futures::TryStreamExt as _;
    let parts = &repository.shared.parts;
    let (key, file) = (&served.key, &served.file);
    let body = match parts.objects.get(key, None).await {
        Ok(body) => body,
        Err(ObjectError::NotFound { .. }) => {
            report.find(missing, key, "it is missing");
            return Ok(None);
        }
        Err(error) => return Err(object("read a table file")(error)),
    };
    if body.object_len != file.len {
        report.find(
            Damage::FileLength,
            key,
            format!("it has {} bytes, not {}", body.object_len, file.len),
        );
        return Ok(None);
    }
    let spool_failed = |source: UploadError| RepositoryError::Derive {
        action: "write a table file to the spool",
        kind: source.kind(),
        source: source.into(),
    };
    let mut spool = parts
        .spool
        .create(file.len)
        .await
        .map_err(UploadError::from)
        .map_err(spool_failed)?;
    let mut stream = body.stream;
    while let Some(piece) = stream
        .try_next()
        .await
        .map_err(object("read a table file"))?
    {
        spool
            .append(piece)
            .await
            .map_err(UploadError::from)
            .map_err(spool_failed)?;
    }
    let spooled = spool
        .finish()
        .await
        .map_err(UploadError::from)
        .map_err(spool_failed)?;
    if spooled.sha256() != file.sha256 {
        report.find(
            Damage::FileBytes,
            key,
            "its SHA-256 is not the recorded one",
        );
        return Ok(None);
    }
    Ok(Some(spooled))
}

async fn check_file(
    repository: &Repository,
    served: &ServedFile,
    spooled: SpooledFile,
    addresses: &mut Addresses,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let parts = &repository.shared.parts;
    let file = &served.file;
    let declared = DeclaredFile {
        id: file.id,
        kind: file.kind,
        len: file.len,
        chunks: file.chunks,
        md5: Some(file.md5),
    };
    let children = parts.find_children();
    let checker = Checker {
        children,
        pool: parts.pool.clone(),
        sort: parts.spool.sort_options(),
    };
    let findings = match checker.check(&declared, &spooled).await {
        Ok(findings) => findings,
        Err(error) => {
            report.find(Damage::FileContents, &served.key, chain(&error));
            return Ok(());
        }
    };
    if findings.split_offset != file.split_offset {
        report.find(
            Damage::FileContents,
            &served.key,
            "its index begins elsewhere than its record says",
        );
    }
    report.chunks += u64::from(findings.chunks);
    let scratch = |source| RepositoryError::Io {
        action: "sort the addresses of a table file",
        source,
    };
    for address in findings.leaving.iter().map_err(scratch)? {
        addresses
            .wanted
            .push(address.map_err(scratch)?)
            .map_err(scratch)?;
    }
    let entries = FileEntries::new(file.upload, findings.entries);
    let is_indexed = is_indexed(repository, file).await?;
    let mut batch = Vec::new();
    for entry in entries
        .sorted()
        .map_err(crate::repo::error::index("read a file's entries"))?
    {
        let entry = entry.map_err(crate::repo::error::index("read a file's entries"))?;
        addresses
            .held
            .push(*entry.address.as_bytes())
            .map_err(scratch)?;
        batch.push(entry);
        if is_indexed && batch.len() == BATCH {
            check_index(repository, served, &std::mem::take(&mut batch), report).await?;
        } else if !is_indexed {
            batch.clear();
        }
    }
    check_index(repository, served, &batch, report).await
}

async fn is_indexed(repository: &Repository, file: &StoredFile) -> Result<bool, RepositoryError> {
    let index = &repository.shared.parts.index;
    let marks = index.has_files(repository.pool(), &[file.upload]).await;
    Ok(marks
        .map_err(crate::repo::error::index("ask what the chunk index holds"))?
        .contains(&true))
}

async fn check_index(
    repository: &Repository,
    served: &ServedFile,
    entries: &[crate::index::ChunkEntry],
    report: &mut Report,
) -> Result<(), RepositoryError> {
    if entries.is_empty() {
        return Ok(());
    }
    let wanted: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    let index = &repository.shared.parts.index;
    let found = index
        .locate(repository.pool(), &wanted)
        .await
        .map_err(crate::repo::error::index("look chunks up"))?;
    let wrong = entries.iter().zip(found).filter(|(entry, places)| {
        !places
            .iter()
            .any(|place| place.file == served.file.upload && place.span == entry.span)
    });
    if let Some((entry, _)) = wrong.clone().next() {
        let count = wrong.count();
        let first = entry.address;
        report.find(
            Damage::Index,
            &served.key,
            format!("{count} chunks are indexed elsewhere or not, such as {first}"),
        );
    }
    Ok(())
}

async fn check_retired(
    repository: &Repository,
    state: &State,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    let objects = &repository.shared.parts.objects;
    let listed = objects
        .list_all(&layout::uploads(repository.id()))
        .await
        .map_err(object("list the uploads"))?;
    let named = |meta: &ObjectMeta| {
        let (file, upload) = meta.key.name().split_once('.')?;
        Some((upload.parse().ok()?, file.parse().ok()?))
    };
    let files: HashMap<UploadId, TableFileId> = listed.iter().filter_map(named).collect();
    for upload in state.retired.keys() {
        let note = match files.get(upload) {
            Some(file) => repository.stored_note(*file, *upload).await?,
            None => None,
        };
        let Some(note) = note else {
            report.find(
                Damage::UploadNote,
                upload,
                "the note of a retired file is missing",
            );
            continue;
        };
        let (key, len) = (layout::file(repository.pool(), &note.file), note.file.len);
        match objects.head(&key).await {
            Ok(meta) if meta.len == len => {}
            Ok(meta) => report.find(
                Damage::FileLength,
                &key,
                format!("it has {} bytes, not {len}", meta.len),
            ),
            Err(ObjectError::NotFound { .. }) => {
                report.find(Damage::FileMissing, &key, "it is missing")
            }
            Err(error) => return Err(object("look for a retired table file")(error)),
        }
    }
    Ok(())
}

async fn check_twins(
    repository: &Repository,
    state: &State,
    report: &mut Report,
) -> Result<(), RepositoryError> {
    for file in state.files.values() {
        match repository.twin_if_made(file.upload).await {
            Ok(None) => {}
            Ok(Some(twin)) => {
                let before = report.damages;
                if fetch(repository, &twin, Damage::Twin, report)
                    .await?
                    .is_none()
                    && report.damages > before
                {
                    let last = report.findings.last_mut();
                    if let Some(finding) = last {
                        finding.damage = Damage::Twin;
                    }
                }
            }
            Err(error) if super::history::is_damage(&error) => {
                report.find(
                    Damage::Twin,
                    layout::twin_note(repository.pool(), file.upload),
                    chain(&error),
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Every reference, and the root, must be held.
async fn check_references(
    repository: &Repository,
    state: &State,
    addresses: Addresses,
    report: &mut Report,
) -> Result<(), RepositoryError> {
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
    let (has_root, dangling) = compared.map_err(|source| RepositoryError::Io {
        action: "compare addresses",
        source,
    })?;
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

/// References to nothing.
struct Dangling {
    count: u64,
    first: Vec<ChunkAddress>,
}

fn holds(held: &Sorted<20>, wanted: ChunkAddress) -> std::io::Result<bool> {
    for address in held.iter()? {
        if address? == *wanted.as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn dangling(held: &Sorted<20>, wanted: &Sorted<20>) -> std::io::Result<Dangling> {
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
