//! Which branch follows which, changed in `repo_state.json` where all else stays as it is written there.
//!
//! # Order
//! The file is read again, changed, and replaced in one step, unless it is another one by then.
//! # Crash
//! The old file stands there, or the new one.
//!
//! Dolt writes the file without a lock, also while the store is held: what it wrote meanwhile is kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

use super::{DatabaseError, DatabasePaths, Upstream, io, replace_file};

/// The field that says which branch follows which.
const BRANCHES: &str = "branches";

/// How often a file that changes while it is changed is read again.
const ATTEMPTS: u32 = 10;

/// Lets branches follow others from now on. Blocks.
pub(crate) fn set_upstreams(
    paths: &DatabasePaths,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<(), DatabaseError> {
    if upstreams.is_empty() {
        return Ok(());
    }
    let path = paths.repo_state();
    let read = || std::fs::read(&path).map_err(io("read", &path));
    let change = |text: &[u8]| {
        with_upstreams(text, upstreams).map_err(|source| DatabaseError::File {
            path: path.clone(),
            source,
        })
    };
    let mut text = read()?;
    for _ in 1..ATTEMPTS {
        let changed = change(&text)?;
        let now = read()?;
        if now == text {
            return replace_file(&path, &changed);
        }
        text = now;
    }
    replace_file(&path, &change(&text)?)
}

/// The text of the file in which these branches follow others, and every other field is as it was.
fn with_upstreams(
    text: &[u8],
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut state: Fields = serde_json::from_slice(text)?;
    let mut branches = match state.get(BRANCHES) {
        Some(branches) => serde_json::from_str::<Option<Fields>>(branches.get())?,
        None => None,
    }
    .unwrap_or_default();
    for (branch, upstream) in upstreams {
        let mut followed: Fields = match branches.get(branch) {
            Some(followed) => serde_json::from_str(followed.get())?,
            None => Fields::default(),
        };
        followed.set("head", to_raw_value(&upstream.head)?);
        followed.set("remote", to_raw_value(&upstream.remote)?);
        branches.set_sorted(branch, followed.written(2)?);
    }
    state.set(BRANCHES, branches.written(1)?);
    Ok(state.written(0)?.get().as_bytes().to_vec())
}

/// The fields of an object in their order, their values as they are written.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The value of a field; the last one of that name, as Dolt reads it.
    fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// Sets a field in its place, or behind the others.
    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rfind(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a field in its place, or before the first one that sorts behind it: so does Dolt order names.
    fn set_sorted(&mut self, name: &str, value: Box<RawValue>) {
        if self.get(name).is_some() {
            return self.set(name, value);
        }
        let at = self.0.iter().position(|(known, _)| known.as_str() > name);
        let at = at.unwrap_or(self.0.len());
        self.0.insert(at, (name.to_owned(), value));
    }

    /// The object as Dolt indents one that stands so deep in others.
    fn written(&self, depth: usize) -> Result<Box<RawValue>, serde_json::Error> {
        if self.0.is_empty() {
            return RawValue::from_string("{}".to_owned());
        }
        let (inner, outer) = ("  ".repeat(depth + 1), "  ".repeat(depth));
        let mut lines = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let name = serde_json::to_string(name)?;
            lines.push(format!("{inner}{name}: {value}"));
        }
        RawValue::from_string(format!("{{\n{}\n{outer}}}", lines.join(",\n")))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_entry()? {
                    fields.0.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn follows(branch: &str, head: &str, remote: &str) -> BTreeMap<String, Upstream> {
        let upstream = Upstream {
            head: head.to_owned(),
            remote: remote.to_owned(),
        };
        BTreeMap::from([(branch.to_owned(), upstream)])
    }

    fn changed(text: &str, upstreams: &BTreeMap<String, Upstream>) -> String {
        String::from_utf8(with_upstreams(text.as_bytes(), upstreams).unwrap()).unwrap()
    }

    /// As a Dolt of some later day may write it: fields that we do not know, in an order of their own.
    const TEXT: &str = r#"{
  "zeta": [
    1.10,
    18446744073709551616
  ],
  "head": "refs/heads/west",
  "remotes": {
    "origin": {
      "url": "s3://bucket/prod?endpoint=e\u0026region=r",
      "name": "origin",
      "fetch_specs": [
        "refs/heads/*:refs/remotes/origin/*"
      ],
      "later": null,
      "params": {}
    }
  },
  "branches": {
    "main": {
      "rebase": "always",
      "head": "refs/heads/main",
      "remote": "origin"
    },
    "west": {
      "head": "refs/heads/main",
      "remote": "origin"
    }
  },
  "backups": {}
}"#;

    #[test]
    fn one_branch_follows_another_and_not_a_byte_else_changes() {
        let was = "\"west\": {\n      \"head\": \"refs/heads/main\"";
        let is = "\"west\": {\n      \"head\": \"refs/heads/west\"";
        let expected = TEXT.replace(was, is);
        assert_ne!(expected, TEXT);
        let west = follows("west", "refs/heads/west", "origin");
        assert_eq!(changed(TEXT, &west), expected);
        assert_eq!(changed(&expected, &west), expected, "it says so already");

        let is = "\"head\": \"refs/heads/trunk\",\n      \"remote\": \"up\"";
        let was =
            "\"head\": \"refs/heads/main\",\n      \"remote\": \"origin\"\n    },\n    \"west\"";
        let expected = TEXT.replacen(was, &format!("{is}\n    }},\n    \"west\""), 1);
        assert_ne!(expected, TEXT);
        let main = follows("main", "refs/heads/trunk", "up");
        assert_eq!(changed(TEXT, &main), expected, "its other field stays");
    }

    #[test]
    fn a_branch_that_followed_nothing_stands_where_dolt_would_put_it() {
        let new = "    \"north\": {\n      \"head\": \"refs/heads/n\\\"\",\n      \"remote\": \"o\"\n    },\n";
        let expected = TEXT.replace("    \"west\": {", &format!("{new}    \"west\": {{"));
        let north = follows("north", "refs/heads/n\"", "o");
        assert_eq!(changed(TEXT, &north), expected);

        for (text, at) in [
            (r#"{"head":"h"}"#, 1),
            (r#"{"head":"h","branches":null}"#, 1),
            (r#"{"branches":{},"head":"h"}"#, 0),
        ] {
            let state = changed(text, &north);
            let fields: Fields = serde_json::from_str(&state).unwrap();
            assert_eq!(fields.0[at].0, BRANCHES, "{state}");
            let value: serde_json::Value = serde_json::from_str(&state).unwrap();
            assert_eq!(value["head"], "h");
            assert_eq!(value["branches"]["north"]["remote"], "o");
        }
        for text in [
            "",
            "{",
            "[]",
            r#"{"branches":7}"#,
            r#"{"branches":{"north":7}}"#,
        ] {
            assert!(with_upstreams(text.as_bytes(), &north).is_err(), "{text}");
        }
    }

    #[test]
    fn the_file_keeps_its_place_and_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DatabasePaths::new(directory.path());
        std::fs::create_dir(paths.dolt()).unwrap();
        let elsewhere = directory.path().join("elsewhere.json");
        replace_file(&elsewhere, TEXT.as_bytes()).unwrap();
        let shared = std::fs::Permissions::from_mode(0o664);
        std::fs::set_permissions(&elsewhere, shared).unwrap();
        symlink(&elsewhere, paths.repo_state()).unwrap();
        set_upstreams(&paths, &follows("west", "refs/heads/west", "up")).unwrap();
        assert!(paths.repo_state().is_symlink());
        let text = std::fs::read_to_string(&elsewhere).unwrap();
        assert!(text.contains("\"up\""), "{text}");
        let mode = std::fs::metadata(&elsewhere).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o664);

        set_upstreams(&paths, &BTreeMap::new()).unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), text);
        std::fs::remove_file(&elsewhere).unwrap();
        let none = set_upstreams(&paths, &follows("west", "refs/heads/west", "up"));
        assert!(none.is_err() && !elsewhere.exists());
    }
}
