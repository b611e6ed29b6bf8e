//! Child processes that cannot hang a test and do not outlive it.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use crate::wait;

/// How a command ended and what it printed.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// Whether it exited with zero.
    pub success: bool,
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
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

    /// All that it printed; panics with the transcript if it ended with another code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "ended otherwise: {self:#?}");
        self.text()
    }
}

/// Runs `command` with `input` to its end; after `limit` it is killed and the test panics.
pub fn run(command: Command, input: &str, limit: Duration) -> Finished {
    run_watched(command, input, limit, |_| {}).0
}

/// The same beside `watch`, which is told the process id in a thread of its own.
///
/// Only when `watch` has returned is the end of the process taken note of; until then its id is not given to another
/// one.
pub fn run_watched<T: Send + 'static>(
    mut command: Command,
    input: &str,
    limit: Duration,
    watch: impl FnOnce(u32) -> T + Send + 'static,
) -> (Finished, T) {
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
    let process = child.id();
    let watching = std::thread::spawn(move || watch(process));
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
    let seen = watching.join().expect("a watch does not panic");
    let status = child
        .wait()
        .expect("a child that was started can be waited for");
    let finished = Finished {
        command: shown,
        success: status.success(),
        code: status.code(),
        stdout,
        stderr,
    };
    (finished, seen)
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

/// A port of the loopback for a program that cannot choose one itself. While this lives, the system gives the port to
/// nobody else, so whoever listens there is that program, also after it was started again.
///
/// A socket is bound to the port and does not listen. A program that binds with `SO_REUSEADDR`, as servers do, may
/// listen beside it; who asks the system for any free port does not get this one.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    /// Takes a free one.
    pub fn take() -> Self {
        let held = TcpSocket::new_v4().expect("a socket can be made");
        held.set_reuseaddr(true)
            .and_then(|()| held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .expect("the loopback has a free port");
        let address = held.local_addr().expect("a bound socket has an address");
        Self {
            number: address.port(),
            _held: held,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A program that runs beside the test and is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    shown: String,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    port: Option<Port>,
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
            port: None,
        }
    }

    /// Starts a program that is told its port, and waits until it accepts connections there.
    pub fn start_on_free_port(command: impl FnOnce(u16) -> Command) -> (Self, u16) {
        let port = Port::take();
        let number = port.number();
        let mut daemon = Self::start(command(number));
        daemon.port = Some(port);
        daemon.wait_until_it_listens(number);
        (daemon, number)
    }

    /// Waits until it accepts connections at a port; panics with what it printed if it ends instead.
    pub fn wait_until_it_listens(&mut self, port: u16) {
        let ended = wait::until_some("a program to listen or to end", || {
            let ended = self.has_ended();
            (ended || wait::listens(port)).then_some(ended)
        });
        assert!(!ended, "{} ended at once: {}", self.shown, self.log());
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_is_for_one_listener_and_given_to_nobody_else() {
        let port = Port::take();
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, port.number()));

        assert!(!wait::listens(port.number()), "holding is not listening");
        let first = bind().unwrap();
        assert!(wait::listens(port.number()));
        assert!(bind().is_err(), "there is one listener");
        drop(first);
        drop(bind().expect("a program that is started again gets it again"));

        let drawn: Vec<TcpListener> = (0..500)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let numbers = drawn.iter().map(|other| other.local_addr().unwrap().port());
        assert_eq!(numbers.filter(|number| *number == port.number()).count(), 0);
    }
}
