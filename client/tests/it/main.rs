//! The binary against servers and a real dolt.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers too")]

mod backup;
mod bad_input;
mod beside;
mod both;
mod clone;
mod crossing;
mod cut_vaults;
mod cuts;
mod damage;
mod dolt_files;
mod dolt_verbs;
mod dry_run;
mod fetching;
mod frozen;
mod holdfast;
mod kill;
mod left_parts;
mod looking;
mod losing;
mod many_files;
mod mending;
mod moved;
mod moving;
mod names;
mod places;
mod poison;
mod proof;
mod refs;
mod repair;
mod scene;
mod servers;
mod slow_line;
mod tls;
mod two_runs;
mod unreachable;
mod vault_records;
mod vaults;
mod without_dolt;
mod words;
