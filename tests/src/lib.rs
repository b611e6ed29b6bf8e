//! The harness: everything that a test of the whole needs around the server.
//!
//! ```text
//! wait, process → dolt → world ┐
//!                              ├→ remote → the test binaries
//! wait → bucket, proxy → forge ┘
//! ```
//!
//! Nothing here knows what a scenario wants to show: the binaries under `tests/` do. Code here is test code: it
//! may print, unwrap and ask the operating system for the time.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test harness: it runs programs, waits on them and panics with what it saw"
)]

pub mod bucket;
pub mod dolt;
pub mod process;
pub mod remote;
pub mod wait;
pub mod world;
