//! Behaviour suites, and doubles that break on purpose: for the tests of this crate and of those above it.
//!
//! Everything here panics when something is not as it should be.

pub mod faults;
pub mod index_contract;
pub mod object_contract;
