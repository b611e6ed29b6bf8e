//! The objects of a [`super::Bucket`], and the requests that it understands.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, stream};
use md5::{Digest as _, Md5};
use s3s::dto::{
    AbortIncompleteMultipartUpload, AbortMultipartUploadInput, AbortMultipartUploadOutput,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETag, ExpirationStatus,
    GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, IfMatch, IfNoneMatch, LifecycleExpiration,
    LifecycleRule, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsV2Input,
    ListObjectsV2Output, MultipartUpload, Object, PutObjectInput, PutObjectOutput, StreamingBlob,
    Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::{NAME, Shared};

const PAGE: usize = 20;
const SMALLEST_PART: usize = 5 << 20;

#[derive(Debug)]
pub(super) struct Storage {
    pub(super) objects: Arc<Objects>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: usize,
}

#[derive(Debug, Clone)]
struct Stored {
    body: Bytes,
    tag: String,
    modified: SystemTime,
}

#[derive(Debug)]
struct Upload {
    key: String,
    begun: SystemTime,
    parts: BTreeMap<i32, Stored>,
}

impl Stored {
    fn new(body: Bytes) -> Self {
        let tag = data_encoding::HEXLOWER.encode(&Md5::digest(&body));
        Self {
            body,
            tag,
            modified: SystemTime::now(),
        }
    }

    fn tag(&self) -> Option<ETag> {
        Some(ETag::Strong(self.tag.clone()))
    }

    fn modified(&self) -> Option<Timestamp> {
        Some(self.modified.into())
    }

    fn len(&self) -> Option<i64> {
        i64::try_from(self.body.len()).ok()
    }
}

impl Objects {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    pub(super) fn body(&self, key: &str) -> Option<Bytes> {
        self.state()
            .objects
            .get(key)
            .map(|stored| stored.body.clone())
    }

    pub(super) fn replace(&self, key: &str, body: Bytes) {
        self.state()
            .objects
            .insert(key.to_owned(), Stored::new(body));
    }

    pub(super) fn lose(&self, key: &str) {
        self.state().objects.remove(key);
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    pub(super) fn age_uploads(&self, age: Duration) {
        for upload in self.state().uploads.values_mut() {
            upload.begun -= age;
        }
    }

    fn find(&self, key: &str) -> S3Result<Stored> {
        let found = self.state().objects.get(key).cloned();
        found.ok_or_else(|| s3_error!(NoSuchKey))
    }
}

impl Storage {
    /// Refuses if the condition asks for nothing under the key and something is there.
    fn check(&self, state: &State, key: &str, condition: Option<&IfNoneMatch>) -> S3Result<()> {
        let is_taken = condition.is_some() && state.objects.contains_key(key);
        if is_taken && !self.shared.misbehavior().ignores_conditions {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(())
    }

    /// Refuses if the condition asks for another version under the key than the one that is there.
    fn check_version(&self, state: &State, key: &str, wanted: Option<&IfMatch>) -> S3Result<()> {
        let Some(wanted) = wanted else {
            return Ok(());
        };
        if self.shared.misbehavior().ignores_conditions {
            return Ok(());
        }
        let stored = state.objects.get(key);
        let stored = stored.ok_or_else(|| s3_error!(NoSuchKey))?;
        match wanted.as_etag() {
            Some(tag) if Some(tag) != stored.tag().as_ref() => Err(s3_error!(PreconditionFailed)),
            _ => Ok(()),
        }
    }
}

fn check_bucket(name: &str) -> S3Result<()> {
    if name == NAME {
        Ok(())
    } else {
        Err(s3_error!(NoSuchBucket))
    }
}

/// Reads a body and compares it with what the headers say of it.
async fn receive(
    body: Option<StreamingBlob>,
    len: Option<i64>,
    md5: Option<&str>,
) -> S3Result<Stored> {
    let mut bytes = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(piece) = body
            .try_next()
            .await
            .map_err(|_| s3_error!(IncompleteBody))?
        {
            bytes.extend_from_slice(&piece);
        }
    }
    if len.is_some_and(|len| usize::try_from(len) != Ok(bytes.len())) {
        return Err(s3_error!(IncompleteBody));
    }
    let digest = data_encoding::BASE64.encode(&Md5::digest(&bytes));
    if md5.is_some_and(|md5| md5 != digest) {
        return Err(s3_error!(BadDigest));
    }
    Ok(Stored::new(bytes.freeze()))
}

/// Cuts a body into pieces that end nowhere in particular.
fn send(body: Bytes) -> StreamingBlob {
    let mut rest = body;
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(50_021));
        (!piece.is_empty()).then_some(Ok::<_, std::io::Error>(piece))
    });
    StreamingBlob::wrap(stream::iter(pieces))
}

#[async_trait::async_trait]
impl S3 for Storage {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let stored = self.objects.find(&input.key)?;
        let len = stored.body.len();
        let (body, content_range) = match input.range {
            None => (stored.body.clone(), None),
            Some(range) => {
                let range = range.check(len as u64)?;
                let header = format!("bytes {}-{}/{len}", range.start, range.end - 1);
                let start = usize::try_from(range.start).unwrap();
                let end = usize::try_from(range.end).unwrap();
                (stored.body.slice(start..end), Some(header))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: i64::try_from(body.len()).ok(),
            body: Some(send(body)),
            content_range,
            e_tag: stored.tag(),
            last_modified: stored.modified(),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        let stored = self.objects.find(&request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: stored.len(),
            e_tag: stored.tag(),
            last_modified: stored.modified(),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let stored = receive(
            input.body,
            input.content_length,
            input.content_md5.as_deref(),
        );
        let stored = stored.await?;
        let e_tag = stored.tag();
        let mut state = self.objects.state();
        self.check(&state, &input.key, input.if_none_match.as_ref())?;
        self.check_version(&state, &input.key, input.if_match.as_ref())?;
        state.objects.insert(input.key, stored);
        Ok(S3Response::new(PutObjectOutput {
            e_tag,
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        self.objects.state().objects.remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input
            .continuation_token
            .clone()
            .or(input.start_after.clone());
        let wanted = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap_or(0);
        let limit = wanted.min(PAGE);
        let state = self.objects.state();
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = state
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .filter(|(key, _)| key.starts_with(&prefix));
        let contents: Vec<Object> = found
            .by_ref()
            .take(limit)
            .map(|(key, stored)| Object {
                key: Some(key.clone()),
                size: stored.len(),
                e_tag: stored.tag(),
                last_modified: stored.modified(),
                ..Default::default()
            })
            .collect();
        let is_truncated = found.next().is_some();
        let last = contents.last().and_then(|object| object.key.clone());
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: i32::try_from(contents.len()).ok(),
            max_keys: input.max_keys,
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            contents: Some(contents),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let mut state = self.objects.state();
        state.uploads_begun += 1;
        let id = format!("upload-{}", state.uploads_begun);
        let upload = Upload {
            key: input.key.clone(),
            begun: SystemTime::now(),
            parts: BTreeMap::new(),
        };
        state.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let stored = receive(
            input.body,
            input.content_length,
            input.content_md5.as_deref(),
        );
        let stored = stored.await?;
        let e_tag = stored.tag();
        let mut state = self.objects.state();
        let upload = state.uploads.get_mut(&input.upload_id);
        let upload = upload.filter(|upload| upload.key == input.key);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, stored);
        Ok(S3Response::new(UploadPartOutput {
            e_tag,
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let mut state = self.objects.state();
        let upload = state.uploads.get(&input.upload_id);
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|parts| parts.parts);
        let named = named.unwrap_or_default();
        let mut body = BytesMut::new();
        let mut last_number = 0;
        for (i, part) in named.iter().enumerate() {
            let number = part.part_number.unwrap_or_default();
            if number <= last_number {
                return Err(s3_error!(InvalidPartOrder));
            }
            last_number = number;
            let stored = upload.parts.get(&number);
            let stored = stored.filter(|stored| stored.tag() == part.e_tag);
            let stored = stored.ok_or_else(|| s3_error!(InvalidPart))?;
            if i + 1 < named.len() && stored.body.len() < SMALLEST_PART {
                return Err(S3ErrorCode::EntityTooSmall.into());
            }
            body.extend_from_slice(&stored.body);
        }
        if named.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        self.check(&state, &input.key, input.if_none_match.as_ref())?;
        let stored = Stored::new(body.freeze());
        let e_tag = stored.tag();
        state.uploads.remove(&input.upload_id);
        state.objects.insert(input.key.clone(), stored);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        check_bucket(&request.input.bucket)?;
        let removed = self
            .objects
            .state()
            .uploads
            .remove(&request.input.upload_id);
        removed.ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = (input.key_marker, input.upload_id_marker);
        let after = (after.0.unwrap_or_default(), after.1.unwrap_or_default());
        let state = self.objects.state();
        let open = state.uploads.iter();
        let mut open: Vec<_> = open
            .filter(|(_, upload)| upload.key.starts_with(&prefix))
            .map(|(id, upload)| (upload.key.clone(), id.clone(), upload.begun))
            .filter(|(key, id, _)| (key, id) > (&after.0, &after.1))
            .collect();
        open.sort();
        let is_truncated = open.len() > PAGE;
        open.truncate(PAGE);
        let last = open.last().filter(|_| is_truncated).cloned();
        let uploads = open.into_iter().map(|(key, id, begun)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(begun.into()),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            is_truncated: Some(is_truncated),
            next_key_marker: last.as_ref().map(|(key, ..)| key.clone()),
            next_upload_id_marker: last.map(|(_, id, _)| id),
            uploads: Some(uploads.collect()),
            ..Default::default()
        }))
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        check_bucket(&request.input.bucket)?;
        let misbehavior = self.shared.misbehavior();
        let (expires, clears) = (
            misbehavior.expires_after_days,
            misbehavior.clears_uploads_after_days,
        );
        if expires.or(clears).is_none() {
            return Err(s3_error!(NoSuchLifecycleConfiguration));
        }
        let rule = LifecycleRule {
            abort_incomplete_multipart_upload: clears.map(|days| AbortIncompleteMultipartUpload {
                days_after_initiation: Some(days),
            }),
            expiration: expires.map(|days| LifecycleExpiration {
                days: Some(days),
                ..Default::default()
            }),
            filter: None,
            id: Some("clean up".to_owned()),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: Some(String::new()),
            status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
            transitions: None,
        };
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(vec![rule]),
            ..Default::default()
        }))
    }
}
