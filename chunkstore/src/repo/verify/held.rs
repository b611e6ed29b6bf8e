//! Whether some files hold all of a set of chunks: by their bytes, and by nothing that was written down of them.

use std::sync::Arc;

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::repo::check::Checker;
use crate::repo::entries::{self, FileEntries};
use crate::repo::error::RepositoryError;
use crate::repo::file::{DeclaredFile, StoredFile};
use crate::repo::receive::NoChildren;
use crate::repo::repository::Repository;
use crate::repo::verify::Damage;
use crate::repo::verify::contents::{Fetched, dangling, fetch, sorting};
use crate::repo::verify::history::chain;
use crate::sort::Sorter;

/// Gathers what files hold.
pub(crate) struct Held<'a> {
    repository: &'a Repository,
    addresses: Sorter<20>,
}

impl<'a> Held<'a> {
    /// Nothing yet.
    pub(crate) fn new(repository: &'a Repository) -> Self {
        let sort = repository.shared.parts.spool.for_reads().sort_options();
        Self {
            repository,
            addresses: Sorter::new(sort),
        }
    }

    /// Reads a whole file back from the store and hashes every chunk. Whether it is what it should be; if not that is
    /// noted.
    pub(crate) async fn read_back(&mut self, file: &StoredFile) -> Result<bool, RepositoryError> {
        let repository = self.repository;
        let parts = &repository.shared.parts;
        let served = repository.as_served(file);
        let spooled = match fetch(repository, &served, &|_| {}).await {
            Fetched::Whole(spooled) => spooled,
            // That it could not be read just now says nothing of it.
            Fetched::Damaged(Damage::Unreadable, why) => {
                return Err(not_read_back(ErrorKind::Unavailable, why));
            }
            Fetched::Damaged(_, what) => {
                repository.note_damage(file, what);
                return Ok(false);
            }
        };
        let declared = DeclaredFile {
            id: file.id,
            kind: file.kind,
            len: file.len,
            chunks: file.chunks,
            md5: Some(file.md5),
        };
        // What its chunks refer to was checked when they came in.
        let checker = Checker {
            children: Arc::new(NoChildren),
            pool: parts.pool.clone(),
            decoded_limit: u64::MAX,
            leases: None,
            sort: parts.spool.for_reads().sort_options(),
        };
        match checker.check(&declared, &spooled).await {
            Ok(findings) => {
                let found = FileEntries::new(file.upload, findings.entries);
                self.add(&found).await?;
                Ok(true)
            }
            Err(error) => match error.kind() {
                kind @ (ErrorKind::Exhausted | ErrorKind::Unavailable) => {
                    Err(not_read_back(kind, error))
                }
                _ => {
                    repository.note_damage(file, chain(&error));
                    Ok(false)
                }
            },
        }
    }

    /// Takes what the index part of a file lists that was read back not long ago.
    pub(crate) async fn take_listed(&mut self, file: &StoredFile) -> Result<(), RepositoryError> {
        let parts = &self.repository.shared.parts;
        let key = self.repository.as_served(file).key;
        let listed = entries::read_entries(&*parts.objects, &key, file, &parts.spool).await;
        let listed = listed.map_err(|source| RepositoryError::Entries { source })?;
        self.add(&listed).await
    }

    async fn add(&mut self, entries: &FileEntries) -> Result<(), RepositoryError> {
        add_addresses(self.repository, &mut self.addresses, entries).await
    }

    /// The first of some chunks that none of the files holds.
    pub(crate) async fn first_lacking(
        self,
        wanted: Sorter<20>,
    ) -> Result<Option<ChunkAddress>, RepositoryError> {
        let held = self.addresses;
        let compare = move || -> std::io::Result<Option<ChunkAddress>> {
            let lacking = dangling(&held.finish()?, &wanted.finish()?)?;
            Ok(lacking.first.first().copied())
        };
        let compared = self.repository.shared.parts.pool.run(compare).await;
        compared.map_err(sorting)
    }
}

/// Adds the addresses of all entries to a set.
pub(crate) async fn add_addresses(
    repository: &Repository,
    set: &mut Sorter<20>,
    entries: &FileEntries,
) -> Result<(), RepositoryError> {
    let empty = Sorter::new(set.options().clone());
    let mut addresses = std::mem::replace(set, empty);
    let entries = entries.clone();
    let add = move || -> std::io::Result<Sorter<20>> {
        for record in entries.records().iter()? {
            let record = record?;
            let address = record.first_chunk().expect("an entry begins with 20 bytes");
            addresses.push(*address)?;
        }
        Ok(addresses)
    };
    let added = repository.shared.parts.pool.run(add).await;
    *set = added.map_err(sorting)?;
    Ok(())
}

fn not_read_back(
    kind: ErrorKind,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RepositoryError {
    RepositoryError::Derive {
        action: "read a merged file back",
        kind,
        source: source.into(),
    }
}
