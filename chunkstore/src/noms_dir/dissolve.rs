//! A store that nobody uses yet, taken apart so that it can be made anew of the same files.
//!
//! * Truth: the store, whose lock is held meanwhile; the lock file stays.
//! * Order: the manifest goes first, so that there is no store whose files are missing; then the file that holds the
//!   root, for another root will be written; then the table files move, one by one.
//! * Crash: no store, and some of the files in either place. The same call goes on.

use std::path::Path;

use super::error::{StoreError, io};
use super::lock::StoreLock;
use super::{NomsDir, Place, file_name, layout};
use crate::address::TableFileId;
use crate::format::FileKind;
use crate::objects::durable;

/// Moves the table files of a store to `folder`, which is there, on the same file system; but for the file with the
/// store's root. Files that no manifest lists move as well. Nothing happens where there is no store. Blocks.
///
/// # Errors
/// [`StoreError::Held`] when another process holds the lock of the store, which stays as it is.
pub fn dissolve(directory: &Path, folder: &Path) -> Result<(), StoreError> {
    if !directory.is_dir() {
        return Ok(());
    }
    let _lock = StoreLock::take(directory)?;
    let of_root = match NomsDir::open(directory) {
        Ok(store) => file_of_root(&store)?,
        Err(StoreError::NoStore { .. }) => None,
        Err(error) => return Err(error),
    };
    let of_root = of_root.map(|id| file_name(id, FileKind::Table));
    let names = [layout::MANIFEST, layout::GHOSTS].map(str::to_owned);
    for name in names.into_iter().chain(of_root) {
        remove(&directory.join(name))?;
    }
    for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
        let name = entry.map_err(io("list", directory))?.file_name();
        let is_table = |name: &str| name != layout::JOURNAL && name.parse::<TableFileId>().is_ok();
        if name.to_str().is_some_and(is_table) {
            let path = directory.join(&name);
            durable::rename_only(&path, &folder.join(&name)).map_err(io("move", &path))?;
        }
    }
    Ok(())
}

fn file_of_root(store: &NomsDir) -> Result<Option<TableFileId>, StoreError> {
    let Some(root) = store.root().chunk() else {
        return Ok(None);
    };
    Ok(match store.find(root)? {
        Some(Place::File { file, .. }) => store.file(file).map(|file| file.id()),
        Some(Place::Journal { .. }) | None => None,
    })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match durable::remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
