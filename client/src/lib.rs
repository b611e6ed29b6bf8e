//! A client of Dolt's remotes: databases cloned, looked at and verified without `dolt`.
//!
//! ```text
//! database │ remote → transfer
//! ```
//!
//! The library never prints: what happens is told to a [`transfer::Observer`], and what went wrong is an error with a
//! kind.

pub mod database;
pub mod remote;
pub mod transfer;
