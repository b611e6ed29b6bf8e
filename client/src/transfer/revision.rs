//! Revisions as users write them.

use std::borrow::Cow;

/// The branch that is checked out.
const HEAD: &str = "HEAD";

/// A revision in which `branch` stands for `HEAD`, also before `^` and `~` where nothing stands.
pub fn from_head<'a>(revision: &'a str, branch: &str) -> Cow<'a, str> {
    match steps_from_head(revision) {
        Some(steps) => Cow::Owned(format!("{branch}{steps}")),
        None => Cow::Borrowed(revision),
    }
}

/// Whether a revision begins at the branch that is checked out.
pub fn is_from_head(revision: &str) -> bool {
    steps_from_head(revision).is_some()
}

/// What goes on from `HEAD` in a revision that begins there.
fn steps_from_head(revision: &str) -> Option<&str> {
    let steps = revision.strip_prefix(HEAD).unwrap_or(revision);
    let is_head = revision == HEAD || steps.starts_with(['^', '~']);
    is_head.then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_from_head_need_no_name() {
        for (revision, wanted) in [
            ("HEAD", "west"),
            ("HEAD~2", "west~2"),
            ("^2~", "west^2~"),
            ("~3", "west~3"),
            ("main~2", "main~2"),
            ("HEADER", "HEADER"),
            ("", ""),
        ] {
            assert_eq!(from_head(revision, "west"), wanted, "{revision}");
            assert_eq!(is_from_head(revision), revision != wanted, "{revision}");
        }
    }
}
