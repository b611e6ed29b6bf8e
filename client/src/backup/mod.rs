//! Backups of whole databases in remotes that any Dolt can clone.
//!
//! ```text
//! <target>/…                                     a store as Dolt's own: the latest backup
//! <target>/holdfast-backups/<number>.json        one record for each backup, never changed
//! <target>/holdfast-backups/<number>.forgotten   says that a backup is no longer listed
//! ```
//!
//! * Truth: the records. Each names a root, the files that hold everything below it, mostly as a change of an earlier
//!   list, and the digest of the record before. The root of the store is that of the latest backup, for programs that know no records.
//! * Order: chunks durable and part of the store, then the record, created only if its number is free, then the root.
//! * Crash: before the record, chunks that nothing names; before the root, a backup that is listed and can be restored
//!   while Dolt still sees the one before. The next backup goes on from there.
//! * Damage: files that are damaged are mended by the next backup, as far as the source has what was lost.
//! * Cleanup: none. A backup that is forgotten is no longer listed; its record, from which those of others follow, and
//!   its chunks stay.
//! * Servers keep no records of ours. There the root is moved alone, and what was there before is in the history of the
//!   forge.

mod backup_id;
mod catalog;
mod chosen;
mod create;
mod error;
mod files;
mod listing;
mod mend;
mod needing;
mod origin;
mod record;
mod reliance;
mod restore;
mod retention;
mod spine;
mod survey;
#[cfg(test)]
mod testing;
mod verify;
mod walk;

pub use backup_id::BackupId;
pub use catalog::Catalog;
pub use chosen::Which;
pub use create::{BackupRequest, Created, Occupied, Outcome, create};
pub use error::BackupError;
pub(crate) use error::{AHEAD, LIVE};
pub use listing::{forget, list};
pub use mend::Mended;
pub use origin::BackupSource;
pub(crate) use origin::{Opened, Workplace};
pub use record::{
    Added, BackupRecord, Draft, FileList, ListedBackup, RecordError, RecordedFile, needed_by,
};
pub use reliance::Share;
pub use restore::{RestoreRequest, Restored, restore};
pub use retention::KeepRules;
pub use verify::{Depth, Verified, VerifyRequest, verify};
