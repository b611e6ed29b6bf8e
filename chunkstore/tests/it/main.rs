//! Tests of the crate as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, the helpers too"
)]

mod damage;
mod every_step;
mod expansion;
mod expiry;
mod fixtures;
#[cfg(feature = "rocks")]
mod flat;
mod forgetful;
mod forward;
mod gated;
mod golden;
mod index;
mod ingest;
mod later;
mod log;
mod made_files;
mod malformed;
mod merging;
mod newer;
mod noms_dir;
mod not_blocking;
mod objects;
mod one_id;
mod passing_faults;
mod place;
mod racing;
mod repository;
mod rewriting;
mod rival;
#[cfg(feature = "rocks")]
mod rocks;
mod samples;
mod servers;
mod twins;
mod verify;
mod verifying;
mod while_written;
