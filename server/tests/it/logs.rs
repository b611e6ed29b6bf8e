//! The threads of one server and its log lines: kept apart from those of other tests, and looked through when
//! the server ends.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

use tokio::runtime::Runtime;
use tracing::Dispatch;
use tracing::dispatcher::DefaultGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is kept: everything odd, and what ours says.
const FILTER: &str = "warn,holdfast_server=info,holdfast_chunkstore=info,holdfast_doltdb=info";

/// How the query of every signed address begins, and what is in it; no line has both.
const SIGNED: [&str; 2] = ["?", "&s="];

/// How many lines are shown where a test fails.
const LAST: usize = 40;

thread_local! {
    static LOGGING: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// The lines of one server. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs {
    lines: Arc<Mutex<Vec<u8>>>,
    /// What lines at WARN or ERROR may say.
    expected: Arc<Mutex<Vec<&'static str>>>,
}

impl Logs {
    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }

    /// Lets lines at WARN and ERROR say this.
    pub(crate) fn expect(&self, text: &'static str) {
        self.expected.lock().unwrap().push(text);
    }

    /// The last few lines.
    fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST)..].join("\n")
    }

    /// Panics if there is a line at WARN or ERROR, or one with a signed address.
    fn check(&self) {
        let text = self.text();
        let expected = self.expected.lock().unwrap();
        let is_odd = |line: &&str| {
            let is_loud = line.contains(" WARN ") || line.contains(" ERROR ");
            is_loud && !expected.iter().any(|text| line.contains(text))
        };
        let odd: Vec<&str> = text.lines().filter(is_odd).take(10).collect();
        assert!(odd.is_empty(), "the server logged: {odd:#?}");
        let is_signed = |line: &&str| {
            let query = line.split_once(SIGNED[0]).map(|(_, query)| query);
            query.is_some_and(|query| query.contains(SIGNED[1]))
        };
        let signed = text.lines().find(is_signed);
        assert_eq!(signed, None, "the server logged a signed address");
    }

    fn dispatch(&self) -> Dispatch {
        let filter = EnvFilter::builder().parse(FILTER).unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(self.clone())
            .with_ansi(false)
            .finish();
        Dispatch::new(subscriber)
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The threads of one server. Dropping them ends whatever runs on them and looks through the log; a panic on
/// one of them is a line at ERROR.
#[derive(Debug)]
pub(crate) struct Threads {
    runtime: Option<Runtime>,
    logs: Logs,
}

impl Threads {
    pub(crate) fn start(logs: Logs) -> Self {
        log_panics();
        let dispatch = logs.dispatch();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(move || {
                let guard = tracing::dispatcher::set_default(&dispatch);
                LOGGING.with(|logging| logging.replace(Some(guard)));
            })
            .on_thread_stop(|| drop(LOGGING.with(RefCell::take)))
            .build()
            .unwrap();
        Self {
            runtime: Some(runtime),
            logs,
        }
    }

    /// Runs a future on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let runtime = self.runtime.as_ref().expect("taken only by drop");
        runtime.spawn(future).await.unwrap()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped on a thread of another.
            drop(std::thread::spawn(move || drop(runtime)).join());
        }
        if std::thread::panicking() {
            eprintln!("the server logged:\n{}", self.logs.tail());
        } else {
            self.logs.check();
        }
    }
}

/// Makes each panic a line in the log of the thread that it happens on.
fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            tracing::error!(%info, "a thread panicked");
        }));
    });
}

#[tokio::test]
async fn a_panic_of_the_server_and_a_warning_fail_a_test() {
    for work in [|| panic!("on purpose"), || tracing::warn!("on purpose")] {
        let logs = Logs::default();
        let threads = Threads::start(logs.clone());
        let runtime = threads.runtime.as_ref().unwrap();
        drop(runtime.spawn(async move { work() }).await);
        assert!(logs.text().contains("on purpose"), "{}", logs.text());
        let ended = std::panic::AssertUnwindSafe(|| drop(threads));
        assert!(std::panic::catch_unwind(ended).is_err());
    }
}
