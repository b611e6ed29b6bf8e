//! The servers that bench programs talk to.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::process::Daemon;

/// A server that runs on a free port of the loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    port: u16,
}

impl Server {
    /// Starts Dolt's own `remotesrv`, which keeps everything in `folder`.
    pub fn start_remotesrv(binary: &Path, folder: &Path) -> Self {
        Self::start(|port| {
            let (port, mut command) = (port.to_string(), Command::new(binary));
            command
                .args(["--http-port", &port, "--grpc-port", &port])
                .arg("--dir")
                .arg(folder);
            command
        })
    }

    /// Starts `holdfastd`, which keeps everything in `folder` and is open to everybody.
    pub fn start_holdfastd(binary: &Path, folder: &Path) -> Self {
        Self::start_holdfastd_with(binary, folder, |_| {})
    }

    /// The same with what `add` adds to the command.
    pub fn start_holdfastd_with(
        binary: &Path,
        folder: &Path,
        add: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start(|port| {
            let mut command = Command::new(binary);
            command
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .args(["serve", "--open", "--listen", &format!("127.0.0.1:{port}")])
                .args([OsStr::new("--data"), folder.as_os_str()]);
            add(&mut command);
            command
        })
    }

    fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let (daemon, port) = Daemon::start_on_free_port(command);
        Self { daemon, port }
    }

    /// The port of the loopback at which it answers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// The last lines that it printed, for messages.
    pub fn log_end(&self) -> String {
        let log = self.daemon.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}
