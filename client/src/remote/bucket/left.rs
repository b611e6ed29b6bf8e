//! Parts of uploads that were cut off: a bucket keeps them, seen by no reader and paid for, until they are given up.
//!
//! Only long uploads have parts, and another client may be sending one: those that were begun a week ago cannot be under
//! way. A bucket with a lifecycle rule for them needs none of this.

use std::time::Duration;

use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::objects::ObjectKey;

use super::Bucket;

/// Uploads that were begun before are not under way.
const LEFT_AFTER: Duration = Duration::from_hours(7 * 24);

impl Bucket {
    /// Gives up the uploads of table files that were left here. They cost room and no more, so a failure hinders nothing.
    pub(super) async fn give_up_left_uploads(&self) {
        if let Some(store) = &self.s3 {
            drop(store.give_up_left_uploads(LEFT_AFTER, is_table_file).await);
        }
    }
}

/// Whether a key is that of a table file or an archive.
fn is_table_file(key: &ObjectKey) -> bool {
    let name = key.as_str();
    let id = name
        .strip_suffix(FileKind::Archive.suffix())
        .unwrap_or(name);
    id.parse::<TableFileId>().is_ok()
}
