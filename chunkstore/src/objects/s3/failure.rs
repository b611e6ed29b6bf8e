//! What a bucket's server answered instead of what was asked for.

use std::error::Error;
use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::objects::{ObjectError, ObjectKey};

const LONGEST_TEXT: usize = 500;
const LONGEST_REGION: usize = 64;

/// A failed request, reduced to what may be printed: the SDK's own error carries the raw answer, which can quote
/// parts of signatures.
#[derive(Debug)]
pub(super) struct Failure {
    /// Nothing if there was no answer.
    status: Option<u16>,
    code: String,
    text: String,
    /// Where the bucket is, if the server said so.
    region: Option<String>,
}

impl Failure {
    pub(super) fn new<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let answer = error.raw_response();
        let status = answer.map(|raw| raw.status().as_u16());
        let region = answer.and_then(|raw| raw.headers().get("x-amz-bucket-region"));
        let region = region.map(|region| region.chars().take(LONGEST_REGION).collect());
        let (code, text) = match error.as_service_error() {
            Some(service) => (service.code(), service.message().map(str::to_owned)),
            None => (None, None),
        };
        let code = code.unwrap_or_default().to_owned();
        let text = text.unwrap_or_else(|| chain(&error));
        Self {
            status,
            code,
            text: text.chars().take(LONGEST_TEXT).collect(),
            region,
        }
    }

    /// The bucket is at another address, which no repetition finds.
    fn is_elsewhere(&self) -> bool {
        matches!(self.status, Some(300..=399))
    }

    /// The condition of a conditional request did not hold.
    pub(super) fn is_precondition(&self) -> bool {
        self.status == Some(412)
    }

    /// Another request for the same key is under way, and this one did nothing.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// There is no such object in the bucket.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(404) && self.code != "NoSuchBucket"
    }

    /// The range begins behind the object's end.
    pub(super) fn is_range(&self) -> bool {
        self.status == Some(416)
    }

    /// The server does not know this request, or does not let us send it.
    pub(super) fn is_not_offered(&self) -> bool {
        matches!(self.status, Some(401 | 403 | 405 | 501))
    }

    /// The thing that the request names, whatever it is, is not there.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code == code
    }

    pub(super) fn into_error(self, action: &'static str, key: &ObjectKey) -> ObjectError {
        // 400 is also how an answer to an expired token and to a slow body begins.
        let passes = matches!(self.code.as_str(), "RequestTimeout" | "IncompleteBody");
        match self.status {
            Some(300..=399) => ObjectError::refused(action, key, self),
            Some(404) if self.code != "NoSuchBucket" && self.code != "NoSuchUpload" => {
                ObjectError::NotFound { key: key.clone() }
            }
            Some(507) => ObjectError::Full { key: key.clone() },
            Some(408 | 409 | 425 | 429) => ObjectError::failed(action, key, self),
            Some(400..=499) if !passes => ObjectError::refused(action, key, self),
            Some(501) => ObjectError::refused(action, key, self),
            _ => ObjectError::failed(action, key, self),
        }
    }
}

pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) if self.code.is_empty() => write!(f, "status {status}, {}", self.text),
            Some(status) => write!(f, "status {status} {}, {}", self.code, self.text),
            None => f.write_str(&self.text),
        }?;
        if !self.is_elsewhere() {
            return Ok(());
        }
        match &self.region {
            Some(region) => write!(f, "; the bucket is in {region}: set s3.region"),
            None => f.write_str("; is s3.region, or s3.endpoint, that of the bucket?"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn answers_fall_into_the_kinds_that_callers_act_on() {
        let key = ObjectKey::parse("a").unwrap();
        let kind = |status, code: &str| {
            let failure = Failure {
                status,
                code: code.to_owned(),
                text: String::new(),
                region: None,
            };
            failure.into_error("read", &key).kind()
        };
        assert_eq!(kind(Some(301), "PermanentRedirect"), ErrorKind::Refused);
        assert_eq!(kind(Some(307), ""), ErrorKind::Refused);
        assert_eq!(kind(Some(404), "NoSuchKey"), ErrorKind::NotFound);
        assert_eq!(kind(Some(404), ""), ErrorKind::NotFound);
        assert_eq!(kind(Some(404), "NoSuchBucket"), ErrorKind::Refused);
        assert_eq!(kind(Some(403), "AccessDenied"), ErrorKind::Refused);
        assert_eq!(kind(Some(400), "InvalidRequest"), ErrorKind::Refused);
        assert_eq!(kind(Some(400), "RequestTimeout"), ErrorKind::Unavailable);
        assert_eq!(kind(Some(409), "OperationAborted"), ErrorKind::Unavailable);
        assert_eq!(kind(Some(429), ""), ErrorKind::Unavailable);
        assert_eq!(kind(Some(500), "InternalError"), ErrorKind::Unavailable);
        assert_eq!(kind(Some(503), "SlowDown"), ErrorKind::Unavailable);
        assert_eq!(kind(Some(507), ""), ErrorKind::Exhausted);
        assert_eq!(kind(None, ""), ErrorKind::Unavailable);
    }

    #[test]
    fn who_is_sent_elsewhere_is_told_which_setting_says_where_the_bucket_is() {
        let said = |status, region: Option<&str>| {
            let failure = Failure {
                status: Some(status),
                code: "PermanentRedirect".to_owned(),
                text: "elsewhere".to_owned(),
                region: region.map(str::to_owned),
            };
            failure.to_string()
        };
        let told = said(301, Some("eu-west-1"));
        assert!(told.ends_with("elsewhere; the bucket is in eu-west-1: set s3.region"));
        assert!(said(301, None).contains("s3.region"));
        assert!(!said(404, Some("eu-west-1")).contains("s3.region"));
    }
}
