//! Several stored files made one, so that a repository of many pushes does not end up as many small files.
//!
//! Table files alone make a table file; with an archive among them they make an archive. Stored chunks are
//! copied as they are, dictionaries with them, each distinct one once. Of equal chunks the one in the first
//! file stays. The order of the chunks is that of the files as given, and inside each its own.

use crate::objects::ObjectStore;
use crate::repo::file::FileKind;
use crate::repo::receive::MadeFile;
use crate::repo::rewrite::{InputFile, RewriteError, rewrite};
use crate::repo::spool::SpoolDir;

/// Copies all chunks of the inputs into one file in the spool.
pub async fn conjoin(
    store: &dyn ObjectStore,
    inputs: &[InputFile],
    spool: &SpoolDir,
) -> Result<MadeFile, RewriteError> {
    let has_archive = inputs
        .iter()
        .any(|input| input.file.kind == FileKind::Archive);
    let kind = match has_archive {
        true => FileKind::Archive,
        false => FileKind::Table,
    };
    rewrite(store, inputs, kind, spool).await
}
