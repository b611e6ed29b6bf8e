//! What the bench programs with a real dolt have in common: the database that they push and clone, the programs and
//! servers that they run, and how they measure and count.
//!
//! ```text
//! home → { dolt, measure } → { database, figures } ─┐
//! options, programs, server, files ─────────────────┴→ the bench programs
//! ```

pub mod database;
pub mod dolt;
pub mod figures;
pub mod files;
pub mod home;
pub mod measure;
pub mod options;
pub mod programs;
pub mod server;
