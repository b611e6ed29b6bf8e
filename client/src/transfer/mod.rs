//! Databases on their way from one place to another.
//!
//! * A transfer that was cut off is begun again by the same call and goes on with what is there.
//! * What came is checked, each chunk against its address, before anything names it.
//! * A database is there when its `repo_state.json` is, which is written last.

mod check;
mod clone;
mod download;
mod error;
mod events;
mod refs;

pub use check::{CheckError, JournalCheck, check_file, check_journal};
pub use clone::{CloneRequest, Cloned, Identity, clone};
pub use error::TransferError;
pub use events::{Observer, Silent, TransferEvent};
