//! Where a remote is: the addresses that Dolt takes, and what they stand for.
//!
//! | written | means |
//! | --- | --- |
//! | `https://host[:port]/owner/repo`, `http://…` | that server; ports 443 and 80 unless given |
//! | `host.tld/owner/repo`, `localhost:1234/owner/repo` | `https://` before it |
//! | `owner/repo` | on the default host |
//! | `https://www.dolthub.com/repositories/owner/repo` | `owner/repo`, for it is copied from a browser |
//! | `file:///path` | a store in that directory |
//! | `s3://bucket/prefix[?endpoint=…&region=…&path-style=true]` | a store in that bucket |

mod bucket;

use std::fmt;
use std::path::PathBuf;

pub use bucket::BucketUrl;
use reqwest::Url;

/// The host of a name without one, unless the user's settings name another.
pub const DEFAULT_HOST: &str = "doltremoteapi.dolthub.com";

/// How an address of DoltHub's pages begins.
const PAGES: &str = "https://www.dolthub.com/repositories/";

/// Why text is not the address of a remote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not an address at all.
    #[error("could not understand the address {text:?}")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A kind of remote that we do not speak to.
    #[error(
        "could not use a remote of the kind {scheme}://: only https, http, file and s3 are known"
    )]
    Scheme {
        /// The kind.
        scheme: String,
    },
    /// A server's address without the name of a repository.
    #[error("could not use the address {text:?}: it names no repository")]
    NoRepository {
        /// What was given.
        text: String,
    },
    /// An address with more behind the path than leads to a repository.
    #[error(
        "could not use the address {text:?}: {} has no meaning in it",
        beyond(text)
    )]
    Beyond {
        /// What was given.
        text: String,
    },
    /// An address with a part that is never sent.
    #[error("could not use an address with a user name or a password in it")]
    UserInfo,
    /// A bucket's address with keys in it.
    #[error("could not use the address of a bucket with keys in it: they would be stored with it")]
    Keys,
    /// A parameter of a bucket's address that cannot be used.
    #[error("could not use the parameter {name:?} of a bucket's address: it {what}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A prefix with characters that not every server takes.
    #[error(
        "could not use {path:?} to begin the names of objects: only letters, digits, '.', '_' and '-' between slashes can"
    )]
    Prefix {
        /// What was given.
        path: String,
    },
}

impl UrlError {
    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Syntax { .. } | Self::NoRepository { .. } | Self::Scheme { .. } => Some(
                "write https://host/owner/repository, owner/repository, file:///path, s3://bucket/prefix, or the path \
                 of a directory that begins with ./ or /",
            ),
            Self::UserInfo => Some("give --user, and the password in DOLT_REMOTE_PASSWORD"),
            Self::Keys => Some(
                "give them where the AWS SDK looks for them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ),
            Self::Parameter { .. } => Some("there are endpoint, region and path-style"),
            Self::Beyond { .. } => Some("leave it out; in a path write %3F for ? and %23 for #"),
            Self::Prefix { .. } => None,
        }
    }
}

/// The address of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteUrl {
    /// A server that speaks Dolt's remotes API.
    Server(ServerUrl),
    /// A store in a directory.
    Directory(PathBuf),
    /// A store in a bucket.
    Bucket(BucketUrl),
}

/// The address of a repository on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether it is spoken to by TLS.
    pub is_secure: bool,
    /// The host, an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the repository: the decoded path without slashes at its ends.
    pub repo_path: String,
    /// The address as it is written down.
    text: String,
}

impl ServerUrl {
    /// `scheme://host:port`, where calls go.
    pub fn endpoint(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// The two parts of a repository's name, if there are exactly two.
    pub fn owner_and_name(&self) -> Option<(&str, &str)> {
        let (owner, name) = self.repo_path.split_once('/')?;
        (!name.contains('/')).then_some((owner, name))
    }
}

impl RemoteUrl {
    /// Reads an address as a user gives it.
    pub fn parse(text: &str, default_host: &str) -> Result<Self, UrlError> {
        let syntax = || UrlError::Syntax {
            text: text.to_owned(),
        };
        let text = match text.strip_prefix(PAGES) {
            Some(repository) => repository,
            None => text,
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            // A password must not be shown, nor sent to a host that it is not meant for.
            if !text.starts_with(['/', '.']) && text.contains('@') {
                return Err(UrlError::UserInfo);
            }
            let host = text.split('/').next().unwrap_or_default();
            let parts = text.trim_end_matches('/').split('/').count();
            return match (is_host(host), parts) {
                (true, _) => Self::server(&format!("https://{text}")),
                (false, 2) if !text.starts_with(['/', '.']) => {
                    Self::server(&format!("https://{default_host}/{text}"))
                }
                _ => Err(syntax()),
            };
        };
        match scheme {
            "http" | "https" => Self::server(text),
            "s3" => BucketUrl::parse(text).map(Self::Bucket),
            "file" if rest.is_empty() => Err(syntax()),
            "file" if rest.contains(['?', '#']) => Err(UrlError::Beyond {
                text: text.to_owned(),
            }),
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                let decoded = Url::parse(&format!("file://{path}")).ok();
                let decoded = decoded.and_then(|url| url.to_file_path().ok());
                // Dolt also takes paths that are relative to where it runs.
                Ok(Self::Directory(
                    decoded.unwrap_or_else(|| PathBuf::from(path)),
                ))
            }
            "" if rest.contains('@') => Err(UrlError::UserInfo),
            "" => Err(syntax()),
            scheme => Err(UrlError::Scheme {
                scheme: scheme.to_owned(),
            }),
        }
    }

    fn server(text: &str) -> Result<Self, UrlError> {
        let syntax = || UrlError::Syntax {
            text: text.to_owned(),
        };
        // A browser would take the first part of the path for the host.
        if text.contains(":///") {
            return Err(match text.contains('@') {
                true => UrlError::UserInfo,
                false => syntax(),
            });
        }
        let url = Url::parse(text).map_err(|_| match text.contains('@') {
            // A password may be what makes it none, and must not be shown.
            true => UrlError::UserInfo,
            false => syntax(),
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Beyond {
                text: text.to_owned(),
            });
        }
        let host = url.host_str().ok_or_else(syntax)?;
        let port = url.port_or_known_default().ok_or_else(syntax)?;
        let path = percent_decoded(url.path()).ok_or_else(syntax)?;
        let repo_path = path.trim_matches('/').to_owned();
        if repo_path.is_empty() {
            return Err(UrlError::NoRepository {
                text: text.to_owned(),
            });
        }
        Ok(Self::Server(ServerUrl {
            is_secure: url.scheme() == "https",
            host: host.to_owned(),
            port,
            repo_path,
            text: text.to_owned(),
        }))
    }

    /// What a clone of it is called unless the user says otherwise: the last part of the name.
    pub fn directory_name(&self) -> Option<&str> {
        match self {
            Self::Server(server) => server.repo_path.rsplit('/').next(),
            // The store of a database is called as the database is.
            Self::Directory(path) if path.ends_with(".dolt/noms") => {
                path.parent()?.parent()?.file_name()?.to_str()
            }
            Self::Directory(path) => path.file_name()?.to_str(),
            Self::Bucket(bucket) => Some(bucket.name()),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => f.write_str(&server.text),
            Self::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => f.write_str(url.as_str()),
                Err(()) => write!(f, "file://{}", path.display()),
            },
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

/// Whether the first part of an address without a scheme is a host: it is `localhost` or has a dot in it.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let is_name = host == "localhost" || (host.contains('.') && !host.starts_with('.'));
    is_name && is_port
}

/// What begins with the first `?` or `#`, cut off where it may be a secret.
fn beyond(text: &str) -> String {
    let at = text.find(['?', '#']).unwrap_or(text.len());
    format!("{:?}", &text[at..].chars().take(1).collect::<String>())
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
                decoded.push(u8::try_from(value).ok()?);
            }
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> (String, String, String) {
        match RemoteUrl::parse(text, "forge.example.org").unwrap() {
            RemoteUrl::Server(server) => (
                server.endpoint(),
                server.repo_path.clone(),
                RemoteUrl::Server(server).to_string(),
            ),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_table_of_addresses_is_dolts() {
        for (text, endpoint, path, written) in [
            ("http://h/a/b", "http://h:80", "a/b", "http://h/a/b"),
            ("https://h/a/b/", "https://h:443", "a/b", "https://h/a/b/"),
            (
                "http://h:50051/a/b",
                "http://h:50051",
                "a/b",
                "http://h:50051/a/b",
            ),
            (
                "https://[::1]:7350/a/b",
                "https://[::1]:7350",
                "a/b",
                "https://[::1]:7350/a/b",
            ),
            (
                "host.tld/a/b",
                "https://host.tld:443",
                "a/b",
                "https://host.tld/a/b",
            ),
            (
                "localhost:1234/a/b",
                "https://localhost:1234",
                "a/b",
                "https://localhost:1234/a/b",
            ),
            (
                "a/b",
                "https://forge.example.org:443",
                "a/b",
                "https://forge.example.org/a/b",
            ),
            (
                "https://www.dolthub.com/repositories/a/b",
                "https://forge.example.org:443",
                "a/b",
                "https://forge.example.org/a/b",
            ),
            (
                "http://h/ac%6De/p%20q",
                "http://h:80",
                "acme/p q",
                "http://h/ac%6De/p%20q",
            ),
            ("http://h/one", "http://h:80", "one", "http://h/one"),
            ("http://h/a/b/c", "http://h:80", "a/b/c", "http://h/a/b/c"),
        ] {
            let found = server(text);
            assert_eq!(
                found,
                (endpoint.into(), path.into(), written.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn directories_are_named_by_file_addresses() {
        let parse = |text| RemoteUrl::parse(text, DEFAULT_HOST);
        assert_eq!(
            parse("file:///a/b%20c").unwrap(),
            RemoteUrl::Directory("/a/b c".into())
        );
        assert_eq!(
            parse("file://rel/b").unwrap(),
            RemoteUrl::Directory("rel/b".into())
        );
        for text in ["file:///a/b", "file:///a/b/.dolt/noms"] {
            assert_eq!(parse(text).unwrap().directory_name(), Some("b"), "{text}");
        }
        for text in ["file:///a/b%20c", "file:///a/100%25/%3F", "file:///%C3%A4"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let parse = |text| RemoteUrl::parse(text, DEFAULT_HOST);
        for text in [
            "",
            "one",
            "a/b/c",
            "/a/b",
            "./a",
            "://a",
            "https://",
            "http:///a",
            "file://",
        ] {
            assert!(
                matches!(parse(text), Err(UrlError::Syntax { .. })),
                "{text:?}: {:?}",
                parse(text)
            );
        }
        assert!(matches!(
            parse("https://h/"),
            Err(UrlError::NoRepository { .. })
        ));
        for text in [
            "https://u:p@h/a/b",
            "https://u:p/w@h/a/b",
            "http://u:p@h:x/a/b",
            "u:p@h/a/b",
            "u:p@h.tld/a/b",
            "u:p@h/a",
            "u:p/w@h/a",
            "u@h/a",
            "u:p@h",
            "://u:p@h/a",
            "https:///u:p@h/a",
        ] {
            assert!(matches!(parse(text), Err(UrlError::UserInfo)), "{text}");
        }
        for text in [
            "http://h/a/b?x=1",
            "http://h/a/b#f",
            "h.tld/a/b?",
            "a/b#f",
            "file:///a?b",
            "file:///a#b",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(matches!(refused, UrlError::Beyond { .. }), "{text}");
        }
        for text in ["aws://a/b", "gs://a/b", "ssh://h/a"] {
            assert!(
                matches!(parse(text), Err(UrlError::Scheme { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn two_parts_make_an_owner_and_a_name() {
        let parts = |text| match RemoteUrl::parse(text, DEFAULT_HOST).unwrap() {
            RemoteUrl::Server(server) => {
                let parts = server.owner_and_name();
                parts.map(|(owner, name)| (owner.to_owned(), name.to_owned()))
            }
            RemoteUrl::Directory(_) | RemoteUrl::Bucket(_) => None,
        };
        assert_eq!(
            parts("http://h/a/b"),
            Some(("a".to_owned(), "b".to_owned()))
        );
        assert_eq!(parts("http://h/a"), None);
        assert_eq!(parts("http://h/a/b/c"), None);
    }
}
