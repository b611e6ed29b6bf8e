//! Files and names that survive a crash of the machine.
//!
//! # Order
//! A file's bytes are synced before it gets its name, a name's directory before anybody is told of it, and a new
//! directory's own name before a file in it counts. Everything here blocks.
//! # Crash
//! A crash before the name leaves a temporary file, which its owner removes at the next start; a crash after
//! it leaves the whole file, whose name may or may not be there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory and the missing ones above it, and makes the names of all of them below `base` durable,
/// also of those that were there before: whoever made them may not have come so far. `base` must exist and
/// contain `directory`.
pub fn create_directories(base: &Path, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory).map_err(|error| match error.kind() {
        // A file stands where a directory is wanted, which must not be mistaken for a lost race for a name.
        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
        _ => error,
    })?;
    let above = directory
        .ancestors()
        .skip(1)
        .take_while(|path| path.starts_with(base));
    for parent in above {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Makes a directory and the missing ones above it, durably.
pub fn create_root(directory: &Path) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let existing = directory.ancestors().find(|path| path.is_dir());
    let base = existing.unwrap_or(Path::new("/"));
    create_directories(base, &directory)
}

/// Writes bytes to a new temporary file in `directory` and makes them durable. The file goes away when the
/// answer is dropped, unless it got a name before.
pub fn write_temporary(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    finish(file.as_file())?;
    Ok(file)
}

/// Makes a file that is written to its end read-only and durable.
pub fn finish(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)?;
    file.sync_all()
}

/// Brings what is written of a growing file to the disk. Its error counts: the system tells it only once.
pub fn write_out(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_data()
}

/// Gives a durable file a further name, durably and never over something: [`io::ErrorKind::AlreadyExists`] if
/// the name is taken. If the name cannot be made durable, it is taken back.
pub fn link(file: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(file, name)?;
    sync_parent(name).inspect_err(|_| {
        // The name was not announced; if it cannot be taken back either, the caller's error covers that.
        drop(fs::remove_file(name));
        drop(sync_parent(name));
    })
}

/// Gives a durable temporary file its name, replacing what stood there, durably.
pub fn replace(file: NamedTempFile, name: &Path) -> io::Result<()> {
    file.persist(name).map_err(|error| error.error)?;
    sync_parent(name)
}

/// Gives a whole file another name on the same file system, in the place of what stood there, durably, and with the
/// permissions `mode`.
#[expect(clippy::disallowed_methods, reason = "the durable module itself")]
pub fn rename(file: &Path, name: &Path, mode: u32) -> io::Result<()> {
    let whole = File::open(file)?;
    whole.set_permissions(fs::Permissions::from_mode(mode))?;
    whole.sync_all()?;
    fs::rename(file, name)?;
    sync_parent(name)
}

/// Gives a file another name on the same file system, in the place of what stood there. Neither its bytes nor the name
/// need outlive a crash of the machine: only for what can be made again.
#[expect(clippy::disallowed_methods, reason = "the durable module itself")]
pub fn rename_only(file: &Path, name: &Path) -> io::Result<()> {
    fs::rename(file, name)
}

/// Writes bytes beside `name`, under a name that begins with `prefix`, and puts them in the place of what stood there,
/// durably and with the permissions `mode`. The old or the new bytes stand there at every moment.
pub fn write_over(name: &Path, prefix: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let directory = name.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(prefix)
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    replace(file, name)
}

/// Removes a name durably.
pub fn remove(name: &Path) -> io::Result<()> {
    fs::remove_file(name)?;
    sync_parent(name)
}

fn sync_parent(name: &Path) -> io::Result<()> {
    match name.parent() {
        Some(directory) => sync_directory(directory),
        None => Ok(()),
    }
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
