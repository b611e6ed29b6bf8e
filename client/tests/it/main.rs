//! The binary against servers and a real dolt.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers too")]

mod backup;
mod bad_input;
mod beside;
mod both;
mod clone;
mod crossing;
mod cuts;
mod dry_run;
mod holdfast;
mod kill;
mod looking;
mod many_files;
mod moving;
mod names;
mod places;
mod refs;
mod scene;
mod servers;
mod tls;
