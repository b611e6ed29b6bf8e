//! Objects in a bucket: Amazon S3, or any server that speaks its protocol and honors `If-None-Match: *`.
//!
//! # Truth
//! The bucket. An object comes into being by one conditional request, whole.
//! # Crash
//! A crash during an upload leaves parts that nobody sees; a lifecycle rule that aborts incomplete multipart
//! uploads removes them, or a later start, when they are old. Those of an upload that was dropped are removed at once.
//! # Retry
//! What an upload sends is sent again here, its last request too: its key is its own, so that a look at the object
//! tells whether that request took effect. Any other conditional request is repeated only where the server
//! answered 409, which says that it did nothing. All else is for [`super::retrying`]; the SDK's own retries are off,
//! since they would repeat creates.
//! # Secrets
//! Neither keys nor signed addresses are printed, logged, or part of an error.

mod config;
mod failure;
mod left_uploads;
mod lifecycle;
mod replace;
mod signer;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use data_encoding::BASE64;
use futures::{StreamExt as _, stream};
use md5::{Digest as _, Md5};
use tokio::sync::Semaphore;

use self::config::{PART_TIMEOUT, config, timeouts};
pub use self::config::{S3Credentials, S3Settings};
use self::failure::Failure;
pub use self::lifecycle::Lifecycle;
use self::signer::{Signer, Wanted};
use self::upload::S3Upload;
use super::retrying::{Retry, RetryPolicy};
use super::{
    MAX_PIECE_BYTES, ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload,
    SignedAddress, checked_range,
};
use crate::clock::{Clock, Timestamp};
use crate::pool::BlockingPool;

/// The longest list that S3 answers, and that we may.
const PAGE: i32 = 1000;
const CONFLICT_ATTEMPTS: u32 = 6;
const CONFLICT_DELAY: Duration = Duration::from_millis(50);
/// Bodies longer than this are hashed on a thread that may block.
const HASH_INLINE_BYTES: usize = 128 << 10;
const HASH_THREADS: usize = 4;
/// How many parts of all uploads together are under way at once.
const PARTS_IN_ALL: usize = 64;

/// Objects in a bucket. Clones share the connections.
#[derive(Clone)]
pub struct S3Store {
    connection: Arc<Connection>,
    clock: Arc<dyn Clock>,
    retry: Retry,
    hashing: BlockingPool,
    /// Turns to send a part.
    parts: Arc<Semaphore>,
}

struct Connection {
    bucket: String,
    /// Empty, or ending in `/`.
    prefix: String,
    client: Client,
    /// The same with more patience.
    bulk: Client,
    /// Signs with the public address.
    signer: Signer,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("bucket", &self.connection.bucket)
            .field("prefix", &self.connection.prefix)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// Makes ready to talk to a bucket, without talking to it.
    pub async fn new(settings: S3Settings, clock: Arc<dyn Clock>) -> Self {
        let (config, keys) = config(&settings).await;
        let client = Client::from_conf(config.clone().build());
        let bulk = config.clone().timeout_config(timeouts(PART_TIMEOUT));
        let signer = match settings.public_endpoint.or(settings.endpoint) {
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config,
        };
        let prefix = settings.prefix.map(|prefix| format!("{prefix}/"));
        Self {
            connection: Arc::new(Connection {
                bucket: settings.bucket,
                prefix: prefix.unwrap_or_default(),
                client,
                bulk: Client::from_conf(bulk.build()),
                signer: Signer::new(signer, Box::new(keys)),
            }),
            retry: Retry::new(
                RetryPolicy {
                    // A part may take minutes on a slow line; how long an attempt hangs is bounded by the client.
                    patience: Duration::MAX,
                    ..RetryPolicy::default()
                },
                Arc::clone(&clock),
            ),
            clock,
            hashing: BlockingPool::new(HASH_THREADS),
            parts: Arc::new(Semaphore::new(PARTS_IN_ALL)),
        }
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }

    fn bucket(&self) -> &str {
        &self.connection.bucket
    }

    /// The key as the bucket knows it.
    fn name(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.connection.prefix)
    }

    /// The value of a `Content-MD5` header.
    async fn content_md5(&self, body: &Bytes) -> String {
        let digest = if body.len() <= HASH_INLINE_BYTES {
            Md5::digest(body)
        } else {
            let body = body.clone();
            self.hashing.run(move || Md5::digest(&body)).await
        };
        BASE64.encode(&digest)
    }

    /// Sends a request that creates an object. Repeats it while the server answers that another one for the
    /// same key is under way; such an answer means that nothing was done.
    async fn create_once<F>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        mut send: impl FnMut() -> F,
    ) -> Result<(), ObjectError>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let mut attempt = 1;
        loop {
            match send().await {
                Err(failure) if failure.is_precondition() => {
                    return Err(ObjectError::AlreadyExists { key: key.clone() });
                }
                Err(failure) if failure.is_conflict() && attempt < CONFLICT_ATTEMPTS => {
                    self.clock.sleep(CONFLICT_DELAY * attempt).await;
                    attempt += 1;
                }
                outcome => return outcome.map_err(|failure| failure.into_error(action, key)),
            }
        }
    }

    /// The error for a range that the server did not answer.
    async fn range_error(&self, key: &ObjectKey, range: Range<u64>) -> ObjectError {
        match self.head(key).await {
            Ok(meta) => match checked_range(key, Some(range), meta.len) {
                Err(error) => error,
                Ok(_) => ObjectError::failed("read", key, "the server refused a range inside it"),
            },
            Err(error) => error,
        }
    }
}

fn timestamp(time: Option<&DateTime>) -> Timestamp {
    let millis = time.and_then(|time| time.to_millis().ok());
    Timestamp(
        millis
            .and_then(|millis| u64::try_from(millis).ok())
            .unwrap_or(0),
    )
}

fn length(len: Option<i64>) -> Option<u64> {
    len.and_then(|len| u64::try_from(len).ok())
}

/// What part of the object an answer holds, and how long the object is.
fn answered(answer: &GetObjectOutput) -> Option<(Range<u64>, u64)> {
    let Some(text) = answer.content_range() else {
        let len = length(answer.content_length())?;
        return Some((0..len, len));
    };
    let (range, len) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, len.parse().ok()?))
}

/// The pieces of an answer: exactly `len` bytes, or an error.
struct Download {
    key: ObjectKey,
    body: ByteStream,
    /// Arrived, and not yet handed on.
    piece: Bytes,
    missing: u64,
}

impl Download {
    async fn next(&mut self) -> Option<Result<Bytes, ObjectError>> {
        while self.piece.is_empty() {
            match self.body.next().await {
                None if self.missing == 0 => return None,
                None => return Some(Err(self.broken("the answer ended too early"))),
                Some(Err(error)) => return Some(Err(self.broken(error))),
                Some(Ok(piece)) => match self.missing.checked_sub(piece.len() as u64) {
                    Some(missing) => (self.missing, self.piece) = (missing, piece),
                    None => return Some(Err(self.broken("the answer is too long"))),
                },
            }
        }
        let len = self.piece.len().min(MAX_PIECE_BYTES);
        Some(Ok(self.piece.split_to(len)))
    }

    /// The error that ends the body.
    fn broken(
        &mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ObjectError {
        (self.missing, self.body) = (0, ByteStream::default());
        ObjectError::failed("read", &self.key, source)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let header = match &range {
            Some(range) if range.is_empty() => {
                return Err(self.range_error(key, range.clone()).await);
            }
            Some(range) => Some(format!("bytes={}-{}", range.start, range.end - 1)),
            None => None,
        };
        let request = self.client().get_object().bucket(self.bucket());
        let answer = match request.key(self.name(key)).set_range(header).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::new(error);
                return match range {
                    Some(range) if failure.is_range() => Err(self.range_error(key, range).await),
                    _ => Err(failure.into_error("read", key)),
                };
            }
        };
        let Some((got, object_len)) = answered(&answer) else {
            return Err(ObjectError::failed("read", key, "the answer has no length"));
        };
        let wanted = checked_range(key, range, object_len)?;
        if got != wanted {
            let text = format!("asked for {wanted:?}, was answered {got:?}");
            return Err(ObjectError::failed("read", key, text));
        }
        let download = Download {
            key: key.clone(),
            body: answer.body,
            piece: Bytes::new(),
            missing: wanted.end - wanted.start,
        };
        let pieces = stream::unfold(download, |mut download| async move {
            let piece = download.next().await?;
            Some((piece, download))
        });
        Ok(ObjectBody {
            object_len,
            range: wanted,
            stream: pieces.boxed(),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let request = self.client().head_object().bucket(self.bucket());
        let answer = request.key(self.name(key)).send().await;
        let answer = answer.map_err(|error| Failure::new(error).into_error("look up", key))?;
        let len = length(answer.content_length())
            .ok_or_else(|| ObjectError::failed("look up", key, "the answer has no length"))?;
        Ok(ObjectMeta {
            key: key.clone(),
            len,
            modified: timestamp(answer.last_modified()),
        })
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let md5 = self.content_md5(&body).await;
        self.create_once("create", key, || {
            let request = self.client().put_object().bucket(self.bucket());
            let request = request.key(self.name(key)).if_none_match("*");
            let request = request.content_md5(&md5).body(body.clone().into());
            async { request.send().await.map(drop).map_err(Failure::new) }
        })
        .await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let md5 = self.content_md5(&body).await;
        let request = self.client().put_object().bucket(self.bucket());
        let request = request.key(self.name(key)).content_md5(md5);
        match request.body(body.into()).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(error).into_error("overwrite", key)),
        }
    }

    /// Sends parts while the spool file grows; each is read from there, so memory does not grow with them.
    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        Ok(Box::new(S3Upload::new(self.clone(), key, spool)))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let ours = &self.connection.prefix;
        let named = after
            .cloned()
            .or_else(|| ObjectKey::parse(prefix.trim_end_matches('/')).ok());
        let key = named.unwrap_or_else(|| ObjectKey::parse("root").expect("`root` is a key"));
        let mut last = after.map(|after| self.name(after)).unwrap_or_default();
        let start = Some(last.clone()).filter(|start| !start.is_empty());
        let mut token = None;
        loop {
            let request = self.client().list_objects_v2().bucket(self.bucket());
            let request = request.prefix(format!("{ours}{prefix}")).max_keys(PAGE);
            let request = request
                .set_start_after(start.clone())
                .set_continuation_token(token);
            let answer = request.send().await;
            let page = answer.map_err(|error| Failure::new(error).into_error("list", &key))?;
            let mut found = Vec::new();
            for object in page.contents() {
                let name = object.key().unwrap_or_default();
                if name <= last.as_str() {
                    return Err(ObjectError::refused(
                        "list",
                        &key,
                        "the list is not in order",
                    ));
                }
                name.clone_into(&mut last);
                // What is not a key of ours somebody else put there.
                let ours = name.strip_prefix(ours.as_str()).map(ObjectKey::parse);
                if let (Some(Ok(key)), Some(len)) = (ours, length(object.size())) {
                    let modified = timestamp(object.last_modified());
                    found.push(ObjectMeta { key, len, modified });
                }
            }
            token = page.next_continuation_token;
            if !found.is_empty() || page.is_truncated != Some(true) || token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let request = self.client().delete_object().bucket(self.bucket());
        match request.key(self.name(key)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match Failure::new(error).into_error("delete", key) {
                ObjectError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        let wanted = Wanted {
            key,
            bucket: self.bucket(),
            name: self.name(key),
            signed_at,
            valid,
        };
        self.connection.signer.sign(wanted, self.clock.now()).await
    }

    /// Any number of servers may share a bucket.
    fn is_exclusive(&self) -> bool {
        false
    }
}
