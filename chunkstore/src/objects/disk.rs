//! The calls to the file system by which bytes and names become durable: the seam below `durable` and the local store.
//!
//! Each sync is told from where it is called, so that a test can leave out one of them and see what is lost.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::Location;
use std::path::Path;

use crate::pool::about_to_block;

/// Where in the code a sync is called.
pub type Site = &'static Location<'static>;

/// A file system, as far as durability depends on it. All of it blocks.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory and the missing ones above it. Their names are not durable by that.
    fn make_directories(&self, directory: &Path) -> io::Result<()>;

    /// Gives a file a further name, never over something. The name is not durable by that.
    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Gives a file another name, over what stood there. The name is not durable by that.
    fn rename(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Removes a name. After a crash it may be there again.
    fn remove_file(&self, name: &Path) -> io::Result<()>;

    /// Makes all that was written to a file durable. An error is told once: the next call can succeed and the bytes be
    /// lost all the same.
    fn sync_file(&self, file: &File, site: Site) -> io::Result<()>;

    /// The same for the bytes alone.
    fn sync_data(&self, file: &File, site: Site) -> io::Result<()>;

    /// Makes the names in a directory durable, and what was removed from it gone.
    fn sync_directory(&self, directory: &Path, site: Site) -> io::Result<()>;

    /// Makes everything durable that any process wrote to the file system of `root`.
    fn sync_file_system(&self, root: &Path, site: Site) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn make_directories(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam of the durable module")]
    fn rename(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::rename(file, name)
    }

    fn remove_file(&self, name: &Path) -> io::Result<()> {
        fs::remove_file(name)
    }

    fn sync_file(&self, file: &File, _site: Site) -> io::Result<()> {
        about_to_block();
        file.sync_all()
    }

    fn sync_data(&self, file: &File, _site: Site) -> io::Result<()> {
        about_to_block();
        file.sync_data()
    }

    fn sync_directory(&self, directory: &Path, _site: Site) -> io::Result<()> {
        about_to_block();
        File::open(directory)?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self, root: &Path, _site: Site) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(root)?)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self, root: &Path, site: Site) -> io::Result<()> {
        self.sync_directory(root, site)
    }
}
