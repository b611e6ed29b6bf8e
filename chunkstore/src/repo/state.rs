//! A repository after some record of its log (pure).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::address::{RootAddress, TableFileId};
use crate::clock::Timestamp;
use crate::id::UploadId;
use crate::repo::file::{Sha256, StoredFile};
use crate::repo::record::{RELEASES, Record, RetiredFile};

/// What a record does to the files of a repository, read in full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The files that it adds.
    pub added: Vec<StoredFile>,
    /// The files that it retires.
    pub retired: Vec<UploadId>,
    /// The files that it releases.
    pub released: Vec<UploadId>,
    /// The files that are deleted.
    pub deleted: Vec<UploadId>,
}

/// The lists of a checkpoint, read in full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointLists {
    /// The files that count.
    pub files: Vec<StoredFile>,
    /// The files that were retired.
    pub retired: Vec<RetiredFile>,
    /// The files that were released and are not deleted yet.
    pub released: Vec<RetiredFile>,
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
    /// The files that were retired: they count no more, and addresses of them may still be good.
    pub retired: Arc<BTreeMap<UploadId, RetiredFile>>,
    /// The files that were released: they are served no more, and their objects may still be there.
    pub released: Arc<BTreeMap<UploadId, RetiredFile>>,
    /// Up to this record no objects are kept beside checkpoints.
    pub cleared: u64,
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
            released: Arc::default(),
            cleared: 0,
        }
    }

    /// The state after `record`, whose bytes have `digest` and whose lists of files are `delta`.
    pub fn after(self, record: &Record, digest: Sha256, delta: Delta) -> Self {
        let mut after = Self {
            sequence: record.sequence,
            digest: Some(digest),
            time: record.time,
            root: record.new_root,
            cleared: record.cleared.unwrap_or(self.cleared).max(self.cleared),
            ..self
        };
        after.release(record, delta.released);
        if !delta.deleted.is_empty() {
            let released = Arc::make_mut(&mut after.released);
            released.retain(|upload, _| !delta.deleted.contains(upload));
        }
        if !(delta.added.is_empty() && delta.retired.is_empty()) {
            let files = Arc::make_mut(&mut after.files);
            files.extend(delta.added.into_iter().map(|file| (file.upload, file)));
            for upload in delta.retired {
                let file = files.remove(&upload);
                let retired = gone(record, upload, file);
                Arc::make_mut(&mut after.retired).insert(upload, retired);
            }
        }
        after
    }

    /// A file that was retired keeps the time at which it was.
    fn release(&mut self, record: &Record, released: Vec<UploadId>) {
        for upload in released {
            let counted = Arc::make_mut(&mut self.files).remove(&upload);
            let retired = Arc::make_mut(&mut self.retired).remove(&upload);
            let counted = counted.map(|file| gone(record, upload, Some(file)));
            if let Some(file) = retired.or(counted)
                && record.version >= RELEASES
            {
                Arc::make_mut(&mut self.released).insert(upload, file);
            }
        }
    }

    /// The state that a checkpoint, read in full, describes.
    pub fn from_checkpoint(
        record: &Record,
        digest: Sha256,
        lists: CheckpointLists,
        cleared: u64,
    ) -> Self {
        let by_upload = |files: Vec<RetiredFile>| {
            let known = files.into_iter().map(|file| {
                // An older version left it out; it was not later than this.
                let sequence = match file.sequence {
                    0 => record.sequence,
                    sequence => sequence,
                };
                (file.upload, RetiredFile { sequence, ..file })
            });
            Arc::new(known.collect())
        };
        let files = lists.files.into_iter().map(|file| (file.upload, file));
        Self {
            sequence: record.sequence,
            digest: Some(digest),
            time: record.time,
            root: record.new_root,
            files: Arc::new(files.collect()),
            retired: by_upload(lists.retired),
            released: by_upload(lists.released),
            cleared,
        }
    }

    /// Whether both say the same, as far as an older version wrote it down.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let all_agree = |ours: &BTreeMap<UploadId, RetiredFile>, theirs: &BTreeMap<_, _>| {
            let mut pairs = ours.values().zip(theirs.values());
            ours.len() == theirs.len() && pairs.all(|(one, other)| one.agrees_with(other))
        };
        let rest = |state: &Self| {
            (
                state.sequence,
                state.digest,
                state.time,
                state.root,
                state.cleared,
            )
        };
        rest(self) == rest(other)
            && self.files == other.files
            && all_agree(&self.retired, &other.retired)
            && all_agree(&self.released, &other.released)
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

/// A file that counts no more from `record` on.
fn gone(record: &Record, upload: UploadId, file: Option<StoredFile>) -> RetiredFile {
    RetiredFile {
        upload,
        at: record.time,
        sequence: record.sequence,
        file,
    }
}
