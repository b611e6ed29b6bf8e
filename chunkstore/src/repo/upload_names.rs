//! Under which names files were uploaded, where only their uploads are known.

use std::collections::BTreeMap;

use crate::address::TableFileId;
use crate::id::UploadId;
use crate::objects::ObjectMeta;
use crate::repo::error::{RepositoryError, object};
use crate::repo::layout;
use crate::repo::repository::Repository;

impl Repository {
    /// The names of the uploads that are wanted, as far as their notes are there. The list of uploads is read page by
    /// page: it grows with every push.
    pub(crate) async fn upload_names(
        &self,
        is_wanted: impl Fn(&UploadId) -> bool + Send,
    ) -> Result<BTreeMap<UploadId, TableFileId>, RepositoryError> {
        let mut names = BTreeMap::new();
        let named = |meta: &ObjectMeta| {
            let (file, upload) = meta.key.name().split_once('.')?;
            let upload: UploadId = upload.parse().ok()?;
            is_wanted(&upload).then_some((upload, file.parse().ok()?))
        };
        let objects = &self.shared.parts.objects;
        let prefix = layout::uploads(self.id());
        let mut last = None;
        loop {
            let page = objects.list(&prefix, last.as_ref()).await;
            let page = page.map_err(object("list the uploads"))?;
            names.extend(page.iter().filter_map(named));
            match page.into_iter().next_back() {
                Some(meta) => last = Some(meta.key),
                None => return Ok(names),
            }
        }
    }
}
