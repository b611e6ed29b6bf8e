//! Which refs of one side stand for which of the other: `refs/heads/*:refs/remotes/origin/*`.

use std::fmt;

/// Why text is not a ref spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a ref spec of the form <source>[:<destination>], each with at most one *")]
pub struct RefSpecError {
    text: String,
}

/// A pair of names, or of patterns with one `*` each that stands for the same text in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefSpec {
    source: Pattern,
    destination: Pattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Around { before: String, after: String },
}

impl RefSpec {
    /// Reads `<source>:<destination>` with full names. A `+` before it changes nothing: what follows a remote is moved
    /// to where the remote is in any case.
    pub fn parse(text: &str) -> Result<Self, RefSpecError> {
        let wrong = || RefSpecError {
            text: text.to_owned(),
        };
        let pair = text.strip_prefix('+').unwrap_or(text);
        let (source, destination) = pair.split_once(':').ok_or_else(wrong)?;
        let source = Pattern::parse(source).ok_or_else(wrong)?;
        let destination = Pattern::parse(destination).ok_or_else(wrong)?;
        let is_name = |pattern: &Pattern| matches!(pattern, Pattern::Name(_));
        match is_name(&source) == is_name(&destination) {
            true => Ok(Self {
                source,
                destination,
            }),
            false => Err(wrong()),
        }
    }

    /// What a full name on the source's side stands for on the other, if it is meant.
    pub fn map(&self, name: &str) -> Option<String> {
        let between = self.source.matched(name)?;
        Some(self.destination.with(between))
    }

    /// What a full name on the destination's side comes from, if it is meant.
    pub fn map_back(&self, name: &str) -> Option<String> {
        let between = self.destination.matched(name)?;
        Some(self.source.with(between))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('*') {
            None if text.is_empty() => None,
            None => Some(Self::Name(text.to_owned())),
            Some((_, after)) if after.contains('*') => None,
            Some((before, after)) => Some(Self::Around {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
        }
    }

    /// What stands in the place of the `*`; nothing of a name that is not meant.
    fn matched<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Name(wanted) => (name == wanted).then_some(""),
            Self::Around { before, after } => name
                .strip_prefix(before.as_str())
                .and_then(|rest| rest.strip_suffix(after.as_str()))
                .filter(|between| !between.is_empty()),
        }
    }

    fn with(&self, between: &str) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Around { before, after } => format!("{before}{between}{after}"),
        }
    }
}

impl fmt::Display for RefSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = (self.source.with("*"), self.destination.with("*"));
        write!(f, "{source}:{destination}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_there_and_back() {
        let all = RefSpec::parse("+refs/heads/*:refs/remotes/origin/*").unwrap();
        assert_eq!(all.to_string(), "refs/heads/*:refs/remotes/origin/*");
        let there = all.map("refs/heads/a/b");
        assert_eq!(there.as_deref(), Some("refs/remotes/origin/a/b"));
        let back = all.map_back("refs/remotes/origin/a/b");
        assert_eq!(back.as_deref(), Some("refs/heads/a/b"));
        assert_eq!(all.map("refs/tags/v1"), None);
        assert_eq!(all.map("refs/heads/"), None);
        assert_eq!(all.map_back("refs/remotes/other/a"), None);
        let one = RefSpec::parse("refs/heads/main:refs/remotes/o/m").unwrap();
        assert_eq!(
            one.map("refs/heads/main").as_deref(),
            Some("refs/remotes/o/m")
        );
        assert_eq!(one.map("refs/heads/mainly"), None);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in ["", "a", ":", "a:", ":b", "a*:b", "a:b*", "a**:b*", "a*:b**"] {
            assert!(RefSpec::parse(text).is_err(), "{text}");
        }
    }
}
