//! The remote that a scenario works against: ours, or Dolt's own `remotesrv` as the control group.

use std::fmt;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Daemon};
use crate::say;

/// Whose server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteKind {
    /// Dolt's own: what it does is what dolt expects, but it checks less than ours.
    Remotesrv,
    /// Ours.
    Holdfast,
}

/// Which files today's dolt uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploads {
    /// Archives, as it does by itself.
    Archives,
    /// Table files, as `DOLT_ARCHIVE_PULL_STREAMER=0` wants.
    TableFiles,
}

/// A running remote server. Dropping it stops it.
pub trait Remote: fmt::Debug {
    /// Whose server it is.
    fn kind(&self) -> RemoteKind;

    /// The address without a path, such as `http://localhost:1234`.
    fn base_url(&self) -> String;

    /// The same in clear text.
    fn wire_url(&self) -> String {
        self.base_url()
    }

    /// Variables that dolt needs to reach it, such as the certificate to trust.
    fn dolt_settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Panics unless what was chosen about the server, and about dolt's uploads to it, shows in what dolt did.
    fn assert_effects(&self, uploads: Uploads);

    /// Stops the server; panics when something of what it did or logged is not as it must be.
    fn finish(self: Box<Self>);
}

/// Dolt's own remote server, in a temporary folder.
#[derive(Debug)]
pub struct Remotesrv {
    daemon: Daemon,
    port: u16,
    _folder: TempDir,
}

impl Remotesrv {
    /// Starts one, found as `$HOLDFAST_REMOTESRV` or on PATH; `None` after a word on stderr.
    ///
    /// `settings` are added to its environment.
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let Some(binary) = process::find("HOLDFAST_REMOTESRV", "remotesrv") else {
            say::skipped("no remotesrv; set HOLDFAST_REMOTESRV or put it on PATH");
            return None;
        };
        let folder =
            TempDir::with_prefix("holdfast-remotesrv-").expect("a temporary folder can be made");
        let (daemon, port) = Daemon::start_on_free_port(|port| {
            let mut command = Command::new(&binary);
            let port = port.to_string();
            command
                .args(["--http-port", &port, "--grpc-port", &port])
                .arg("--dir")
                .arg(folder.path());
            command.envs(settings.iter().copied());
            command
        });
        Some(Self {
            daemon,
            port,
            _folder: folder,
        })
    }
}

impl Remote for Remotesrv {
    fn kind(&self) -> RemoteKind {
        RemoteKind::Remotesrv
    }

    fn base_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Nothing: it tells too little.
    fn assert_effects(&self, _uploads: Uploads) {}

    fn finish(mut self: Box<Self>) {
        assert!(
            !self.daemon.has_ended(),
            "remotesrv ended by itself: {}",
            self.daemon.log()
        );
    }
}
