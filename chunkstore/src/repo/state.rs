//! A repository after some record of its log (pure).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::address::{RootAddress, TableFileId};
use crate::clock::Timestamp;
use crate::id::UploadId;
use crate::repo::file::{Sha256, StoredFile};
use crate::repo::record::{Record, RetiredFile};

/// What a record does to the files of a repository, read in full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The files that it adds.
    pub added: Vec<StoredFile>,
    /// The files that it retires.
    pub retired: Vec<UploadId>,
    /// The files that it releases.
    pub released: Vec<UploadId>,
}

/// What a repository holds after the record `sequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The last record's number; 0 before the first.
    pub sequence: u64,
    /// The last record's digest.
    pub digest: Option<Sha256>,
    /// The last record's time.
    pub time: Timestamp,
    /// The root.
    pub root: RootAddress,
    /// The files that count, by upload.
    pub files: Arc<BTreeMap<UploadId, StoredFile>>,
    /// The files that were retired, with the time.
    pub retired: Arc<BTreeMap<UploadId, Timestamp>>,
}

impl State {
    /// Before the first record.
    pub fn empty() -> Self {
        Self {
            sequence: 0,
            digest: None,
            time: Timestamp(0),
            root: RootAddress::ZERO,
            files: Arc::default(),
            retired: Arc::default(),
        }
    }

    /// The state after `record`, whose bytes have `digest` and whose lists of files are `delta`.
    pub fn after(self, record: &Record, digest: Sha256, delta: Delta) -> Self {
        let Self {
            mut files,
            mut retired,
            ..
        } = self;
        for upload in delta.released {
            Arc::make_mut(&mut files).remove(&upload);
            Arc::make_mut(&mut retired).remove(&upload);
        }
        if !(delta.added.is_empty() && delta.retired.is_empty()) {
            let files = Arc::make_mut(&mut files);
            files.extend(delta.added.into_iter().map(|file| (file.upload, file)));
            for upload in delta.retired {
                files.remove(&upload);
                Arc::make_mut(&mut retired).insert(upload, record.time);
            }
        }
        Self {
            sequence: record.sequence,
            digest: Some(digest),
            time: record.time,
            root: record.new_root,
            files,
            retired,
        }
    }

    /// The state that a checkpoint, read in full, describes.
    pub fn from_checkpoint(
        record: &Record,
        digest: Sha256,
        files: Vec<StoredFile>,
        retired: &[RetiredFile],
    ) -> Self {
        Self {
            sequence: record.sequence,
            digest: Some(digest),
            time: record.time,
            root: record.new_root,
            files: Arc::new(files.into_iter().map(|file| (file.upload, file)).collect()),
            retired: Arc::new(retired.iter().map(|file| (file.upload, file.at)).collect()),
        }
    }

    /// The file that Dolt knows by `id`.
    pub fn file(&self, id: TableFileId) -> Option<&StoredFile> {
        self.files.values().find(|file| file.id == id)
    }

    /// The files that share their id with another, by id: a clone asks for an id and gets one of them. Nothing adds
    /// such files any more; logs of older versions may name them.
    pub fn sharing_an_id(&self) -> BTreeMap<TableFileId, Vec<&StoredFile>> {
        let mut seen = HashSet::with_capacity(self.files.len());
        let again = self.files.values().filter(|file| !seen.insert(file.id));
        let mut by_id: BTreeMap<TableFileId, Vec<&StoredFile>> =
            again.map(|file| (file.id, Vec::new())).collect();
        for file in self.files.values() {
            if let Some(files) = by_id.get_mut(&file.id) {
                files.push(file);
            }
        }
        by_id
    }

    /// Bytes in all files that count. A damaged record can claim more than there are numbers.
    pub fn stored_len(&self) -> u64 {
        let lengths = self.files.values().map(|file| file.len);
        lengths.fold(0, u64::saturating_add)
    }
}
