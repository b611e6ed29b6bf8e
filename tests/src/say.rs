//! A word to whoever runs the tests. It is shown also when the test passes, which what `eprintln!` prints is not.

use std::fmt::Display;
use std::io::Write as _;

/// Writes a line to stderr, past the test runner.
pub fn line(text: impl Display) {
    // Nothing can be done when stderr is gone.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Says why something is not tested.
pub fn skipped(why: impl Display) {
    line(format_args!("skipped: {why}"));
}
