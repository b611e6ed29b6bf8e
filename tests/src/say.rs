//! A word to whoever runs the tests. It is shown also when the test passes, which what `eprintln!` prints is not.

use std::fmt::Display;
use std::io::Write as _;

/// Writes a line to stderr, past the test runner.
pub fn line(text: impl Display) {
    // Nothing can be done when stderr is gone.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Says why something is not tested, and in which test.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    // The test runner names the thread of a test after it; those of a program and of a runtime have other names.
    match thread.name().filter(|name| name.contains('_')) {
        Some(test) => line(format_args!("skipped: {test}: {why}")),
        None => line(format_args!("skipped: {why}")),
    }
}
