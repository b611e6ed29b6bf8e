//! What people and programs see: data on standard output, everything else on standard error.

pub(crate) mod facts;
pub(crate) mod failure;
pub(crate) mod paint;
pub(crate) mod progress;
mod rate;
pub(crate) mod retries;

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::OnceLock;

use serde_json::json;

use crate::args::Format;

/// The form of everything that is printed, from the beginning of the process on.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// Chooses the form of everything that is printed.
pub(crate) fn choose_format(format: Format) {
    FORMAT.get_or_init(|| format);
}

fn format() -> Format {
    FORMAT.get().copied().unwrap_or(Format::Text)
}

/// Writes lines to standard error as they are.
pub(crate) fn say(lines: &str) {
    // Nothing can be done when stderr is gone.
    progress::beside(|| drop(writeln!(std::io::stderr(), "{lines}")));
}

/// Tells what was left out, or should be known before something else is done.
pub(crate) fn warn(text: &str) {
    say(&match format() {
        Format::Text => format!("warning: {text}"),
        Format::Json => json!({ "warning": text }).to_string(),
    });
}

/// Tells something that is no data.
pub(crate) fn note(text: &str) {
    say(&match format() {
        Format::Text => text.to_owned(),
        Format::Json => json!({ "note": text }).to_string(),
    });
}

/// Tells what went wrong.
pub(crate) fn fail(error: &anyhow::Error) {
    say(&match format() {
        Format::Text => failure::text(error),
        Format::Json => failure::json(error).to_string(),
    });
}

/// Writes a line of data.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    Ok(progress::beside(|| writeln!(std::io::stdout(), "{line}"))?)
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
