//! Databases on their way from one place to another.
//!
//! * A transfer that was cut off is begun again by the same call and goes on with what is there.
//! * What came is checked, each chunk against its address, before anything names it.
//! * A database is there when its `repo_state.json` is, which is written last.
//!
//! # Memory
//! Fetch and push hold what is under way: chunks that are read, as many bytes of them as the remote says, the places of
//! some ten thousands that are asked for, files that are sent, and the places of the chunks of
//! the file that grows, whose number is bounded. With the database grow only the filters of what a walk came across
//! ([`address_set`](holdfast_chunkstore::address_set), 1.3 bytes a chunk), an eighth of a byte for each chunk of the
//! store's files, and 40 bytes for each chunk of its journal. The check of a downloaded file takes the same memory whatever
//! the file holds, see [`check_file`]; four files are read and checked at once.
//! A dry run holds no chunks but those that are read, and its filters lie in the system's directory for temporary files.

mod check;
pub(crate) mod clone;
pub(crate) mod datasets;
pub(crate) mod download;
mod error;
mod estimate;
mod events;
pub(crate) mod fetch;
pub(crate) mod gather;
mod known_names;
mod landing;
pub(crate) mod losses;
pub(crate) mod mend;
mod needs;
mod pull;
mod push;
mod reads;
mod ref_spec;
mod references;
pub(crate) mod refs;
mod revision;
mod seen;
pub(crate) mod send;
pub(crate) mod usable;
mod waiting;
pub(crate) mod working_set;

pub use check::{CheckError, FileCheck, JournalCheck, check_file, check_journal, check_whole_file};
pub use clone::{
    CloneRequest, Cloned, Form, Identity, Scope, clone, clone_locked, end_move, is_moved,
    lock_place,
};
pub use error::TransferError;
pub use events::{Observer, Silent, TransferEvent};
pub use fetch::{Extent, FetchRequest, Fetched, MovedTags, RefUpdate, Vanished, fetch};
pub use known_names::KnownNames;
pub use losses::Loss;
pub use mend::Lacking;
pub use needs::{Need, NeedingCommit, Needs, NeedsError, Place, needs};
pub use pull::{PullRequest, Pulled, pull};
pub use push::{
    Force, PushRef, PushRequest, PushResult, Pushed, Rejection, RepairRequest, Repaired,
    SetUpstream, push, repair,
};
pub use ref_spec::{RefSpec, RefSpecError};
pub use references::{Forgiving, Problem, check_references, described};
pub use refs::usual_branch;
pub use revision::{from_head, is_from_head};
