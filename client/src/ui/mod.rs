//! What people and programs see: data on standard output, everything else on standard error.

pub(crate) mod facts;
pub(crate) mod failure;
pub(crate) mod paint;
pub(crate) mod progress;
mod rate;

use std::borrow::Cow;
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

/// Text that somebody else wrote, without what a terminal would take for an order.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let is_order = |character: char| character.is_control() && character != '\t';
    match text.contains(is_order) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.replace(is_order, "\u{fffd}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_gives_the_terminal_no_orders() {
        assert_eq!(plain("a\tä"), "a\tä");
        assert_eq!(plain("\x1b[2J\r\u{9b}x"), "\u{fffd}[2J\u{fffd}\u{fffd}x");
    }
}
