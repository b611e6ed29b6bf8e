//! One page of a listing: a walk over the directory tree in the order of whole keys.
//!
//! Keys sort as text, in which `/` has its place between `.` and `0`; so the folder `a` comes after the file
//! `a-b` and before the file `a0`.

use std::fs;
use std::io;

use super::directory::{Directory, is_absent, object_meta};
use crate::objects::{MAX_LISTED, ObjectError, ObjectKey, ObjectMeta};

struct Page<'a> {
    directory: &'a Directory,
    prefix: &'a str,
    after: &'a str,
    found: Vec<ObjectMeta>,
}

/// Lists up to [`MAX_LISTED`] objects that begin with `prefix` and come after `after`. Blocks.
pub(super) fn page(
    directory: &Directory,
    prefix: &str,
    after: Option<&ObjectKey>,
) -> Result<Vec<ObjectMeta>, ObjectError> {
    let mut page = Page {
        directory,
        prefix,
        after: after.map_or("", ObjectKey::as_str),
        found: Vec::new(),
    };
    let folder = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
    let is_plain = folder.is_empty() || ObjectKey::parse(folder.trim_end_matches('/')).is_ok();
    if is_plain {
        page.walk(folder)?;
    }
    Ok(page.found)
}

impl Page<'_> {
    /// Collects what is below a folder, given as the beginning of the keys in it: empty, or ending in `/`.
    fn walk(&mut self, folder: &str) -> Result<(), ObjectError> {
        let names = match self.names(folder) {
            Ok(names) => names,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.error(folder, error)),
        };
        for name in names {
            if self.found.len() >= MAX_LISTED {
                break;
            }
            if name.ends_with('/') {
                self.walk(&name)?;
            } else if let Ok(key) = ObjectKey::parse(name) {
                self.add(key)?;
            }
        }
        Ok(())
    }

    /// The keys in a folder, and the folders in it with a `/` at their end, sorted; only those that matter.
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        // Below the folder that the prefix names, everything begins with the prefix.
        let wanted = self.prefix.strip_prefix(folder).unwrap_or_default();
        let mut names = Vec::new();
        for entry in fs::read_dir(self.directory.root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name();
            // A folder may hold very many names: those that are not wanted cost one comparison each.
            if !name.as_encoded_bytes().starts_with(wanted.as_bytes()) {
                continue;
            }
            let Ok(name) = name.into_string() else {
                continue;
            };
            if ObjectKey::parse(name.as_str()).is_err() {
                continue;
            }
            let name = format!("{folder}{name}");
            if name.as_str() < self.after && !self.after.starts_with(&name) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_file() && name.as_str() > self.after {
                names.push(name);
            } else if kind.is_dir() {
                let name = name + "/";
                if name.as_str() > self.after || self.after.starts_with(&name) {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn add(&mut self, key: ObjectKey) -> Result<(), ObjectError> {
        match self.directory.object_metadata(&key) {
            Ok(metadata) => self.found.push(object_meta(key, &metadata)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(ObjectError::failed("list", &key, error)),
        }
        Ok(())
    }

    fn error(&self, folder: &str, error: io::Error) -> ObjectError {
        let text = folder.trim_end_matches('/');
        let named = ObjectKey::parse(text).or_else(|_| ObjectKey::parse("root"));
        let key = named.expect("`root` is a key");
        ObjectError::failed("list the folder", &key, error)
    }
}
