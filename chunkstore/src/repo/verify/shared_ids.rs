//! Files that differ and have one id.
//!
//! Table files of one id hold the same chunks: the id is the hash of their addresses. The id of an archive says
//! nothing of what it holds, so of archives only those with the same bytes are the same.

use crate::repo::file::{FileKind, StoredFile};
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::state::State;
use crate::repo::verify::{Damage, Report};

/// Reports each file that a clone does not get, because it gets another by the same id.
pub(super) fn check(repository: &Repository, state: &State, report: &mut Report) {
    for (id, mut files) in state.sharing_an_id() {
        // In the order in which they are listed: the first is the one that a clone gets.
        files.sort_by_key(|file| (std::cmp::Reverse(file.len), file.upload));
        let Some((listed, hidden)) = files.split_first() else {
            continue;
        };
        for file in hidden.iter().filter(|file| !hold_the_same(listed, file)) {
            let key = layout::file(repository.pool(), file);
            let detail = format!(
                "a clone that asks for {id} gets {} in its place; the server merges them after the next push",
                layout::file(repository.pool(), listed)
            );
            report.find(Damage::FileShared, &key, detail);
        }
    }
}

/// Whether two files of one id surely hold the same chunks.
fn hold_the_same(one: &StoredFile, other: &StoredFile) -> bool {
    match (one.kind, other.kind) {
        (FileKind::Table, FileKind::Table) => one.chunks == other.chunks,
        (FileKind::Archive, FileKind::Archive) => one.sha256 == other.sha256,
        (FileKind::Table, FileKind::Archive) | (FileKind::Archive, FileKind::Table) => false,
    }
}
