//! The remotes that are compared.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use holdfast_tests::bench::measure;
use holdfast_tests::bench::programs::Programs;
use holdfast_tests::bench::server::Server;

use crate::bucket::Bucket;
use crate::step::{Step, Target};

/// A kind of remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Dolt's own server on local disk.
    Remotesrv,
    /// Ours on local disk.
    Holdfast,
    /// Dolt's own way to keep a database in a bucket; it has no server.
    DoltOnS3,
    /// Ours on a bucket.
    HoldfastOnS3 {
        /// Table files come by presigned addresses from the bucket, and not through the server.
        presigned: bool,
    },
}

/// A remote that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Remote {
    server: Option<Server>,
    url: String,
    dolt_settings: Vec<(String, String)>,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Remotesrv => "remotesrv",
            Self::Holdfast => "holdfastd",
            Self::DoltOnS3 => "dolt on S3",
            Self::HoldfastOnS3 { presigned: false } => "holdfastd on S3",
            Self::HoldfastOnS3 { presigned: true } => "holdfastd, presigned",
        }
    }

    /// What we want of it. A baseline that is compared with itself has no target.
    pub(crate) fn target(self, step: Step) -> Target {
        match self {
            Self::Holdfast => step.target_on_disk(),
            Self::HoldfastOnS3 { presigned } => step.target_on_s3(presigned),
            Self::Remotesrv | Self::DoltOnS3 => Target::default(),
        }
    }

    /// Whether it is ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Holdfast | Self::HoldfastOnS3 { .. })
    }

    /// Starts it with an empty store in `folder`.
    pub(crate) fn start(
        self,
        programs: &Programs,
        bucket: Option<&Bucket>,
        folder: &Path,
    ) -> Result<Remote> {
        fs::create_dir_all(folder)?;
        let bucket = || bucket.context("a bucket is started for --s3");
        // Any prefix that nobody had before: the folder's name is new in every run, round and lane.
        let prefix = folder.to_string_lossy().trim_matches('/').replace('/', "-");
        let server = match self {
            Self::Remotesrv => Server::start_remotesrv(programs.remotesrv()?, folder),
            Self::Holdfast => Server::start_holdfastd(programs.holdfastd()?, folder),
            Self::DoltOnS3 => {
                return Ok(Remote {
                    server: None,
                    url: bucket()?.dolt_url(&prefix),
                    dolt_settings: bucket()?.dolt_settings(),
                });
            }
            Self::HoldfastOnS3 { presigned } => {
                let (holdfastd, bucket) = (programs.holdfastd()?, bucket()?);
                let delivery = if presigned { "presigned" } else { "server" };
                Server::start_holdfastd_with(holdfastd, folder, |command| {
                    bucket.add_to(command, &prefix);
                    command.args(["--data-delivery", delivery]);
                })
            }
        };
        Ok(Remote {
            url: format!("http://127.0.0.1:{}/bench/entries", server.port()),
            server: Some(server),
            dolt_settings: Vec::new(),
        })
    }
}

impl Remote {
    /// The address of the repository that is used.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What dolt needs in its environment to reach it.
    pub(crate) fn dolt_settings(&self) -> &[(String, String)] {
        &self.dolt_settings
    }

    /// The server's process, where there is one.
    pub(crate) fn process(&self) -> Option<u32> {
        self.server.as_ref().map(Server::id)
    }

    /// The most memory that the server had so far, in MB.
    pub(crate) fn peak_memory(&self) -> Result<Option<f64>> {
        self.process().map(measure::peak_memory).transpose()
    }

    /// The last lines that the server printed, for messages.
    pub(crate) fn log_end(&self) -> String {
        self.server
            .as_ref()
            .map(Server::log_end)
            .unwrap_or_default()
    }
}
