//! A server in process: settings, transport, ranges, uploads, and bad and hostile input to everything it reads.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests write files that need not survive, say their seeds, and panic with what they saw"
)]

mod admission;
mod bad_input;
mod checking;
mod clock;
mod commands;
mod connections;
mod daemon;
mod damage;
mod deployed;
mod endless;
mod expansion;
mod files;
mod hostile;
mod idle_streams;
mod limits;
mod locations;
mod logs;
mod memory;
mod peers;
mod process;
mod pushing;
mod ref_check;
mod retired;
mod rig;
mod settings;
mod transport;
mod words;
