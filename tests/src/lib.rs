//! The harness: everything that a test of the whole needs around the server.
//!
//! ```text
//! say, wait, process → dolt → disk, world ───────────┐
//! bucket, proxy, manual_clock, whole → forge ┐  ├→ scenario → the test binaries
//! web, table → peer ─────────────────────────┴→ remote
//! process → bench, line → the bench programs
//! ```
//!
//! `scenario` is what a real dolt does with a remote; the binaries under `tests/` say which scenario is played where,
//! and state what the protocol demands. Code here is test code: it may print, unwrap and ask the operating system for
//! the time.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test harness: it runs programs, waits on them and panics with what it saw"
)]

pub mod bench;
pub mod bucket;
pub mod disk;
pub mod dolt;
pub mod forge;
pub mod line;
pub mod manual_clock;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod remote;
pub mod say;
pub mod scenario;
pub mod table;
pub mod wait;
pub mod web;
pub mod whole;
pub mod world;
