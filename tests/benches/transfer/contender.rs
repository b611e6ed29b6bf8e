//! The remotes that are compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use holdfast_tests::process::{self, Daemon};

use crate::bucket::Bucket;
use crate::measure;
use crate::step::{Step, Target};

/// The programs that are run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) dolt: PathBuf,
    remotesrv: Option<PathBuf>,
    holdfastd: Option<PathBuf>,
}

impl Programs {
    /// Finds them by variable or on PATH.
    pub(crate) fn find() -> Result<Self> {
        let dolt = process::find("HOLDFAST_DOLT", "dolt");
        Ok(Self {
            dolt: dolt.context("there is no dolt: set HOLDFAST_DOLT or put dolt on PATH")?,
            remotesrv: process::find("HOLDFAST_REMOTESRV", "remotesrv"),
            holdfastd: process::find("HOLDFAST_SERVER", "holdfastd"),
        })
    }
}

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
    daemon: Option<Daemon>,
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
        match self {
            Self::Remotesrv => {
                let binary = programs.remotesrv.as_deref();
                let binary = binary
                    .context("there is no remotesrv: set HOLDFAST_REMOTESRV or put it on PATH")?;
                Ok(serve(|port| {
                    let (port, mut command) = (port.to_string(), Command::new(binary));
                    command
                        .args(["--http-port", &port, "--grpc-port", &port])
                        .arg("--dir")
                        .arg(folder);
                    command
                }))
            }
            Self::Holdfast => {
                let holdfastd = programs.holdfastd()?;
                Ok(serve(|port| serve_holdfast(holdfastd, folder, port)))
            }
            Self::DoltOnS3 => Ok(Remote {
                daemon: None,
                url: bucket()?.dolt_url(&prefix),
                dolt_settings: bucket()?.dolt_settings(),
            }),
            Self::HoldfastOnS3 { presigned } => {
                let (holdfastd, bucket) = (programs.holdfastd()?, bucket()?);
                let delivery = if presigned { "presigned" } else { "server" };
                Ok(serve(|port| {
                    let mut command = serve_holdfast(holdfastd, folder, port);
                    bucket.add_to(&mut command, &prefix);
                    command.args(["--data-delivery", delivery]);
                    command
                }))
            }
        }
    }
}

impl Programs {
    fn holdfastd(&self) -> Result<&Path> {
        self.holdfastd
            .as_deref()
            .context("there is no holdfastd: `./dev bench` builds it; else set HOLDFAST_SERVER")
    }
}

fn serve(command: impl Fn(u16) -> Command) -> Remote {
    let (daemon, port) = Daemon::start_on_free_port(command);
    Remote {
        daemon: Some(daemon),
        url: format!("http://127.0.0.1:{port}/bench/entries"),
        dolt_settings: Vec::new(),
    }
}

fn serve_holdfast(binary: &Path, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(["serve", "--open", "--listen", &format!("127.0.0.1:{port}")])
        .arg("--data")
        .arg(folder);
    command
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
        self.daemon.as_ref().map(Daemon::id)
    }

    /// The most memory that the server had so far, in MB.
    pub(crate) fn peak_memory(&self) -> Result<Option<f64>> {
        self.process().map(measure::peak_memory).transpose()
    }

    /// The last lines that the server printed, for messages.
    pub(crate) fn log_end(&self) -> String {
        let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}
