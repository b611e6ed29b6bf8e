//! What people and programs see: data on standard output, everything else on standard error.

pub(crate) mod failure;
pub(crate) mod progress;

use std::io::Write as _;

/// Writes a line for people.
pub(crate) fn say(line: &str) {
    // Nothing can be done when stderr is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Writes a line of data.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
