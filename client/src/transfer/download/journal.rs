//! A table file of the journal that a live database handed out.

use std::path::Path;

use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::noms_dir::{Journal, NewFile, StoreError};

use crate::database::io;
use crate::transfer::check::read_checked;
use crate::transfer::error::TransferError;

/// Makes a table file of a journal, each chunk of which is checked; nothing of one without chunks. Blocks.
pub(super) fn convert(part: &Path, store: &Path) -> Result<Option<ListedFile>, TransferError> {
    let journal = Journal::open_file(part)?;
    if journal.count() == 0 {
        return Ok(None);
    }
    let encode = |source| StoreError::Encode {
        path: store.to_owned(),
        source,
    };
    let mut writer = table::Writer::new(NewFile::begin(store)?);
    let mut stored = Vec::new();
    for (address, span) in journal.in_file_order() {
        read_checked(&journal, address, span, &mut stored)?;
        writer.append_record(address, &stored).map_err(encode)?;
    }
    let (file, written) = writer.finish().map_err(encode)?;
    file.land(written.id, FileKind::Table)?;
    std::fs::remove_file(part).map_err(io("remove", part))?;
    Ok(Some(ListedFile {
        id: written.id,
        chunks: written.count,
    }))
}
