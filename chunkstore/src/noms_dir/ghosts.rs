//! The list of commits that a shallow clone left out: one address a line.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use super::error::{StoreError, io};
use super::layout;
use crate::address::ChunkAddress;
use crate::objects::durable;

/// Reads the list; an empty one where there is none.
pub(super) fn read(directory: &Path) -> Result<HashSet<ChunkAddress>, StoreError> {
    let path = directory.join(layout::GHOSTS);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(io("read", &path)(error)),
    };
    let parse = |(line, text): (usize, &str)| {
        let parsed = text.parse();
        parsed.map_err(|_| StoreError::Ghosts {
            path: path.clone(),
            line: line + 1,
        })
    };
    text.lines().enumerate().map(parse).collect()
}

/// Writes the list anew, durably: a whole one stands there at every moment.
pub(super) fn write(
    directory: &Path,
    ghosts: impl IntoIterator<Item = ChunkAddress>,
) -> Result<(), StoreError> {
    let path = directory.join(layout::GHOSTS);
    let mut text = String::new();
    for ghost in ghosts {
        writeln!(text, "{ghost}").expect("text takes everything");
    }
    durable::write_over(&path, "ghostObjects-", 0o644, text.as_bytes()).map_err(io("write", &path))
}
