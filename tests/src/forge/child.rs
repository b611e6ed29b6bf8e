//! `holdfastd` as a child process, so that it can be killed.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::peer::Peer;
use crate::process::{self, Daemon};
use crate::wait;

/// A server that can be killed and started again on the same directory.
#[derive(Debug)]
pub struct ChildForge {
    data: TempDir,
    daemon: Daemon,
    port: u16,
}

impl ChildForge {
    /// Starts an open server on a local directory.
    pub fn start() -> Self {
        let data = TempDir::with_prefix("holdfast-child-").unwrap();
        let port = wait::free_port();
        let daemon = spawn(&data, port);
        Self { data, daemon, port }
    }

    /// Where clients go.
    pub fn base_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// A client of a repository.
    pub fn peer(&self, path: &str) -> Peer {
        Peer::new(&self.base_url(), path)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again, at the same address, and waits until it is ready.
    pub fn start_again(&mut self) {
        self.daemon = spawn(&self.data, self.port);
    }
}

fn spawn(data: &TempDir, port: u16) -> Daemon {
    let mut command = Command::new(binary());
    command
        .arg("serve")
        .arg("--open")
        .arg("--data")
        .arg(data.path().join("data"))
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--free-floor",
            "1MiB",
        ]);
    let mut daemon = Daemon::start(command);
    let ended = wait::until_some("holdfastd to listen", || {
        let ended = daemon.has_ended();
        (ended || wait::listens(port)).then_some(ended)
    });
    assert!(!ended, "holdfastd ended at once: {}", daemon.log());
    daemon
}

/// `$HOLDFAST_SERVER`, else what cargo built beside the test binary.
fn binary() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().ok()?;
        let file = test.parent()?.parent()?.join("holdfastd");
        file.is_file().then_some(file)
    };
    process::find("HOLDFAST_SERVER", "").or_else(beside).unwrap_or_else(|| {
        panic!("no holdfastd beside the test binary: build it with `cargo build -p holdfast-server`, as ./dev test does")
    })
}
