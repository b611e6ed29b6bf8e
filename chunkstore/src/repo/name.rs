//! The names people give repositories: `owner/name`.

use std::fmt;
use std::str::FromStr;

/// `owner/name`, each `[a-z0-9][a-z0-9._-]*` and at most 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName {
    owner: String,
    name: String,
}

/// Text that is not the name of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a repository name: owner/name, each of a-z 0-9 . _ - and beginning with a letter or digit"
)]
pub struct RepoNameError {
    text: String,
}

impl RepoName {
    /// The part before the slash.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_part(part: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.len() <= 100
        && part.bytes().next().is_some_and(lower)
        && part
            .bytes()
            .all(|byte| lower(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl FromStr for RepoName {
    type Err = RepoNameError;
    fn from_str(text: &str) -> Result<Self, RepoNameError> {
        match text.split_once('/') {
            Some((owner, name)) if is_part(owner) && is_part(name) => Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(RepoNameError {
                text: text.chars().take(128).collect(),
            }),
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl serde::Serialize for RepoName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_two_plain_parts() {
        let name: RepoName = "acme/prod-1.x".parse().unwrap();
        assert_eq!(
            (name.owner(), name.name(), name.to_string().as_str()),
            ("acme", "prod-1.x", "acme/prod-1.x")
        );
        for text in [
            "",
            "acme",
            "acme/",
            "/prod",
            "a/b/c",
            "Acme/prod",
            "acme/.prod",
            "acme/pr od",
            "../x",
        ] {
            assert!(text.parse::<RepoName>().is_err(), "{text}");
        }
    }
}
