//! Which branch follows which, changed in `repo_state.json` where all else stays as it is written there.

use std::collections::BTreeMap;

use serde_json::value::to_raw_value;

use super::state_text::{Fields, change_state};
use super::{DatabaseError, DatabasePaths, Upstream};

/// The field that says which branch follows which.
const BRANCHES: &str = "branches";

/// Lets branches follow others from now on. Blocks.
pub(crate) fn set_upstreams(
    paths: &DatabasePaths,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<(), DatabaseError> {
    if upstreams.is_empty() {
        return Ok(());
    }
    change_state(paths, |state| with_upstreams(state, upstreams))
}

/// Lets these branches follow others, and leaves every other field as it was.
fn with_upstreams(
    state: &mut Fields,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<(), serde_json::Error> {
    let mut branches = state.object(BRANCHES)?;
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::database::replace_file;
    use crate::database::state_text::changed_text;

    fn follows(branch: &str, head: &str, remote: &str) -> BTreeMap<String, Upstream> {
        let upstream = Upstream {
            head: head.to_owned(),
            remote: remote.to_owned(),
        };
        BTreeMap::from([(branch.to_owned(), upstream)])
    }

    fn changed(text: &str, upstreams: &BTreeMap<String, Upstream>) -> String {
        let changed = changed_text(text.as_bytes(), |state| with_upstreams(state, upstreams));
        String::from_utf8(changed.unwrap()).unwrap()
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
            assert_eq!(fields.names().nth(at), Some(BRANCHES), "{state}");
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
            let refused = changed_text(text.as_bytes(), |state| with_upstreams(state, &north));
            assert!(refused.is_err(), "{text}");
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
