//! `holdfastd` as a child process, started by a command of the test's own, again and again at one address.
//!
//! Its log holds no secret of its environment and no signed address.

use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::bucket::Bucket;
use holdfast_tests::forge;
use holdfast_tests::peer::Peer;
use holdfast_tests::process::{self, Daemon, Port};

/// A server that can be killed and started again. When it is dropped, a line at WARN or ERROR that no process of it
/// was expected to log fails the test.
pub(crate) struct Child {
    command: Box<dyn Fn() -> Command>,
    port: Port,
    daemon: Daemon,
    /// What was logged before the last start.
    earlier: String,
    expected: Vec<&'static str>,
}

impl Child {
    /// Starts what the command says; where to listen is added to it.
    pub(crate) fn start(command: impl Fn() -> Command + 'static) -> Self {
        let port = Port::take();
        let daemon = spawn(command(), &port);
        Self {
            command: Box::new(command),
            port,
            daemon,
            earlier: String::new(),
            expected: Vec::new(),
        }
    }

    /// Where clients go.
    pub(crate) fn base_url(&self) -> String {
        format!("http://localhost:{}", self.port.number())
    }

    /// A client of a repository, with a connection of its own.
    pub(crate) fn peer(&self, path: &str) -> Peer {
        Peer::new(&self.base_url(), path)
    }

    /// How many files and connections the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.daemon.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        format!("{}{}", self.earlier, self.daemon.log())
    }

    /// A line at WARN or ERROR that holds this message is not a failure.
    pub(crate) fn expect(&mut self, message: &'static str) {
        self.expected.push(message);
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again, at the same address, and waits until it listens.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        self.earlier.push_str(&self.daemon.log());
        self.daemon = spawn((self.command)(), &self.port);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if std::thread::panicking() {
            holdfast_tests::say::line(format_args!("holdfastd logged:\n{log}"));
            return;
        }
        forge::check_secrets(&log, &secrets(&(self.command)()));
        let odd: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
            .filter(|line| !self.expected.iter().any(|message| line.contains(message)))
            .collect();
        assert!(odd.is_empty(), "holdfastd logged, unexpectedly: {odd:#?}");
    }
}

/// The secrets that a command is told by its environment.
fn secrets(command: &Command) -> Vec<String> {
    let told = command.get_envs();
    let secret = told.filter(|(name, _)| name.to_string_lossy().contains("SECRET"));
    let values = secret.filter_map(|(_, value)| value?.to_str().map(str::to_owned));
    values.collect()
}

fn spawn(mut command: Command, port: &Port) -> Daemon {
    command.args(["--listen", &format!("127.0.0.1:{}", port.number())]);
    let mut daemon = Daemon::start(command);
    daemon.wait_until_it_listens(port.number());
    daemon
}

/// Makes `program`, by which holdfastd is run, one that serves a directory to everybody on this machine.
pub(crate) fn serving(mut program: Command, data: &Path, free_floor: &str) -> Command {
    program
        .args(["serve", "--open", "--upload-free-floor", free_floor])
        .args(["--stop-grace", "0s", "--data"])
        .arg(data);
    program
}

/// Keeps everything in a bucket, under the prefix that [`crate::ledger::settings`] looks under.
pub(crate) fn in_bucket(mut command: Command, data: &Path, bucket: &Bucket) -> Command {
    let prefix = data.parent().unwrap().file_name().unwrap();
    let store = format!("s3://{}/{}", bucket.name(), prefix.to_string_lossy());
    command
        .env("HOLDFAST_STORE", store)
        .env("HOLDFAST_S3_ENDPOINT", bucket.endpoint())
        .env("HOLDFAST_S3_PATH_STYLE", "true")
        .env("HOLDFAST_S3_ACCESS_KEY_ID", bucket.access_key())
        .env("HOLDFAST_S3_SECRET_ACCESS_KEY", bucket.secret_key());
    command
}

/// `$HOLDFAST_SERVER`, else what cargo built beside the test binary.
pub(crate) fn binary() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().ok()?;
        let file = test.parent()?.parent()?.join("holdfastd");
        file.is_file().then_some(file)
    };
    let found = process::find("HOLDFAST_SERVER", "").or_else(beside);
    found.expect("holdfastd stands beside the test binary: `./dev cargo build --workspace --locked` puts it there")
}
