//! The remotes in `repo_state.json`, added, changed and removed as Dolt does.

use serde_json::value::to_raw_value;

use super::state_text::{Fields, change_state};
use super::{DatabaseError, DatabasePaths, RemoteEntry};

/// The field of the remotes.
const REMOTES: &str = "remotes";

/// Adds a remote, or takes the place of the one of that name. Blocks.
pub(crate) fn add_remote(paths: &DatabasePaths, entry: &RemoteEntry) -> Result<(), DatabaseError> {
    change_state(paths, |state| {
        let mut fields = Fields::default();
        fields.set("name", to_raw_value(&entry.name)?);
        fields.set("url", to_raw_value(&entry.url)?);
        fields.set("fetch_specs", list(&entry.fetch_specs)?);
        fields.set("params", Fields::default().written(3)?);
        let mut remotes = state.object(REMOTES)?;
        remotes.set_sorted(&entry.name, fields.written(2)?);
        state.set(REMOTES, remotes.written(1)?);
        Ok(())
    })
}

/// Gives a remote another address, and leaves everything else of it as it is. Blocks.
pub(crate) fn set_remote_url(
    paths: &DatabasePaths,
    name: &str,
    url: &str,
) -> Result<(), DatabaseError> {
    change_state(paths, |state| {
        let mut remotes = state.object(REMOTES)?;
        let mut fields = remotes.object(name)?;
        fields.set("url", to_raw_value(url)?);
        remotes.set_sorted(name, fields.written(2)?);
        state.set(REMOTES, remotes.written(1)?);
        Ok(())
    })
}

/// Removes a remote. Blocks.
pub(crate) fn remove_remote(paths: &DatabasePaths, name: &str) -> Result<(), DatabaseError> {
    change_state(paths, |state| {
        let mut remotes = state.object(REMOTES)?;
        remotes.remove(name);
        state.set(REMOTES, remotes.written(1)?);
        Ok(())
    })
}

/// A list of texts as Dolt indents it in a remote.
fn list(texts: &[String]) -> Result<Box<serde_json::value::RawValue>, serde_json::Error> {
    let lines: Result<Vec<_>, _> = texts.iter().map(serde_json::to_string).collect();
    let lines = lines?.join(",\n        ");
    serde_json::value::RawValue::from_string(format!("[\n        {lines}\n      ]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{RepoState, replace_file};

    #[test]
    fn what_is_written_is_what_the_whole_file_would_be() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DatabasePaths::new(directory.path());
        std::fs::create_dir(paths.dolt()).unwrap();
        let text = || std::fs::read_to_string(paths.repo_state()).unwrap();
        let state = |remotes: &[(&str, &str)]| {
            let mut state = RepoState::alone("main");
            for (name, url) in remotes {
                let entry = RemoteEntry::new(name, url);
                state.remotes.insert((*name).to_owned(), entry);
            }
            String::from_utf8(state.encode()).unwrap()
        };
        replace_file(&paths.repo_state(), state(&[]).as_bytes()).unwrap();
        add_remote(&paths, &RemoteEntry::new("up", "https://h/a/b")).unwrap();
        assert_eq!(text(), state(&[("up", "https://h/a/b")]));
        add_remote(&paths, &RemoteEntry::new("origin", "file:///x")).unwrap();
        assert_eq!(
            text(),
            state(&[("origin", "file:///x"), ("up", "https://h/a/b")])
        );
        set_remote_url(&paths, "up", "https://h/c/d").unwrap();
        assert_eq!(
            text(),
            state(&[("origin", "file:///x"), ("up", "https://h/c/d")])
        );
        remove_remote(&paths, "origin").unwrap();
        remove_remote(&paths, "up").unwrap();
        assert_eq!(text(), state(&[]));
    }
}
