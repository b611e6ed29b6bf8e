//! The binary in a process of its own, which no test waits for in vain and which does not outlive its test.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

use crate::pushing::Client;

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(60);

/// A command of the binary, on this data directory alone.
pub(crate) fn holdfastd(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    command.env_clear().env("HOLDFAST_DATA", data);
    command
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// What it writes to stderr; the end of it is the end of the process.
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        // Whoever writes to a pipe that nobody reads waits.
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // Nobody may want to know any more.
                sender.send(line.unwrap()).ok();
            }
        });
        Self { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this text, and returns what follows it there.
    pub(crate) fn said(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).expect("it says so");
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended; returns how, and what it said last.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            said.push_str(&line);
            said.push('\n');
        }
        let status = self.child.try_wait().unwrap();
        // It has closed its stderr, and is about to end.
        (status.unwrap_or_else(|| self.child.wait().unwrap()), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server, open to everybody, on a local directory.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Daemon {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_by(holdfastd(data).args(["serve", "--log-filter", "warn"]))
    }

    /// Starts what this command serves.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let listen = [
            "--open",
            "--listen",
            "127.0.0.1:0",
            "--upload-free-floor",
            "1MiB",
        ];
        let command = command.args(listen).args(["--stop-grace", "0s"]);
        let process = Process::start(command);
        let address = process.said("holdfastd: listening on ");
        Self {
            process,
            url: format!("http://{address}"),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let endpoint = Channel::from_shared(self.url.clone()).unwrap();
        let endpoint = endpoint.user_agent("dolt_cli 2.3.1 linux amd64").unwrap();
        Client::new(endpoint.connect().await.unwrap())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::TERM);
        assert!(self.process.ended().0.success());
    }
}

/// A bucket whose server takes connections and answers what the test wants, or nothing.
#[derive(Debug)]
pub(crate) struct Bucket {
    connections: Receiver<TcpStream>,
    pub(crate) endpoint: String,
}

impl Bucket {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if sender.send(connection.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self {
            connections,
            endpoint,
        }
    }

    /// Makes a command keep everything there.
    pub(crate) fn keeps<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .args(["--store", "s3://bucket/prefix", "--s3-access-key-id", "key"])
            .args(["--s3-path-style", "--s3-endpoint", &self.endpoint])
            .env("HOLDFAST_S3_SECRET_ACCESS_KEY", "secret")
    }

    /// Waits until somebody connects.
    pub(crate) fn connected(&self) -> TcpStream {
        let connection = self.connections.recv_timeout(LIMIT);
        connection.expect("the bucket is asked")
    }
}
