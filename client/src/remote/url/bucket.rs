//! The address of a store in a bucket.

use std::fmt;

use holdfast_chunkstore::objects::ObjectKey;
use reqwest::Url;

use super::{UrlError, percent_decoded};

/// The address of a store in a bucket. Keys never stand in it: they would be stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    /// The bucket's name.
    pub bucket: String,
    /// What the names of the store's objects begin with, without the slash behind it.
    pub prefix: Option<ObjectKey>,
    /// The server; nothing for Amazon's own.
    pub endpoint: Option<String>,
    /// The region; nothing for that of the environment.
    pub region: Option<String>,
    /// Whether the bucket's name goes into the path and not into the host's name.
    pub is_path_style: bool,
    /// The address as it is written down.
    text: String,
}

impl BucketUrl {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let syntax = || UrlError::Syntax {
            text: text.to_owned(),
        };
        let url = Url::parse(text).map_err(|_| syntax())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Keys);
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let bucket = host.filter(|_| url.port().is_none()).ok_or_else(syntax)?;
        let path = percent_decoded(url.path()).ok_or_else(syntax)?;
        let mut found = Self {
            bucket: bucket.to_owned(),
            prefix: prefix(&path)?,
            endpoint: None,
            region: None,
            is_path_style: false,
            text: text.to_owned(),
        };
        let mut seen = Vec::new();
        for (name, value) in url.query_pairs() {
            if value.is_empty() || seen.contains(&name) {
                return Err(parameter(&name, "needs exactly one value"));
            }
            match &*name {
                "endpoint" => found.endpoint = Some(value.into_owned()),
                "region" => found.region = Some(value.into_owned()),
                "path-style" => {
                    found.is_path_style = truth(&value)
                        .ok_or_else(|| parameter(&name, "is neither true nor false"))?;
                }
                _ => return Err(parameter(&name, "is not known")),
            }
            seen.push(name);
        }
        Ok(found)
    }

    /// The last part of the name.
    pub(super) fn name(&self) -> &str {
        self.prefix.as_ref().map_or(&self.bucket, ObjectKey::name)
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What names begin with, as Dolt joins them: without empty parts.
fn prefix(path: &str) -> Result<Option<ObjectKey>, UrlError> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let prefix = ObjectKey::parse(parts.join("/"));
    prefix.map(Some).map_err(|_| UrlError::Prefix {
        path: path.to_owned(),
    })
}

/// A truth value as Go reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn parameter(name: &str, what: &'static str) -> UrlError {
    UrlError::Parameter {
        name: name.chars().take(64).collect(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT_HOST, RemoteUrl};
    use super::*;

    fn parse(text: &str) -> Result<BucketUrl, UrlError> {
        RemoteUrl::parse(text, DEFAULT_HOST).map(|url| match url {
            RemoteUrl::Bucket(url) => url,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn buckets_have_a_name_a_prefix_and_three_parameters() {
        let url = parse("s3://bucket").unwrap();
        assert_eq!((url.bucket.as_str(), url.prefix.as_ref()), ("bucket", None));
        assert_eq!((url.endpoint.as_ref(), url.region.as_ref()), (None, None));
        assert!(!url.is_path_style);
        assert_eq!(url.name(), "bucket");

        let text = "s3://b.c//path//to/db/?endpoint=http%3A%2F%2Flocalhost%3A9000&region=eu-1&path-style=T";
        let url = parse(text).unwrap();
        assert_eq!(url.bucket, "b.c");
        assert_eq!(url.prefix.as_ref().unwrap().as_str(), "path/to/db");
        assert_eq!(url.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!(url.region.as_deref(), Some("eu-1"));
        assert!(url.is_path_style);
        assert_eq!(url.name(), "db");
        assert_eq!(url.to_string(), text);

        let url = parse("s3://b/p?endpoint=http://localhost:9000").unwrap();
        assert_eq!(url.endpoint.as_deref(), Some("http://localhost:9000"));
    }

    #[test]
    fn what_dolt_refuses_is_refused() {
        for text in ["s3://", "s3:///p", "s3://b:80/p"] {
            let refused = parse(text);
            assert!(
                matches!(refused, Err(UrlError::Syntax { .. })),
                "{text}: {refused:?}"
            );
        }
        for text in [
            "s3://b/p?profile=x",
            "s3://b/p?region=",
            "s3://b/p?region",
            "s3://b/p?region=a&region=b",
            "s3://b/p?path-style=yes",
        ] {
            let refused = parse(text);
            assert!(
                matches!(refused, Err(UrlError::Parameter { .. })),
                "{text}: {refused:?}"
            );
        }
        assert!(matches!(
            parse("s3://b/a%20b"),
            Err(UrlError::Prefix { .. })
        ));
    }

    #[test]
    fn keys_in_an_address_are_refused_and_not_repeated() {
        for text in ["s3://key:secret@b/p", "s3://key@b/p"] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused, UrlError::Keys);
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
