//! Objects of a bucket that are replaced: by one conditional request with the `ETag` that was read.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::S3Store;
use super::failure::Failure;
use crate::objects::{ObjectError, ObjectKey, ObjectVersion, Replacement, VersionedStore};

/// What Amazon answers to one of several conditional requests at once; it did nothing.
const CONFLICT: &str = "ConditionalRequestConflict";

#[async_trait]
impl VersionedStore for S3Store {
    async fn read_version(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<(Bytes, ObjectVersion)>, ObjectError> {
        let read = self.retry.run(|| self.read_version_once(key, limit)).await;
        match read {
            Err(ObjectError::NotFound { .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        body: Bytes,
        version: Option<&ObjectVersion>,
    ) -> Result<Replacement, ObjectError> {
        let md5 = self.content_md5(&body).await;
        let request = self.client().put_object().bucket(self.bucket());
        let request = request.key(self.name(key)).content_md5(md5);
        let request = match version {
            Some(version) => request.if_match(version.as_str()),
            None => request.if_none_match("*"),
        };
        let Err(error) = request.body(body.into()).send().await else {
            return Ok(Replacement::Done);
        };
        let failure = Failure::new(error);
        let is_outdated = failure.is_precondition()
            || failure.has_code(CONFLICT)
            || (version.is_some() && failure.is_missing());
        match is_outdated {
            true => Ok(Replacement::Outdated),
            false => Err(failure.into_error("replace", key)),
        }
    }
}

impl S3Store {
    async fn read_version_once(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<(Bytes, ObjectVersion), ObjectError> {
        let request = self.client().get_object().bucket(self.bucket());
        let answer = request.key(self.name(key)).send().await;
        let mut answer = answer.map_err(|error| Failure::new(error).into_error("read", key))?;
        let version = answer.e_tag.take();
        let version = version
            .ok_or_else(|| ObjectError::refused("read", key, "the server names no version"))?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| ObjectError::failed("read", key, error))?;
            if (bytes.len() + piece.len()) as u64 > limit {
                let text = format!("it has more than {limit} bytes");
                return Err(ObjectError::refused("read into memory", key, text));
            }
            bytes.extend_from_slice(&piece);
        }
        let is_whole =
            super::length(answer.content_length).is_none_or(|len| len == bytes.len() as u64);
        match is_whole {
            true => Ok((bytes.freeze(), ObjectVersion::new(version))),
            false => Err(ObjectError::failed(
                "read",
                key,
                "the answer ended too early",
            )),
        }
    }
}
