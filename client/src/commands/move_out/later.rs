//! How what happens later at the old place comes to a database that was moved out of it.

use std::borrow::Cow;
use std::path::Path;

use crate::args;

/// The command that brings later commits of the branches, and of no other one.
pub(super) fn command(arguments: &args::MoveOut) -> String {
    let (from, to) = (&arguments.from, &arguments.to);
    let user = arguments.user.iter().flat_map(|user| ["--user", user]);
    let branches = arguments.branch.iter().map(String::as_str);
    let words = ["holdfast", "fetch", "-C", to].into_iter().chain(user);
    let words = words.chain([from.as_str()]).chain(branches);
    let words: Vec<_> = words.map(quoted).collect();
    words.join(" ")
}

/// What a remote that is kept is good for and what not.
pub(super) fn warning(arguments: &args::MoveOut, directory: &Path) -> String {
    let (from, directory) = (&arguments.from, directory.display());
    format!("a `dolt fetch` or `dolt pull` in {directory} brings all other branches of {from} too")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+=,".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn arguments(line: &[&str]) -> args::MoveOut {
        let arguments = args::Arguments::parse_from([&["holdfast", "move-out"], line].concat());
        match arguments.command {
            args::Command::MoveOut(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_brings_these_branches_by_address() {
        let line = [
            "http://h/a/b",
            "it's new",
            "-b",
            "one",
            "-b",
            "a/$b",
            "-u",
            "me",
        ];
        assert_eq!(
            command(&arguments(&line)),
            r"holdfast fetch -C 'it'\''s new' --user me http://h/a/b one 'a/$b'"
        );
        let line = ["http://h/a/b", "new", "-b", "one", "--keep-remote"];
        let kept = arguments(&line);
        assert_eq!(command(&kept), "holdfast fetch -C new http://h/a/b one");
        let warning = warning(&kept, Path::new("new"));
        assert!(
            warning.contains("in new brings all other branches of http://h/a/b"),
            "{warning}"
        );
    }
}
