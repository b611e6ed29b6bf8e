//! The classic twin of an archive, for clients that cannot read archives.
//!
//! A twin is a table file with the archive's chunks in the order of their spans, each once. What the archive
//! keeps as a snappy record is copied, what it keeps as a zstd frame is decompressed and compressed again. The
//! same archive always gives the same twin, byte for byte, so that any server can make it again.

use std::sync::Arc;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::objects::{ObjectStore, ObjectUpload};
use crate::pool::BlockingPool;
use crate::repo::check::{ChildrenRefused, FindChildren, UploadError};
use crate::repo::file::FileKind;
use crate::repo::receive::{MadeFile, Upload, Verified};
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

/// Checks a twin as bytes alone: what its chunks refer to was checked with the archive.
pub async fn check_twin(
    twin: MadeFile,
    id: UploadId,
    object: Box<dyn ObjectUpload>,
    pool: &BlockingPool,
) -> Result<Upload<Verified>, UploadError> {
    twin.check(id, object, Arc::new(NoChildren), pool).await
}

struct NoChildren;

impl FindChildren for NoChildren {
    fn children(
        &self,
        _chunk: &[u8],
        _visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        Ok(())
    }
}
