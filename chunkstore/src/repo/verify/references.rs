//! What one file refers to, read from its bytes and looked up in files that a record names, or shall name.

use crate::address::ChunkAddress;
use crate::repo::error::RepositoryError;
use crate::repo::file::StoredFile;
use crate::repo::locate::Named;
use crate::repo::repository::Repository;
use crate::repo::uploads::BATCH;
use crate::repo::verify::Damage;
use crate::repo::verify::contents::{Fetched, WholeFile, check_bytes, fetch, sorting};

/// References that lead to nothing: the first, and how many there are.
pub(crate) type Lost = Option<(ChunkAddress, usize)>;

/// Reads a file and looks up all that leaves it. A file that is damaged is noted.
pub(crate) async fn lost(
    repository: &Repository,
    named: &Named,
    file: &StoredFile,
) -> Result<Lost, RepositoryError> {
    let served = repository.as_served(file);
    let unreadable = |what: String| RepositoryError::Io {
        action: "read a file again that was uploaded",
        source: std::io::Error::other(what),
    };
    let spooled = match fetch(repository, &served, &|_| {}).await {
        Fetched::Whole(spooled) => spooled,
        Fetched::Damaged(Damage::Unreadable, what) => return Err(unreadable(what)),
        Fetched::Damaged(_, what) => return Err(repository.note_damage(file, what).error()),
    };
    let whole = WholeFile {
        served: &served,
        spooled,
        in_index: None,
    };
    let findings = check_bytes(repository, &whole, &|_| {}).await;
    let findings = findings.map_err(|error| unreadable(error.to_string()))?;
    drop(whole);
    let pool = &repository.shared.parts.pool;
    let mut leaving = findings.leaving.iter().map_err(sorting)?;
    let mut lost: Lost = None;
    loop {
        let take = move || {
            let batch: Result<Vec<_>, _> = leaving.by_ref().take(BATCH).collect();
            (leaving, batch)
        };
        let batch;
        (leaving, batch) = pool.run(take).await;
        let batch = batch.map_err(sorting)?;
        if batch.is_empty() {
            return Ok(lost);
        }
        let batch: Vec<_> = batch.into_iter().map(ChunkAddress::new).collect();
        let found = repository.locate_in(named, &batch).await?;
        for (address, _) in batch.iter().zip(found).filter(|(_, at)| at.is_none()) {
            lost.get_or_insert((*address, 0)).1 += 1;
        }
    }
}
