//! What goes where in a push, as users write it.

use holdfast_client::transfer::{Force, PushRef};
use holdfast_doltdb::RefName;

/// Reads `<here>`, `<here>:<there>` or `:<there>`, where `HEAD` is the branch that is checked out, and a `+` before it
/// forces this one.
pub(super) fn parse(text: &str, known: &[RefName], head: Option<&str>, force: Force) -> PushRef {
    let (text, force) = match text.strip_prefix('+') {
        Some(text) => (text, Force::WithLease),
        None => (text, force),
    };
    let here = |text: &str| match (text, head) {
        ("HEAD", Some(branch)) => RefName::Branch(branch.to_owned()),
        _ => full(text, known),
    };
    let (here, there) = match text.split_once(':') {
        Some(("", there)) => {
            return PushRef {
                source: None,
                destination: full(there, &[]),
                force,
            };
        }
        Some((text, there)) => (here(text), Some(there)),
        None => (here(text), None),
    };
    let destination = match (there, &here) {
        (None, _) => here.clone(),
        (Some(there), RefName::Tag(_)) if !there.starts_with("refs/") => {
            RefName::Tag(there.to_owned())
        }
        (Some(there), _) => full(there, &[]),
    };
    PushRef {
        source: Some(here),
        destination,
        force,
    }
}

/// A full name; a short one is a branch, unless only a tag has it.
pub(super) fn full(text: &str, known: &[RefName]) -> RefName {
    if text.starts_with("refs/") {
        return RefName::parse(text);
    }
    let (branch, tag) = (
        RefName::Branch(text.to_owned()),
        RefName::Tag(text.to_owned()),
    );
    match !known.contains(&branch) && known.contains(&tag) {
        true => tag,
        false => branch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_named_as_with_git() {
        let branch = |name: &str| RefName::Branch(name.to_owned());
        let tag = |name: &str| RefName::Tag(name.to_owned());
        let known = [branch("main"), branch("west"), tag("v1")];
        for (text, source, destination, force) in [
            ("main", Some(branch("main")), branch("main"), Force::No),
            (
                "+main",
                Some(branch("main")),
                branch("main"),
                Force::WithLease,
            ),
            ("HEAD", Some(branch("west")), branch("west"), Force::No),
            ("HEAD:x", Some(branch("west")), branch("x"), Force::No),
            (
                "+HEAD:x",
                Some(branch("west")),
                branch("x"),
                Force::WithLease,
            ),
            ("v1", Some(tag("v1")), tag("v1"), Force::No),
            (":x", None, branch("x"), Force::No),
            ("+:x", None, branch("x"), Force::WithLease),
        ] {
            let wanted = PushRef {
                source,
                destination,
                force,
            };
            let parsed = parse(text, &known, Some("west"), Force::No);
            assert_eq!(parsed, wanted, "{text}");
        }
    }
}
