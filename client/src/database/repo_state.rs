//! `repo_state.json`: the branch that is checked out, remotes, and which branch follows which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DatabaseError, DatabasePaths, io};

/// What `repo_state.json` says. Fields that we do not know are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoState {
    /// The branch that is checked out, as a full ref.
    pub head: String,
    /// Remotes by name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub remotes: BTreeMap<String, RemoteEntry>,
    /// Backups by name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub backups: BTreeMap<String, RemoteEntry>,
    /// Which remote branch a local one follows.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub branches: BTreeMap<String, Upstream>,
    /// Everything else.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A remote, or a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteEntry {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Which refs are fetched to where.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub fetch_specs: Vec<String>,
    /// Settings of the kind of remote.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub params: BTreeMap<String, String>,
}

impl RemoteEntry {
    /// A remote all of whose branches are fetched.
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            fetch_specs: vec![format!("refs/heads/*:refs/remotes/{name}/*")],
            params: BTreeMap::new(),
        }
    }
}

/// The branch that a local one follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The branch there, as a full ref.
    pub head: String,
    /// The name of the remote.
    pub remote: String,
}

impl RepoState {
    /// The state of a database whose branch `branch` follows the one of the same name at a remote.
    pub fn cloned(branch: &str, remote: RemoteEntry) -> Self {
        let head = format!("refs/heads/{branch}");
        let upstream = Upstream {
            head: head.clone(),
            remote: remote.name.clone(),
        };
        Self {
            head,
            branches: BTreeMap::from([(branch.to_owned(), upstream)]),
            remotes: BTreeMap::from([(remote.name.clone(), remote)]),
            backups: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// The state of a database without remotes.
    pub fn alone(branch: &str) -> Self {
        Self {
            head: format!("refs/heads/{branch}"),
            branches: BTreeMap::new(),
            remotes: BTreeMap::new(),
            backups: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// The name of the branch that is checked out, if a branch is.
    pub fn branch(&self) -> Option<&str> {
        self.head.strip_prefix("refs/heads/")
    }

    /// Reads the file of a database. Blocks.
    pub fn load(paths: &DatabasePaths) -> Result<Self, DatabaseError> {
        let path = paths.repo_state();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DatabaseError::None {
                    path: paths.directory().to_owned(),
                });
            }
            Err(error) => return Err(io("read", &path)(error)),
        };
        Self::decode(&text).map_err(|source| DatabaseError::File { path, source })
    }

    /// Reads the text of the file.
    pub fn decode(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The text of the file, indented as Dolt does.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("text and maps of text can be written")
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dolt_writes_is_read_and_written_again() {
        let text = br#"{
  "head": "refs/heads/main",
  "remotes": {
    "origin": {
      "name": "origin",
      "url": "http://localhost:50051/a/b",
      "fetch_specs": [
        "refs/heads/*:refs/remotes/origin/*"
      ],
      "params": {}
    }
  },
  "backups": {},
  "branches": {
    "main": {
      "head": "refs/heads/main",
      "remote": "origin"
    }
  }
}"#;
        let state = RepoState::decode(text).unwrap();
        assert_eq!(state.branch(), Some("main"));
        let remote = RemoteEntry::new("origin", "http://localhost:50051/a/b");
        assert_eq!(state, RepoState::cloned("main", remote));
        assert_eq!(
            String::from_utf8(state.encode()).unwrap(),
            String::from_utf8_lossy(text)
        );
    }

    #[test]
    fn nulls_are_empty_and_unknown_fields_stay() {
        let text = br#"{"head":"refs/heads/a/b","remotes":null,"backups":null,"branches":null,"staged":"x"}"#;
        let state = RepoState::decode(text).unwrap();
        assert_eq!(state.branch(), Some("a/b"));
        assert!(state.remotes.is_empty());
        assert!(
            String::from_utf8(state.encode())
                .unwrap()
                .contains("\"staged\": \"x\"")
        );
        assert!(RepoState::decode(b"{}").is_err());
    }
}
