//! A server in process: settings, transport, ranges, uploads, and bad input to every call.
#![expect(
    clippy::disallowed_methods,
    reason = "tests write files that need not survive"
)]

mod bad_input;
mod files;
mod locations;
mod pushing;
mod rig;
mod settings;
mod transport;
