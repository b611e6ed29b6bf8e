//! Whether the files that are not known to be damaged hold all that their chunks refer to.

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::repo::error::RepositoryError;
use crate::repo::repository::Repository;
use crate::repo::state::State;
use crate::repo::verify::contents::{
    Addresses, Fetched, WholeFile, check_bytes, compare, fetch, judge_file,
};
use crate::repo::verify::{Damage, Report};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// All of it is there, and every chunk is what it should be.
    Whole,
    /// A chunk that something refers to is in none of them.
    Lacks(ChunkAddress),
    /// Files turned out to be damaged too.
    Unknown,
    /// Of a file, which could not be read or is not understood, it cannot be told what it refers to.
    Unreadable(UploadId),
}

/// Reads the files of a state that are not known to be damaged, chunk by chunk. Those that turn out to be damaged are
/// noted, all of them.
pub(crate) async fn check(
    repository: &Repository,
    state: &State,
) -> Result<Closed, RepositoryError> {
    let mut report = Report::new(repository.name().clone());
    let mut addresses = Addresses::new(repository);
    let mut is_known = true;
    for file in state.files.values() {
        if repository.damage(file.upload).is_some() {
            continue;
        }
        let served = repository.as_served(file);
        let spooled = match fetch(repository, &served, &|_| {}).await {
            Fetched::Whole(spooled) => spooled,
            Fetched::Damaged(Damage::Unreadable, _) => {
                return Ok(Closed::Unreadable(file.upload));
            }
            Fetched::Damaged(damage, what) => {
                repository.note_damage(file, what);
                // A file that is gone may come back; bytes that were read and are others do not.
                if damage == Damage::FileBytes {
                    let changed = std::iter::once(&file.upload);
                    repository.shared.damaged.note_needed(changed);
                }
                is_known = false;
                continue;
            }
        };
        let whole = WholeFile {
            served: &served,
            spooled,
            in_index: None,
        };
        let checked = check_bytes(repository, &whole, &|_| {}).await;
        judge_file(repository, whole, checked, &mut addresses, &mut report).await?;
        if report.damages > 0 {
            // Its bytes are those that were taken in: it is not damaged as a store damages files.
            return Ok(Closed::Unreadable(file.upload));
        }
    }
    if !is_known {
        return Ok(Closed::Unknown);
    }
    let (has_root, dangling) = compare(repository, state, addresses).await?;
    Ok(match (has_root, dangling.first.first()) {
        (_, Some(address)) => Closed::Lacks(*address),
        (true, None) => Closed::Whole,
        (false, None) => Closed::Unknown,
    })
}
