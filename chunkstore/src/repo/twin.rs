//! The classic twin of an archive, for clients that cannot read archives.
//!
//! A twin is a table file with the archive's chunks in the order of their spans, each once. What the archive
//! keeps as a snappy record is copied, what it keeps as a zstd frame is decompressed and compressed again. The
//! same archive always gives the same twin, byte for byte, so that any server can make it again.

use crate::objects::ObjectStore;
use crate::repo::file::FileKind;
use crate::repo::receive::MadeFile;
use crate::repo::rewrite::{InputFile, RewriteError, rewrite};
use crate::repo::spool::SpoolDir;

/// Makes the twin of an archive in the spool.
pub async fn make_twin(
    store: &dyn ObjectStore,
    archive: &InputFile,
    spool: &SpoolDir,
) -> Result<MadeFile, RewriteError> {
    rewrite(store, std::slice::from_ref(archive), FileKind::Table, spool).await
}
