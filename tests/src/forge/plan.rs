//! What a test chooses about the servers it starts.

use std::sync::Arc;

use holdfast_server::Settings;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin};
use tempfile::TempDir;

use crate::bucket::Bucket;
use crate::say;

/// Where servers keep everything.
#[derive(Debug, Clone)]
pub enum Store {
    /// In their data directory.
    LocalDisk,
    /// In a bucket of this process, made when the first server starts.
    BucketHere,
    /// In a bucket that runs elsewhere.
    BucketElsewhere(BucketAccess),
}

/// How to reach a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAccess {
    /// The address of the S3 server.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The public half of the key.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

impl BucketAccess {
    /// The bucket that the environment names (`HOLDFAST_TEST_S3_ENDPOINT`, `…_BUCKET`, `…_ACCESS_KEY`,
    /// `…_SECRET_KEY`), or `None` after a word on stderr.
    pub fn from_environment() -> Option<Self> {
        let read = |name: &str| std::env::var(format!("HOLDFAST_TEST_S3_{name}"));
        let Ok(endpoint) = read("ENDPOINT") else {
            say::skipped("HOLDFAST_TEST_S3_ENDPOINT names no S3 server");
            return None;
        };
        let needed =
            |name| read(name).unwrap_or_else(|_| panic!("HOLDFAST_TEST_S3_{name} is not set"));
        Some(Self {
            endpoint,
            bucket: needed("BUCKET"),
            access_key: needed("ACCESS_KEY"),
            secret_key: needed("SECRET_KEY"),
        })
    }

    /// How to reach a bucket of this process.
    pub fn of(bucket: &Bucket) -> Self {
        Self {
            endpoint: bucket.endpoint().to_owned(),
            bucket: bucket.name().to_owned(),
            access_key: bucket.access_key().to_owned(),
            secret_key: bucket.secret_key().to_owned(),
        }
    }
}

/// What servers are started with. Fields are public: a test changes what it is about.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where they keep everything.
    pub store: Store,
    /// How many; more than one need a bucket, and get a proxy that takes turns.
    pub servers: usize,
    /// They speak TLS too; dolt is told to use it where there is one server.
    pub tls: bool,
    /// Their certificate is marked as that of an authority, as the one that `openssl req -x509` makes.
    pub certificate_of_an_authority: bool,
    /// What data addresses begin with.
    pub public_url: Option<String>,
    /// The administrator token; without one everybody may read and write.
    pub token: Option<String>,
    /// With a token: it is needed for reading too.
    pub reads_need_the_token: bool,
    /// Nobody may write.
    pub read_only: bool,
    /// The newer stream is offered.
    pub stream_chunk_locations: bool,
    /// Data comes from the bucket by presigned addresses.
    pub presigned: bool,
    /// Time stands still but for [`super::Forge::advance_clock`].
    pub manual_clock: bool,
    /// More settings, by their names.
    pub more: Vec<(&'static str, String)>,
}

impl Plan {
    /// One open server on a local directory.
    pub fn on_local_disk() -> Self {
        Self {
            store: Store::LocalDisk,
            servers: 1,
            tls: false,
            certificate_of_an_authority: false,
            public_url: None,
            token: None,
            reads_need_the_token: false,
            read_only: false,
            stream_chunk_locations: true,
            presigned: false,
            manual_clock: false,
            more: Vec::new(),
        }
    }

    /// One open server on a bucket of this process.
    pub fn on_a_bucket() -> Self {
        Self {
            store: Store::BucketHere,
            ..Self::on_local_disk()
        }
    }

    /// Two open servers on one bucket of this process, behind a proxy that takes turns.
    pub fn two_servers_on_one_bucket() -> Self {
        Self {
            servers: 2,
            ..Self::on_a_bucket()
        }
    }

    /// The settings of one server, by name and text. A secret is among them.
    pub(super) fn texts(
        &self,
        data: &TempDir,
        bucket: Option<&(BucketAccess, String)>,
    ) -> Vec<(&'static str, String)> {
        let path = |name: &str| data.path().join(name).display().to_string();
        let mut texts = vec![
            ("data", path("data")),
            ("listen", "127.0.0.1:0".to_owned()),
            ("upload.free_floor", "1MiB".to_owned()),
            ("index.cache", "8MiB".to_owned()),
            ("stop.timeout", "5s".to_owned()),
            ("stop.quiet", "0s".to_owned()),
            ("stop.grace", "0s".to_owned()),
            ("read_only", self.read_only.to_string()),
        ];
        match &self.token {
            None => texts.push(("open", "true".to_owned())),
            Some(token) => {
                texts.push(("admin_token", token.clone()));
                let readers = if self.reads_need_the_token {
                    "token"
                } else {
                    "public"
                };
                texts.push(("reads", readers.to_owned()));
            }
        }
        if self.tls {
            texts.push(("tls.cert", path("cert.pem")));
            texts.push(("tls.key", path("key.pem")));
        }
        if let Some(url) = &self.public_url {
            texts.push(("public_url", url.clone()));
        }
        if !self.stream_chunk_locations {
            texts.push(("features_off", "stream-chunk-locations".to_owned()));
        }
        if let Some((access, prefix)) = bucket {
            texts.push(("store", format!("s3://{}/{prefix}", access.bucket)));
            texts.push(("s3.endpoint", access.endpoint.clone()));
            texts.push(("s3.path_style", "true".to_owned()));
            texts.push(("s3.access_key_id", access.access_key.clone()));
            texts.push(("s3.secret_access_key", access.secret_key.clone()));
            let delivery = if self.presigned {
                "presigned"
            } else {
                "server"
            };
            texts.push(("data_delivery", delivery.to_owned()));
        }
        texts.extend(self.more.iter().cloned());
        texts
    }
}

/// Understands the settings of one server.
pub(super) fn settings(texts: &[(&'static str, String)]) -> Arc<Settings> {
    let mut gathered = Gathered::new();
    for (key, value) in texts {
        gathered.set(key, value.clone(), Origin::Flag);
    }
    Arc::new(check(gathered, Purpose::Serve).unwrap_or_else(|complaints| panic!("{complaints:?}")))
}
