//! Multipart uploads that a crash left in the bucket: their parts are seen by nobody, and paid for.
//!
//! Other servers of the forge may be uploading. An upload is given up only under a key that is one of ours, and when it
//! was begun so long ago that it cannot be under way. The bucket's time and ours are minutes apart at most: a request
//! that is signed with another time is refused.

use std::time::Duration;

use aws_sdk_s3::types::MultipartUpload;
use futures::{StreamExt as _, stream};
use tracing::debug;

use super::failure::Failure;
use super::{S3Store, timestamp};
use crate::objects::{ObjectError, ObjectKey};

/// The most uploads that are given up at one start; the next start goes on.
const MOST: usize = 1000;
/// The most pages of a thousand uploads that are looked at.
const MOST_PAGES: usize = 10;
/// How many are given up at once.
const AT_ONCE: usize = 16;

/// An upload that was begun and not ended.
#[derive(Debug)]
struct LeftUpload {
    /// The key as the bucket knows it.
    name: String,
    id: String,
}

impl S3Store {
    /// Gives up the uploads of `is_ours` that were begun longer than `age` ago. Returns how many; nothing where the
    /// bucket's server does not tell which there are, or does not let us ask.
    pub async fn give_up_left_uploads(
        &self,
        age: Duration,
        is_ours: impl Fn(&ObjectKey) -> bool,
    ) -> Result<Option<usize>, ObjectError> {
        let mut left = Vec::new();
        let mut markers = (None, None);
        for _ in 0..MOST_PAGES {
            let listed = self.retry.run(|| self.list_uploads(markers.clone())).await;
            let Some((uploads, next)) = listed? else {
                return Ok(None);
            };
            let old = uploads.into_iter();
            left.extend(old.filter_map(|upload| self.as_left(&upload, age, &is_ours)));
            match next {
                Some(next) if left.len() < MOST => markers = next,
                _ => break,
            }
        }
        left.truncate(MOST);
        let given_up = stream::iter(left).map(|upload| self.give_up(upload));
        let given_up = given_up.buffer_unordered(AT_ONCE);
        let given_up = given_up.filter(|done| std::future::ready(*done));
        Ok(Some(given_up.count().await))
    }

    /// The upload, if it is one of ours and old enough.
    fn as_left(
        &self,
        upload: &MultipartUpload,
        age: Duration,
        is_ours: impl Fn(&ObjectKey) -> bool,
    ) -> Option<LeftUpload> {
        let (name, id) = (upload.key()?, upload.upload_id()?);
        // One whose time is not told is left alone.
        let begun = timestamp(Some(upload.initiated()?));
        let key = name.strip_prefix(&*self.connection.prefix)?;
        let key = ObjectKey::parse(key).ok()?;
        let is_left = self.clock.now().since(begun) > age && is_ours(&key);
        is_left.then(|| LeftUpload {
            name: name.to_owned(),
            id: id.to_owned(),
        })
    }

    /// One page of the uploads that are not ended, and where the next begins.
    async fn list_uploads(&self, (key, id): Markers) -> Result<Option<Page>, ObjectError> {
        let request = self.client().list_multipart_uploads().bucket(self.bucket());
        let request = request.prefix(&self.connection.prefix);
        let request = request.set_key_marker(key).set_upload_id_marker(id);
        let page = match request.send().await {
            Ok(page) => page,
            Err(error) => {
                let failure = Failure::new(error);
                if failure.is_not_offered() {
                    return Ok(None);
                }
                let key = ObjectKey::parse("pools").expect("the text is a key");
                return Err(failure.into_error("list the uploads under", &key));
            }
        };
        let is_last = page.is_truncated != Some(true) || page.next_key_marker.is_none();
        let next = (page.next_key_marker, page.next_upload_id_marker);
        Ok(Some((
            page.uploads.unwrap_or_default(),
            (!is_last).then_some(next),
        )))
    }

    /// Whether it is gone.
    async fn give_up(&self, upload: LeftUpload) -> bool {
        let request = self.client().abort_multipart_upload().bucket(self.bucket());
        let request = request.key(&upload.name).upload_id(&upload.id);
        match request.send().await {
            Ok(_) => true,
            Err(error) => {
                // The next start tries again.
                let failure = Failure::new(error);
                debug!(key = upload.name, %failure, "a left upload could not be given up");
                false
            }
        }
    }
}

/// The key and the id of the last upload of a page.
type Markers = (Option<String>, Option<String>);
type Page = (Vec<MultipartUpload>, Option<Markers>);
