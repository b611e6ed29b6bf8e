//! `holdfastd` as a child process, so that it can be killed.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::logs;
use crate::peer::Peer;
use crate::process::{self, Daemon, Port};

/// A server that can be killed and started again on the same directory and at the same address.
///
/// When it is dropped, a line at WARN or ERROR that any of its processes logged fails the test.
#[derive(Debug)]
pub struct ChildForge {
    data: TempDir,
    daemon: Daemon,
    port: Port,
    expected: Vec<String>,
    /// What was logged before the last start.
    earlier: String,
}

impl ChildForge {
    /// Starts an open server on a local directory.
    pub fn start() -> Self {
        let data = TempDir::with_prefix("holdfast-child-").unwrap();
        let port = Port::take();
        let daemon = spawn(&data, &port);
        Self {
            data,
            daemon,
            port,
            expected: Vec::new(),
            earlier: String::new(),
        }
    }

    /// Where clients go.
    pub fn base_url(&self) -> String {
        format!("http://localhost:{}", self.port.number())
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

    /// A line at WARN or ERROR with exactly this message is not a failure.
    pub fn expect_logged(&mut self, message: &str) {
        self.expected.push(message.to_owned());
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again, at the same address, and waits until it is ready.
    pub fn start_again(&mut self) {
        self.kill();
        self.earlier.push_str(&self.daemon.log());
        self.earlier.push('\n');
        self.daemon = spawn(&self.data, &self.port);
    }
}

impl Drop for ChildForge {
    fn drop(&mut self) {
        self.kill();
        let text = format!("{}{}", self.earlier, self.daemon.log());
        if std::thread::panicking() {
            eprintln!("holdfastd logged:\n{text}");
        } else {
            logs::check(&text, &self.expected);
        }
    }
}

fn spawn(data: &TempDir, port: &Port) -> Daemon {
    let mut command = Command::new(binary());
    command
        .arg("serve")
        .arg("--open")
        .arg("--data")
        .arg(data.path().join("data"))
        .args([
            "--listen",
            &format!("127.0.0.1:{}", port.number()),
            "--free-floor",
            "1MiB",
        ]);
    let mut daemon = Daemon::start(command);
    daemon.wait_until_it_listens(port.number());
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
        panic!("no holdfastd beside the test binary: build it with `./dev cargo build --workspace --locked`, as a test of the whole workspace does")
    })
}
