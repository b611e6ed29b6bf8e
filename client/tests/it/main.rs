//! The binary against servers and a real dolt.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers too")]

mod backup;
mod clone;
mod holdfast;
mod looking;
