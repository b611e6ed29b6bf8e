//! Names of datasets: branches, tags, and what else a store keeps under a name.
//!
//! Parsing never fails, since whatever stands in a store must be shown and kept; [`RefName::check`] tells
//! whether a name may be given to something new, [`RefName::check_found`] whether something of that name can be used.

use std::fmt;

/// The full name of a dataset, by what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefName {
    /// `refs/heads/<branch>`
    Branch(String),
    /// `refs/tags/<tag>`
    Tag(String),
    /// `refs/remotes/<remote>/<branch>`
    RemoteBranch {
        /// The remote's name.
        remote: String,
        /// The branch there.
        branch: String,
    },
    /// `workingSets/heads/<branch>`
    WorkingSet(String),
    /// `refs/stashes/<name>`
    Stash(String),
    /// `refs/internal/<name>`
    Internal(String),
    /// `refs/workspaces/<name>`
    Workspace(String),
    /// `refs/statistics/<name>`
    Statistics(String),
    /// `refs/tuples/<key>`
    Tuple(String),
    /// Anything else.
    Other(String),
}

impl RefName {
    /// How many bytes a full name may have. Dolt sets no limit but that of a node's key, 64 KiB; no name that
    /// people give comes near to this one.
    pub const MAX_LEN: usize = 4096;

    /// Parses the full name of a dataset.
    pub fn parse(name: &str) -> Self {
        let rest = |prefix| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(branch) = rest("refs/heads/") {
            Self::Branch(branch.to_owned())
        } else if let Some(tag) = rest("refs/tags/") {
            Self::Tag(tag.to_owned())
        } else if let Some((remote, branch)) =
            rest("refs/remotes/").and_then(|rest| rest.split_once('/'))
        {
            Self::RemoteBranch {
                remote: remote.to_owned(),
                branch: branch.to_owned(),
            }
        } else if let Some(branch) = rest("workingSets/heads/") {
            Self::WorkingSet(branch.to_owned())
        } else if let Some(stash) = rest("refs/stashes/") {
            Self::Stash(stash.to_owned())
        } else if let Some(name) = rest("refs/internal/") {
            Self::Internal(name.to_owned())
        } else if let Some(name) = rest("refs/workspaces/") {
            Self::Workspace(name.to_owned())
        } else if let Some(name) = rest("refs/statistics/") {
            Self::Statistics(name.to_owned())
        } else if let Some(key) = rest("refs/tuples/") {
            Self::Tuple(key.to_owned())
        } else {
            Self::Other(name.to_owned())
        }
    }

    /// Whether people are shown this one: a branch or a tag.
    pub fn is_public(&self) -> bool {
        matches!(self, Self::Branch(_) | Self::Tag(_))
    }

    /// Checks that Dolt would let somebody give this name to something new.
    pub fn check(&self) -> Result<(), RefNameError> {
        self.check_found()?;
        if self.to_string().len() > Self::MAX_LEN {
            return Err(self.refused("is too long"));
        }
        match self {
            // A tag may be called so: `dolt tag @` makes it.
            Self::Tag(name) if name == "@" => Ok(()),
            Self::Branch(name) | Self::Tag(name) | Self::WorkingSet(name) => {
                bad_head_name(name).map_or(Ok(()), |reason| Err(self.refused(reason)))
            }
            _ => Ok(()),
        }
    }

    /// Checks that Dolt could use something of this name that another store has. It refuses less than
    /// [`RefName::check`]: nobody may call a branch `HEAD` any more, but there may be one.
    pub fn check_found(&self) -> Result<(), RefNameError> {
        if let Some(reason) = bad_dataset_name(&self.to_string()) {
            return Err(self.refused(reason));
        }
        // Dolt takes such a short name for a full one: it panics, or works on another ref.
        let is_full = match self {
            Self::Branch(name)
            | Self::Tag(name)
            | Self::Internal(name)
            | Self::Workspace(name)
            | Self::Stash(name) => name.starts_with("refs/"),
            Self::RemoteBranch { remote, .. } => remote == "refs",
            Self::WorkingSet(_) | Self::Statistics(_) | Self::Tuple(_) | Self::Other(_) => false,
        };
        match is_full {
            true => Err(self.refused("begins with refs/ a second time")),
            false => Ok(()),
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) -> RefNameError {
        RefNameError {
            name: self.to_string().chars().take(200).collect(),
            reason,
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(branch) => write!(f, "refs/heads/{branch}"),
            Self::Tag(tag) => write!(f, "refs/tags/{tag}"),
            Self::RemoteBranch { remote, branch } => write!(f, "refs/remotes/{remote}/{branch}"),
            Self::WorkingSet(branch) => write!(f, "workingSets/heads/{branch}"),
            Self::Stash(name) => write!(f, "refs/stashes/{name}"),
            Self::Internal(name) => write!(f, "refs/internal/{name}"),
            Self::Workspace(name) => write!(f, "refs/workspaces/{name}"),
            Self::Statistics(name) => write!(f, "refs/statistics/{name}"),
            Self::Tuple(key) => write!(f, "refs/tuples/{key}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// A name that nothing new may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} {reason}")]
pub struct RefNameError {
    name: String,
    reason: &'static str,
}

/// Returns what is wrong with a name as the full name of a dataset.
fn bad_dataset_name(name: &str) -> Option<&'static str> {
    let bad = |byte: u8| !byte.is_ascii_graphic() || br":?[\^~*".contains(&byte);
    if name.bytes().any(bad) {
        Some("has a space or a character that is not allowed")
    } else if name.contains("..") || name.contains("@{") {
        Some("has \"..\" or \"@{\" in it")
    } else if name.ends_with('.') {
        Some("ends with a dot")
    } else if name.split('/').any(str::is_empty) {
        Some("has an empty part")
    } else if name.split('/').any(|part| part.starts_with('.')) {
        Some("has a part that begins with a dot")
    } else if name.split('/').any(|part| part.ends_with(".lock")) {
        Some("has a part that ends with \".lock\"")
    } else {
        None
    }
}

/// Returns what is wrong with a name as the name of a branch or a tag.
fn bad_head_name(name: &str) -> Option<&'static str> {
    let is_hash = name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'));
    if name == "HEAD" || name == "head" || name == "@" {
        Some("means something else")
    } else if name == "-" {
        Some("is an option")
    } else if is_hash {
        Some("looks like an address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_that_dolt_takes_for_a_full_one_is_refused() {
        for name in [
            "refs/heads/refs/q",
            "refs/heads/refs/heads/q",
            "refs/heads/refs/tags/q",
            "refs/tags/refs/q",
            "refs/remotes/refs/heads/q",
            "refs/stashes/refs/q",
        ] {
            assert!(RefName::parse(name).check_found().is_err(), "{name}");
            assert!(RefName::parse(name).check().is_err(), "{name}");
        }
        for name in [
            "refs/heads/refs",
            "refs/heads/a/refs/q",
            "refs/remotes/origin/refs/q",
        ] {
            assert!(RefName::parse(name).check().is_ok(), "{name}");
        }
    }

    #[test]
    fn every_name_is_printed_as_it_was_parsed() {
        let branch = |branch: &str| RefName::Branch(branch.to_owned());
        assert_eq!(RefName::parse("refs/heads/a/b"), branch("a/b"));
        for name in [
            "refs/heads/main",
            "refs/tags/v1",
            "refs/remotes/origin/feature/x",
            "workingSets/heads/main",
            "refs/stashes/dolt-cli",
            "refs/internal/create",
            "refs/workspaces/w",
            "refs/statistics/main",
            "refs/tuples/k",
            "refs/heads/",
            "refs/remotes/origin",
            "anything",
            "",
        ] {
            let parsed = RefName::parse(name);
            assert_eq!(parsed.to_string(), name);
            let is_other = matches!(parsed, RefName::Other(_));
            assert_eq!(
                is_other,
                !name.contains('/') || name.ends_with('/') || name.ends_with("origin")
            );
        }
    }

    #[test]
    fn names_that_dolt_refuses_are_refused() {
        let long = "v".repeat(32);
        let too_long = "v".repeat(RefName::MAX_LEN - "refs/heads/".len() + 1);
        for name in [
            "a b", "a..b", "a@{b", "a:b", "a?", "a[b", r"a\b", "a^", "a~1", "a*", "a\u{7f}",
            "a\tb", ".a", "a/.b", "a.lock", "a.lock/b", "/a", "a/", "a//b", "a.", "HEAD", "head",
            "-", "@", "ä", &long, &too_long,
        ] {
            let refused = RefName::Branch(name.to_owned()).check();
            assert!(refused.is_err(), "{name}");
        }
        for name in [
            "main",
            "feature/x",
            "a.b",
            "a@b",
            "-a",
            "heads",
            &long[1..],
            &too_long[1..],
        ] {
            let refused = RefName::Branch(name.to_owned()).check();
            assert_eq!(refused, Ok(()), "{name}");
        }
        assert_eq!(RefName::Tag("@".to_owned()).check(), Ok(()));
        assert!(RefName::Tag("head".to_owned()).check().is_err());
    }

    #[test]
    fn what_is_there_may_have_names_that_nothing_new_may_have() {
        let long = "v".repeat(32);
        let too_long = "v".repeat(RefName::MAX_LEN);
        for name in ["main", "a/b", "HEAD", "-", "@", &long, &too_long] {
            let found = RefName::Tag(name.to_owned()).check_found();
            assert_eq!(found, Ok(()), "{name}");
        }
        for name in [
            "a*",
            "a/../b",
            "a//b",
            "/a",
            "a\u{1b}[2Jb",
            "a\nb",
            "ä",
            "a.lock",
        ] {
            let error = RefName::Tag(name.to_owned()).check_found().unwrap_err();
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text}");
        }
    }
}
