//! A large object on its way into a bucket.
//!
//! Parts are sent while the spool file grows, and read back from it, so that memory does not depend on their
//! size. What stays below the first part's size goes in one request. Parts grow, so that 10,000 of them are enough
//! for the largest object that S3 takes:
//!
//! ```text
//! part    1 … 1000   1001 … 2000   2001 … 3000   …   9001 … 10000
//! each       8 MiB        16 MiB        32 MiB   …          4 GiB
//! ```

use std::mem;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use data_encoding::BASE64;
use md5::{Digest as _, Md5};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::debug;

use super::{Failure, HASH_INLINE_BYTES, S3Store};
use crate::objects::{MAX_PIECE_BYTES, ObjectError, ObjectKey, ObjectStore as _, ObjectUpload};

const FIRST_PART_BYTES: u64 = 8 << 20;
const PARTS_OF_A_SIZE: i32 = 1000;
const MAX_PARTS: i32 = 10_000;
/// How many parts of one upload are under way at once.
const PARTS_AT_ONCE: usize = 4;

#[derive(Debug)]
pub(super) struct S3Upload {
    target: Target,
    /// The part being collected.
    part: Part,
    /// The id of the multipart upload while it is open.
    multipart: Option<String>,
    sending: JoinSet<Result<CompletedPart, ObjectError>>,
    sent: Vec<CompletedPart>,
}

/// Where the bytes come from and go to.
#[derive(Debug, Clone)]
struct Target {
    store: S3Store,
    key: ObjectKey,
    spool: PathBuf,
}

/// A stretch of the spool file.
struct Part {
    number: i32,
    start: u64,
    len: u64,
    md5: Md5,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("number", &self.number)
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl S3Upload {
    pub(super) fn new(store: S3Store, key: &ObjectKey, spool: &Path) -> Self {
        Self {
            target: Target {
                store,
                key: key.clone(),
                spool: spool.to_owned(),
            },
            part: Part::new(1, 0),
            multipart: None,
            sending: JoinSet::new(),
            sent: Vec::new(),
        }
    }

    /// Sends the part that was collected and begins the next.
    async fn send_part(&mut self) -> Result<(), ObjectError> {
        if self.part.number > MAX_PARTS {
            let text = "it has more bytes than S3 takes";
            return Err(ObjectError::refused("upload", &self.target.key, text));
        }
        let upload_id = match &self.multipart {
            Some(id) => id.clone(),
            None => {
                let id = self.target.begin().await?;
                self.multipart.insert(id).clone()
            }
        };
        while self.sending.len() >= PARTS_AT_ONCE {
            self.collect_sent().await?;
        }
        let next = Part::new(self.part.number + 1, self.part.start + self.part.len);
        let part = mem::replace(&mut self.part, next);
        let target = self.target.clone();
        self.sending
            .spawn(async move { target.send(&upload_id, part).await });
        Ok(())
    }

    /// Waits for one part that is under way.
    async fn collect_sent(&mut self) -> Result<(), ObjectError> {
        match self.sending.join_next().await {
            None => Ok(()),
            Some(Ok(outcome)) => {
                self.sent.push(outcome?);
                Ok(())
            }
            Some(Err(error)) => Err(ObjectError::failed("upload", &self.target.key, error)),
        }
    }

    async fn finish(&mut self) -> Result<(), ObjectError> {
        self.target
            .check_spool(self.part.start + self.part.len)
            .await?;
        if self.multipart.is_none() {
            let part = mem::replace(&mut self.part, Part::new(1, 0));
            return self.target.put(part).await;
        }
        if self.part.len > 0 {
            self.send_part().await?;
        }
        while !self.sending.is_empty() {
            self.collect_sent().await?;
        }
        self.sent.sort_by_key(CompletedPart::part_number);
        // After a failed write a part is missing, whatever the caller thinks.
        let is_whole =
            (1..self.part.number).eq(self.sent.iter().filter_map(|part| part.part_number()));
        if !is_whole {
            let text = "a part of it was not stored";
            return Err(ObjectError::refused("complete", &self.target.key, text));
        }
        let upload_id = self.multipart.as_deref().unwrap_or_default();
        let len = self.part.start + self.part.len;
        self.target.complete(upload_id, &self.sent, len).await
    }

    async fn give_up(&mut self) {
        self.sending.shutdown().await;
        if let Some(id) = &self.multipart {
            self.target.abort(id).await;
            self.multipart = None;
        }
    }
}

impl Drop for S3Upload {
    /// Whoever drops an upload does not wait, so the parts are removed behind his back. Where the process ends
    /// before that, a lifecycle rule of the bucket must remove them.
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.multipart.take(), Handle::try_current()) else {
            return;
        };
        let (target, mut sending) = (self.target.clone(), mem::take(&mut self.sending));
        runtime.spawn(async move {
            // A part that came after the end would stay.
            sending.shutdown().await;
            target.abort(&id).await;
        });
    }
}

impl Part {
    fn new(number: i32, start: u64) -> Self {
        Self {
            number,
            start,
            len: 0,
            md5: Md5::new(),
        }
    }

    /// How long the part with this number is, unless it is the last.
    fn full_len(number: i32) -> u64 {
        FIRST_PART_BYTES << ((number - 1) / PARTS_OF_A_SIZE).clamp(0, 9)
    }

    fn missing(&self) -> usize {
        let missing = Self::full_len(self.number) - self.len;
        usize::try_from(missing).unwrap_or(usize::MAX)
    }

    async fn body(
        &self,
        spool: &Path,
    ) -> Result<ByteStream, aws_sdk_s3::primitives::ByteStreamError> {
        ByteStream::read_from()
            .path(spool)
            .offset(self.start)
            .length(Length::Exact(self.len))
            .buffer_size(MAX_PIECE_BYTES)
            .build()
            .await
    }

    fn content_len(&self) -> Option<i64> {
        i64::try_from(self.len).ok()
    }

    fn content_md5(&self) -> String {
        BASE64.encode(&self.md5.clone().finalize())
    }
}

impl Target {
    async fn begin(&self) -> Result<String, ObjectError> {
        let (store, key) = (&self.store, &self.key);
        store
            .retry
            .run(|| async {
                let request = store.client().create_multipart_upload();
                let request = request.bucket(store.bucket()).key(store.name(key));
                let answer = request.send().await;
                let answer =
                    answer.map_err(|error| Failure::new(error).into_error("begin", key))?;
                answer
                    .upload_id
                    .ok_or_else(|| ObjectError::failed("begin", key, "the answer has no id"))
            })
            .await
    }

    async fn send(&self, upload_id: &str, part: Part) -> Result<CompletedPart, ObjectError> {
        let (store, key, part) = (&self.store, &self.key, &part);
        let _turn = store
            .parts
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let md5 = part.content_md5();
        let fail = |failure: Failure| failure.into_error("send a part of", key);
        store
            .retry
            .run(|| async {
                let body = part.body(&self.spool).await;
                let body = body.map_err(|error| self.spool_error(error))?;
                let request = store.connection.bulk.upload_part();
                let request = request.bucket(store.bucket()).key(store.name(key));
                let request = request.upload_id(upload_id).part_number(part.number);
                let request = request.set_content_length(part.content_len());
                let request = request.content_md5(&md5).body(body);
                let answer = request
                    .send()
                    .await
                    .map_err(|error| fail(Failure::new(error)))?;
                Ok(CompletedPart::builder()
                    .part_number(part.number)
                    .set_e_tag(answer.e_tag)
                    .build())
            })
            .await
    }

    /// Stores an object that is smaller than a part.
    async fn put(&self, part: Part) -> Result<(), ObjectError> {
        let (store, key, part) = (&self.store, &self.key, &part);
        let md5 = part.content_md5();
        // Read ahead of the request, so that a spool file that cannot be read is not taken for a server's fault.
        drop(
            part.body(&self.spool)
                .await
                .map_err(|error| self.spool_error(error))?,
        );
        self.create(part.len, || async {
            let body = part.body(&self.spool).await.unwrap_or_default();
            let request = store.connection.bulk.put_object().bucket(store.bucket());
            let request = request.key(store.name(key)).if_none_match("*");
            let request = request.set_content_length(part.content_len());
            let request = request.content_md5(&md5).body(body);
            request.send().await.map(drop).map_err(Failure::new)
        })
        .await
    }

    /// Joins the parts to an object of `len` bytes.
    async fn complete(
        &self,
        upload_id: &str,
        parts: &[CompletedPart],
        len: u64,
    ) -> Result<(), ObjectError> {
        let (store, key) = (&self.store, &self.key);
        // Some servers honor the condition on objects but not here.
        match store.retry.run(|| store.head(key)).await {
            Ok(_) => return Err(ObjectError::AlreadyExists { key: key.clone() }),
            Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.create(len, || async {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
            let request = store.connection.bulk.complete_multipart_upload();
            let request = request.bucket(store.bucket()).key(store.name(key));
            let request = request.upload_id(upload_id).if_none_match("*");
            let request = request.multipart_upload(parts.build());
            request.send().await.map(drop).map_err(Failure::new)
        })
        .await
    }

    /// Sends the request that makes the object, and again after a passing fault. Whatever a repeated request is
    /// answered, an object of our length is what an earlier one made: nobody else has this key.
    async fn create<F>(&self, len: u64, send: impl Fn() -> F) -> Result<(), ObjectError>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let (store, key, send) = (&self.store, &self.key, &send);
        let mut attempts = 0;
        store
            .retry
            .run(|| {
                attempts += 1;
                let is_repeated = attempts > 1;
                async move {
                    let error = match store.create_once("complete", key, send).await {
                        Err(error) if is_repeated => error,
                        outcome => return outcome,
                    };
                    match store.head(key).await {
                        Ok(meta) if meta.len == len => Ok(()),
                        _ => Err(error),
                    }
                }
            })
            .await
    }

    async fn abort(&self, upload_id: &str) {
        let store = &self.store;
        let outcome = store
            .retry
            .run(|| async {
                let request = store.client().abort_multipart_upload();
                let request = request.bucket(store.bucket()).key(store.name(&self.key));
                let answer = request.upload_id(upload_id).send().await;
                answer.map_err(|error| Failure::new(error).into_error("give up", &self.key))
            })
            .await;
        if let Err(error) = outcome {
            // Parts that stay cost room, not truth.
            debug!(key = %self.key, %error, "parts of an upload were left behind");
        }
    }

    async fn check_spool(&self, len: u64) -> Result<(), ObjectError> {
        let spool = self.spool.clone();
        let metadata = self
            .store
            .hashing
            .run(move || std::fs::metadata(spool))
            .await;
        let spooled = metadata.map_err(|error| self.spool_error(error))?.len();
        if spooled == len {
            return Ok(());
        }
        let text = format!("{len} bytes were handed over, the spool file has {spooled}");
        Err(ObjectError::refused("complete", &self.key, text))
    }

    fn spool_error(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ObjectError {
        ObjectError::refused("read the spool file of", &self.key, error)
    }
}

#[async_trait]
impl ObjectUpload for S3Upload {
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        let mut piece = piece;
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(self.part.missing()));
            self.part.len += taken.len() as u64;
            if taken.len() <= HASH_INLINE_BYTES {
                self.part.md5.update(&taken);
            } else {
                let mut md5 = mem::take(&mut self.part.md5);
                let hash = move || {
                    md5.update(&taken);
                    md5
                };
                self.part.md5 = self.target.store.hashing.run(hash).await;
            }
            if self.part.missing() == 0 {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<(), ObjectError> {
        let outcome = self.finish().await;
        match outcome {
            Ok(()) => self.multipart = None,
            Err(_) => self.give_up().await,
        }
        outcome
    }

    async fn abort(mut self: Box<Self>) {
        self.give_up().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough_and_none_is_too_long() {
        let total: u64 = (1..=MAX_PARTS).map(Part::full_len).sum();
        assert!(total > 5 << 40, "S3 takes objects of 5 TiB");
        assert_eq!(Part::full_len(1), 8 << 20);
        assert_eq!(Part::full_len(1001), 16 << 20);
        assert!(Part::full_len(MAX_PARTS) <= 5 << 30);
    }
}
