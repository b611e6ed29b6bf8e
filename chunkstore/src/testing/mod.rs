//! Behaviour suites, doubles that break on purpose, made-up and broken files, and the bodies of the fuzz
//! targets: for the tests of this crate and of those above it.
//!
//! Everything here panics when something is not as it should be.

pub mod faults;
pub mod forgetful_disk;
pub mod forgetting_contract;
pub mod fuzz;
pub mod generate;
pub mod index_contract;
pub mod mutate;
pub mod object_contract;
pub mod version_contract;
pub mod worlds;
