//! Changes of a database that need no remote: which branch is checked out, and which remotes it knows.
//!
//! # Order
//! The lock of the store from before it is read; then the refs, then `repo_state.json`.
//! # Crash
//! Between the two a branch is there that is not checked out, or a remote has no refs that follow it: the same call goes
//! on.

mod checkout;
mod error;
mod remotes;

pub use checkout::{CheckedOut, CheckoutRequest, checkout};
pub use error::LocalError;
pub use remotes::{add_remote, check_remote_name, remove_remote, set_remote_url};
