//! A client of Dolt's remotes: databases cloned, looked at and verified without `dolt`.
//!
//! ```text
//! database │ remote → transfer → { backup │ mirror │ inventory │ local }
//! ```
//!
//! The library never prints: what happens is told to a [`transfer::Observer`], and what went wrong is an error with a
//! kind.

pub mod backup;
pub mod database;
pub mod inventory;
pub mod local;
pub mod mirror;
pub mod remote;
pub mod transfer;
