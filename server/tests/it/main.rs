//! A server in process: settings, transport, ranges, uploads, and bad input to every call.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests write files that need not survive, and panic with what they saw"
)]

mod bad_input;
mod files;
mod locations;
mod process;
mod pushing;
mod rig;
mod settings;
mod transport;
