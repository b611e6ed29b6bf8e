//! Names in the directory of a store.

use crate::address::TableFileId;
use crate::format::FileKind;

/// The manifest.
pub(super) const MANIFEST: &str = "manifest";

/// What a writer locks: an empty file that is never removed.
pub(super) const LOCK: &str = "LOCK";

/// The chunk journal: its name is the text of [`crate::format::manifest::JOURNAL_ID`].
pub(super) const JOURNAL: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

/// The store of the old generation.
pub(super) const OLD_GENERATION: &str = "oldgen";

/// Commits that a shallow clone left out.
pub(super) const GHOSTS: &str = "ghostObjects.txt";

/// How our names of table files that are not finished begin, which are locked while they are written. Dolt's begin with
/// `nbs_table_`, and its next collection removes all of them.
pub(super) const OWN_TEMPORARY_TABLE: &str = "nbs_table_holdfast_";

/// How Dolt begins the names of manifests that are not finished.
pub(super) const TEMPORARY_MANIFEST: &str = "nbs_manifest_";

/// The name of a table file or an archive in a store's directory.
pub fn file_name(id: TableFileId, kind: FileKind) -> String {
    match kind {
        FileKind::Table => id.to_string(),
        FileKind::Archive => format!("{id}.darc"),
    }
}
