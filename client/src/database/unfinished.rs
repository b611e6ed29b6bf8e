//! What transfers that were cut off left in a database's directory, to go on with.

use std::path::Path;

use super::{DatabaseError, DatabasePaths, FolderLock, MOVED, io};

/// What an unfinished transfer left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The remote that is being cloned, where the whole database is not finished.
    pub clone_of: Option<String>,
    /// How many files are kept to go on with.
    pub files: u64,
    /// Their bytes.
    pub len_bytes: u64,
}

impl Unfinished {
    /// Looks for what is left in a database's directory; nothing where no transfer was cut off. Blocks.
    pub fn find(paths: &DatabasePaths) -> Result<Option<Self>, DatabaseError> {
        let path = paths.clone_origin();
        let clone_of = match std::fs::read_to_string(&path) {
            Ok(url) => Some(url),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io("read", &path)(error)),
        };
        let mut found = Self {
            clone_of,
            files: 0,
            len_bytes: 0,
        };
        let is_there = found.add(&paths.holdfast())?;
        let is_left = is_there && (found.files > 0 || found.clone_of.is_some());
        Ok(is_left.then_some(found))
    }

    /// Counts the files below a directory; says whether it is there.
    fn add(&mut self, directory: &Path) -> Result<bool, DatabaseError> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io("list", directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io("list", directory))?;
            let path = entry.path();
            if entry.file_name() == MOVED || FolderLock::is_named(&entry.file_name()) {
                continue;
            }
            let metadata = entry.metadata().map_err(io("read", &path))?;
            if metadata.is_dir() {
                self.add(&path)?;
            } else {
                self.files += 1;
                self.len_bytes += metadata.len();
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::objects::durable;

    use super::*;

    #[test]
    fn what_was_left_is_counted_and_nothing_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DatabasePaths::new(directory.path());
        assert_eq!(Unfinished::find(&paths).unwrap(), None);
        durable::create_root(&paths.incoming()).unwrap();
        assert_eq!(Unfinished::find(&paths).unwrap(), None, "an empty folder");
        durable::write_over(&paths.moved(), "new-", 0o644, b"https://h/a/b").unwrap();
        assert_eq!(Unfinished::find(&paths).unwrap(), None, "a move is whole");
        let part = paths.incoming().join("one");
        durable::write_over(&part, "new-", 0o644, b"12345").unwrap();
        let found = Unfinished::find(&paths).unwrap().unwrap();
        assert_eq!((found.files, found.len_bytes), (1, 5));
        assert_eq!(found.clone_of, None);
        durable::write_over(&paths.clone_origin(), "new-", 0o644, b"https://h/a/b").unwrap();
        let found = Unfinished::find(&paths).unwrap().unwrap();
        assert_eq!(found.clone_of.as_deref(), Some("https://h/a/b"));
        assert_eq!(found.files, 2);
    }
}
