//! Files and names that survive a crash of the machine.
//!
//! # Order
//! A file's bytes are synced before it gets its name, a name's directory before anybody is told of it, and a new
//! directory's own name before a file in it counts. A name that is there already may come of an attempt whose sync
//! failed, so it is synced before it is believed. Everything here blocks.
//! # Crash
//! A crash before the name leaves a temporary file, which its owner removes at the next start; a crash after
//! it leaves the whole file, whose name may or may not be there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::Location;
use std::path::Path;

use tempfile::NamedTempFile;

use super::disk::{Disk, Site, SystemDisk};

/// The file system that all but tests use.
const SYSTEM: &dyn Disk = &SystemDisk;

impl dyn Disk + '_ {
    /// As [`create_directories`].
    pub fn create_directories(&self, base: &Path, directory: &Path) -> io::Result<()> {
        self.make_directories(directory)
            .map_err(|error| match error.kind() {
                // A file stands where a directory is wanted, which must not be mistaken for a lost race for a name.
                io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
                _ => error,
            })?;
        let above = directory
            .ancestors()
            .skip(1)
            .take_while(|path| path.starts_with(base));
        for parent in above {
            self.sync_directory(parent, Location::caller())?;
        }
        Ok(())
    }

    /// As [`create_root`].
    pub fn create_root(&self, directory: &Path) -> io::Result<()> {
        let directory = std::path::absolute(directory)?;
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|path| !path.is_dir())
            .collect();
        // The lowest that is there may come of an attempt that failed behind it: one at a time, from above.
        let lowest = missing.last().map_or(&*directory, |path| parent(path));
        match self.sync_directory(parent(lowest), Location::caller()) {
            // Where no name can be made, or not by us, it was there before us.
            Err(error) if takes_no_names(&error) => {}
            synced => synced?,
        }
        for path in missing.iter().rev() {
            self.make_directories(path)?;
            self.sync_directory(parent(path), Location::caller())?;
        }
        Ok(())
    }

    /// As [`write_temporary`].
    pub fn write_temporary(&self, directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        self.finish(file.as_file())?;
        Ok(file)
    }

    /// As [`finish`].
    pub fn finish(&self, file: &File) -> io::Result<()> {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
        self.sync_file(file, Location::caller())
    }

    /// As [`link`].
    pub fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        if let Err(error) = self.hard_link(file, name) {
            if error.kind() == io::ErrorKind::AlreadyExists {
                self.sync_parent(name, Location::caller())?;
            }
            return Err(error);
        }
        self.sync_parent(name, Location::caller()).inspect_err(|_| {
            // What was not announced should not stay; where it stays, the next who finds it makes it durable first.
            drop(self.remove_file(name));
        })
    }

    /// As [`replace`].
    pub fn replace(&self, file: NamedTempFile, name: &Path) -> io::Result<()> {
        let path = file.into_temp_path();
        self.rename(&path, name)?;
        drop(path.keep());
        self.sync_parent(name, Location::caller())
    }

    /// As [`write_over`].
    pub fn write_over(&self, name: &Path, prefix: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let directory = parent(name);
        let mut file = tempfile::Builder::new()
            .prefix(prefix)
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(mode))?;
        self.sync_file(file.as_file(), Location::caller())?;
        self.replace(file, name)
    }

    /// As [`rename()`].
    pub fn rename_durably(&self, file: &Path, name: &Path, mode: u32) -> io::Result<()> {
        let whole = File::open(file)?;
        whole.set_permissions(fs::Permissions::from_mode(mode))?;
        self.sync_file(&whole, Location::caller())?;
        self.rename(file, name)?;
        self.sync_parent(name, Location::caller())
    }

    /// As [`remove`].
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        let removed = self.remove_file(name);
        match &removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return removed,
            // It may have been removed a moment ago, and not yet durably.
            Err(_) if !parent(name).is_dir() => return removed,
            _ => {}
        }
        self.sync_parent(name, Location::caller())?;
        removed
    }

    fn sync_parent(&self, name: &Path, site: Site) -> io::Result<()> {
        self.sync_directory(parent(name), site)
    }
}

/// Whether a sync failed because the directory is not ours, or its file system is only read and knows no sync.
fn takes_no_names(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
    )
}

/// The directory that a name is in.
fn parent(name: &Path) -> &Path {
    match name.parent() {
        Some(directory) if directory == Path::new("") => Path::new("."),
        Some(directory) => directory,
        None => Path::new("/"),
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    SYSTEM.sync_directory(directory, Location::caller())
}

/// Makes a directory and the missing ones above it, and makes the names of all of them below `base` durable,
/// also of those that were there before: whoever made them may not have come so far. `base` must exist and
/// contain `directory`.
pub fn create_directories(base: &Path, directory: &Path) -> io::Result<()> {
    SYSTEM.create_directories(base, directory)
}

/// Makes a directory and the missing ones above it, durably.
pub fn create_root(directory: &Path) -> io::Result<()> {
    SYSTEM.create_root(directory)
}

/// Writes bytes to a new temporary file in `directory` and makes them durable. The file goes away when the
/// answer is dropped, unless it got a name before.
pub fn write_temporary(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    SYSTEM.write_temporary(directory, bytes)
}

/// Makes a file that is written to its end read-only and durable.
pub fn finish(file: &File) -> io::Result<()> {
    SYSTEM.finish(file)
}

/// Brings what is written of a growing file to the disk. Its error counts: the system tells it only once.
pub fn write_out(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_data()
}

/// Gives a durable file a further name, durably and never over something: [`io::ErrorKind::AlreadyExists`] if
/// the name is taken, and then by a file whose name is durable. If the name cannot be made durable, it is taken back
/// where that is possible.
pub fn link(file: &Path, name: &Path) -> io::Result<()> {
    SYSTEM.link(file, name)
}

/// Gives a durable temporary file its name, replacing what stood there, durably.
pub fn replace(file: NamedTempFile, name: &Path) -> io::Result<()> {
    SYSTEM.replace(file, name)
}

/// Gives a whole file another name on the same file system, in the place of what stood there, durably, and with the
/// permissions `mode`.
pub fn rename(file: &Path, name: &Path, mode: u32) -> io::Result<()> {
    SYSTEM.rename_durably(file, name, mode)
}

/// Gives a file another name on the same file system, in the place of what stood there. Neither its bytes nor the name
/// need outlive a crash of the machine: only for what can be made again.
pub fn rename_only(file: &Path, name: &Path) -> io::Result<()> {
    SYSTEM.rename(file, name)
}

/// Writes bytes beside `name`, under a name that begins with `prefix`, and puts them in the place of what stood there,
/// durably and with the permissions `mode`. The old or the new bytes stand there at every moment.
pub fn write_over(name: &Path, prefix: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    SYSTEM.write_over(name, prefix, mode, bytes)
}

/// Removes a name durably. [`io::ErrorKind::NotFound`] if there is none, which then is durable too.
pub fn remove(name: &Path) -> io::Result<()> {
    SYSTEM.remove(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("name");
        let first = write_temporary(directory.path(), b"first").unwrap();
        let second = write_temporary(directory.path(), b"second").unwrap();
        link(first.path(), &name).unwrap();
        let error = link(second.path(), &name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        drop((first, second));
        assert_eq!(fs::read(&name).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replacement_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("name");
        for text in ["first", "second"] {
            let file = write_temporary(directory.path(), text.as_bytes()).unwrap();
            replace(file, &name).unwrap();
            assert_eq!(fs::read_to_string(&name).unwrap(), text);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_written_over_another_file_has_its_permissions_and_no_other_name() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("name");
        for (text, mode) in [("first", 0o644), ("second", 0o600)] {
            write_over(&name, "part-", mode, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&name).unwrap(), text);
            let permissions = fs::metadata(&name).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_made_down_to_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        create_root(&deep).unwrap();
        create_directories(directory.path(), &deep.join("d")).unwrap();
        assert!(deep.join("d").is_dir());
    }
}
