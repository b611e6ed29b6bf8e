//! How a move knows its own earlier run: by a mark among what is kept of transfers, and by nothing that a clone or a user
//! makes too.
//!
//! * Order: the mark is there before the database is, and goes when the move has come to its end.
//! * Crash: a database with its mark is whole, and the same move goes on with it.

use std::path::Path;

use super::{CloneRequest, place};
use crate::database::{DatabasePaths, io, remove};
use crate::transfer::error::TransferError;

/// Whether the same move has made the database in `directory`, and has not come to its end. Blocks.
pub fn is_moved(request: &CloneRequest, directory: &Path) -> bool {
    place(request, directory).is_moved()
}

/// Removes the mark of a move from the database in `directory`: from here on it is as any other. Blocks.
pub fn end_move(directory: &Path) -> Result<(), TransferError> {
    let paths = DatabasePaths::new(directory);
    remove(&paths.moved())?;
    let kept = paths.holdfast();
    match std::fs::remove_dir(&kept) {
        Err(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotFound
            ) =>
        {
            Err(io("remove", &kept)(error).into())
        }
        _ => Ok(()),
    }
}
