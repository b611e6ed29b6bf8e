//! What a dry run says of how much would move.

use indicatif::BinaryBytes;

/// The line for people.
pub(super) fn line(chunks: u64, bytes: u64, is_least: bool) -> String {
    let least = match is_least {
        true => "at least ",
        false => "",
    };
    format!("{least}{chunks} chunks to move, {}", BinaryBytes(bytes))
}
