//! Child processes that cannot hang a test and do not outlive it.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wait;

/// How a command ended and what it printed.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// Whether it exited with zero.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Everything that it printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Its standard output; panics with the transcript if it failed.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.success, "failed: {self:#?}");
        self.stdout
    }

    /// All that it printed; panics with the transcript if it did not fail.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(!self.success, "should have failed: {self:#?}");
        self.text()
    }
}

/// Runs `command` with `input` to its end; after `limit` it is killed and the test panics.
pub fn run(mut command: Command, input: &str, limit: Duration) -> Finished {
    let shown = shown(&command);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {shown}: {error}"));
    let stdout = collect(child.stdout.take().expect("stdout is a pipe"));
    let stderr = collect(child.stderr.take().expect("stderr is a pipe"));
    if let Some(mut pipe) = child.stdin.take() {
        let bytes = input.to_owned();
        // A program that does not read all of its input is no failure of ours: its output tells.
        std::thread::spawn(move || drop(pipe.write_all(bytes.as_bytes())));
    }
    let deadline = Instant::now() + limit;
    let texts = [&stdout, &stderr].map(|text| wait_for(text, deadline));
    let [Some(stdout), Some(stderr)] = texts else {
        drop(child.kill());
        drop(child.wait());
        panic!("{shown} did not end within {limit:?} and was killed; it had printed {texts:?}");
    };
    let status = child
        .wait()
        .expect("a child that was started can be waited for");
    Finished {
        command: shown,
        success: status.success(),
        stdout,
        stderr,
    }
}

fn shown(command: &Command) -> String {
    let arguments: Vec<_> = command
        .get_args()
        .map(|part| part.to_string_lossy())
        .collect();
    let folder = command.get_current_dir().unwrap_or(Path::new("."));
    let program = command.get_program().to_string_lossy();
    format!(
        "{program} {} (in {})",
        arguments.join(" "),
        folder.display()
    )
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}

fn wait_for(text: &Receiver<String>, deadline: Instant) -> Option<String> {
    match text.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(text) => Some(text),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(String::new()),
    }
}

/// A program that runs beside the test and is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    shown: String,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts `command`; what it prints is kept.
    pub fn start(mut command: Command) -> Self {
        let shown = shown(&command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            follow(
                child.stdout.take().expect("stdout is a pipe"),
                Arc::clone(&log),
            ),
            follow(
                child.stderr.take().expect("stderr is a pipe"),
                Arc::clone(&log),
            ),
        ];
        Self {
            child,
            shown,
            log,
            readers,
        }
    }

    /// Starts a program that is told its port, and waits until it accepts connections there.
    pub fn start_on_free_port(command: impl Fn(u16) -> Command) -> (Self, u16) {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            let port = wait::free_port();
            let mut daemon = Self::start(command(port));
            let ready = wait::until_some("the program to listen or to end", || {
                let ended = daemon.has_ended();
                (ended || wait::listens(port)).then_some(!ended)
            });
            if ready {
                return (daemon, port);
            }
            eprintln!("{} ended at once: {}", daemon.shown, daemon.log());
        }
        panic!("the program did not start {ATTEMPTS} times in a row");
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child that was started can be asked")
            .is_some()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn follow(mut pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = pipe.read(&mut buffer) {
            if count == 0 {
                break;
            }
            log.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    })
}

/// Finds an executable: the file that the variable names, else `name` on PATH.
pub fn find(variable: &str, name: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(chosen) => Some(PathBuf::from(chosen)).filter(|file| file.is_file()),
        None => on_path(name),
    }
}

/// Finds `name` on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
