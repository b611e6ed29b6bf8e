//! versitygw, a real S3 server, with one bucket on local disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use holdfast_tests::process::{self, Daemon};

const ACCESS_KEY: &str = "holdfast";
const SECRET_KEY: &str = "holdfast-bench-secret";
const REGION: &str = "us-east-1";

/// The bucket's name.
const NAME: &str = "holdfast-bench";

/// A running S3 server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bucket {
    _daemon: Daemon,
    port: u16,
}

impl Bucket {
    /// Starts one that keeps everything in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let binary = find()?;
        fs::create_dir_all(folder.join(NAME))?;
        let (daemon, port) = Daemon::start_on_free_port(|port| {
            let mut command = Command::new(&binary);
            command
                .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
                .arg(folder)
                .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                .env("ROOT_SECRET_KEY", SECRET_KEY);
            command
        });
        Ok(Self {
            _daemon: daemon,
            port,
        })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address by which dolt keeps a database here without a server.
    pub(crate) fn dolt_url(&self, prefix: &str) -> String {
        let endpoint = self.endpoint();
        format!("s3://{NAME}/{prefix}?endpoint={endpoint}&region={REGION}&path-style=true")
    }

    /// What dolt needs in its environment.
    pub(crate) fn dolt_settings(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Tells `holdfastd` to keep its store here.
    pub(crate) fn add_to(&self, command: &mut Command, prefix: &str) {
        command
            .args(["--store", &format!("s3://{NAME}/{prefix}")])
            .args(["--s3-endpoint", &self.endpoint()])
            .args(["--s3-region", REGION, "--s3-path-style"])
            .env("HOLDFAST_S3_ACCESS_KEY_ID", ACCESS_KEY)
            .env("HOLDFAST_S3_SECRET_ACCESS_KEY", SECRET_KEY);
    }
}

/// `$HOLDFAST_VERSITYGW`, else on PATH, else where `./dev test` installs it.
fn find() -> Result<PathBuf> {
    if let Some(found) = process::find("HOLDFAST_VERSITYGW", "versitygw") {
        return Ok(found);
    }
    let home = std::env::var_os("HOME").context("HOME is set")?;
    let installed = Path::new(&home).join(".cache/holdfast/bin");
    let mut found: Vec<PathBuf> = fs::read_dir(&installed)
        .with_context(|| format!("look for versitygw in {}", installed.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("versitygw-"))
        })
        .collect();
    found.sort();
    found.pop().context(
        "there is no versitygw: set HOLDFAST_VERSITYGW, or run ./dev test once, which installs it",
    )
}
