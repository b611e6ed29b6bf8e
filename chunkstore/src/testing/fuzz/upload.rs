//! A whole file at the door of a repository: what the check of uploads takes must be what the decoders read.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::slice;
use crate::address::TableFileId;
use crate::clock::SystemClock;
use crate::format::{FileKind, MAX_CHUNK_LEN, archive, table};
use crate::hash::hash_chunk;
use crate::id::{PoolId, UploadId};
use crate::index::ChunkEntry;
use crate::objects::ObjectStore as _;
use crate::objects::memory::MemoryStore;
use crate::pool::BlockingPool;
use crate::repo::DeclaredFile;
use crate::repo::check::UploadError;
use crate::repo::layout;
use crate::repo::receive::{CheckedFile, Upload};
use crate::repo::spool::{SpoolDir, SpoolOptions};
use crate::testing::worlds::TestMeaning;

thread_local! {
    static DOOR: Door = Door::new();
}

/// An upload of a file, whose sender declares whatever can be read off it. It is taken if, and only if, every
/// chunk of it can be read and is what its address says; nothing is left of it.
pub fn upload(bytes: &[u8]) {
    let kind = FileKind::detect(bytes).unwrap_or(FileKind::Table);
    let sound = match kind {
        FileKind::Table => sound_table(bytes),
        FileKind::Archive => sound_archive(bytes),
    };
    DOOR.with(|door| {
        let taken = door.runtime.block_on(door.take_in(kind, bytes));
        match (&taken, &sound) {
            (Ok(checked), Some(sound)) => {
                let entries = checked.entries().expect("the entries were just sorted");
                let entries: Result<Vec<_>, _> = entries.collect();
                let entries = entries.expect("the entries were just sorted");
                assert_eq!(&entries, sound);
            }
            (Ok(_), None) => panic!("a file was taken that cannot be read"),
            (Err(error), Some(_)) => panic!("a sound file was refused: {error:?}"),
            (Err(_), None) => {}
        }
        drop(taken);
        assert_eq!(door.left(), 0);
    });
}

/// Where uploads come in.
struct Door {
    runtime: Runtime,
    objects: MemoryStore,
    pool: BlockingPool,
    spool: SpoolDir,
    scratch: TempDir,
}

impl Door {
    fn new() -> Self {
        let scratch = TempDir::new().expect("there is room for temporary files");
        let pool = BlockingPool::new(2);
        let options = SpoolOptions {
            max_total_bytes: 1 << 30,
            free_floor_bytes: 0,
        };
        let spool = SpoolDir::open(scratch.path(), options, pool.clone());
        let runtime = Builder::new_current_thread().build();
        Self {
            runtime: runtime.expect("a runtime of one thread"),
            objects: MemoryStore::new(Arc::new(SystemClock::new())),
            pool,
            spool: spool.expect("a temporary folder can be written"),
            scratch,
        }
    }

    async fn take_in(&self, kind: FileKind, bytes: &[u8]) -> Result<CheckedFile, UploadError> {
        let (id, chunks) = declared(kind, bytes);
        let declared = DeclaredFile {
            id,
            kind,
            len: bytes.len() as u64,
            chunks,
            md5: None,
        };
        let upload_id = UploadId::new([7; 16]);
        let key = layout::file_of(PoolId::new([7; 16]), id, upload_id, kind);
        let spool = self.spool.create(declared.len).await?;
        let object = self.objects.upload(&key, spool.path()).await;
        let object = object.expect("a store in memory takes any upload");
        let mut upload = Upload::begin(upload_id, declared, spool, object);
        for piece in bytes.chunks(1000) {
            upload.write(Bytes::copy_from_slice(piece)).await?;
        }
        let verified = upload.check(Arc::new(TestMeaning), &self.pool).await?;
        let checked = verified.checked().clone();
        verified.abandon().await;
        Ok(checked)
    }

    /// How many files are in the spool.
    fn left(&self) -> usize {
        let entries = std::fs::read_dir(self.scratch.path());
        entries.expect("the folder is there").count()
    }
}

/// The name and the count that an honest client declares of a file.
fn declared(kind: FileKind, bytes: &[u8]) -> (TableFileId, u32) {
    let len = bytes.len() as u64;
    match kind {
        FileKind::Table => {
            let count = table::Layout::decode(bytes, len).map_or(0, |layout| layout.count());
            let index = table::Index::decode_file(bytes);
            let id = index.map_or(TableFileId::ZERO, |(_, index)| index.file_id());
            (id, count)
        }
        FileKind::Archive => {
            let count = archive::Layout::decode(bytes, len).map_or(0, |layout| layout.count());
            (TableFileId::new([7; 20]), count)
        }
    }
}

/// The entries of a table file of which everything is right.
fn sound_table(bytes: &[u8]) -> Option<Vec<ChunkEntry>> {
    let (layout, index) = table::Index::decode_file(bytes).ok()?;
    let mut total = 0;
    for entry in index.in_file_order() {
        let mut chunk = Vec::new();
        let record = slice(bytes, entry.span.data);
        table::record::decode(record, MAX_CHUNK_LEN, &mut chunk).ok()?;
        total += chunk.len() as u64;
        if hash_chunk(&chunk) != entry.address {
            return None;
        }
    }
    (layout.uncompressed_len() == total).then(|| index.in_address_order().collect())
}

/// The entries of an archive of which everything is right.
fn sound_archive(bytes: &[u8]) -> Option<Vec<ChunkEntry>> {
    let (layout, index) = archive::Index::decode_file(bytes).ok()?;
    let metadata = layout.metadata();
    let start = usize::try_from(metadata.start).expect("found inside a slice");
    let end = usize::try_from(metadata.end).expect("found inside a slice");
    archive::decode_metadata(&bytes[start..end]).ok()?;
    let mut decoder = archive::Decoder::new();
    for entry in index.in_file_order() {
        let dictionary = match entry.span.dictionary {
            None => None,
            Some(span) => Some(archive::Dictionary::decode(slice(bytes, span)).ok()?),
        };
        let mut chunk = Vec::new();
        let stored = slice(bytes, entry.span.data);
        let decoded = decoder.decode(stored, dictionary.as_ref(), MAX_CHUNK_LEN, &mut chunk);
        decoded.ok()?;
        if hash_chunk(&chunk) != entry.address {
            return None;
        }
    }
    Some(index.in_address_order().collect())
}
