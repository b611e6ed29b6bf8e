//! The log lines of one forge: kept, and looked through when it ends.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is kept: everything odd, and what ours says.
const FILTER: &str = "warn,holdfast_server=info,holdfast_chunkstore=info,holdfast_doltdb=info";

/// The lines of one forge. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    lines: Arc<Mutex<Vec<u8>>>,
    expected: Arc<Mutex<Vec<String>>>,
}

impl Logs {
    /// Takes the lines of every thread that this is made the default of.
    pub(super) fn dispatch(&self) -> Dispatch {
        let filter = EnvFilter::builder()
            .parse(FILTER)
            .expect("the filter is well formed");
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(self.clone())
            .with_ansi(false)
            .finish();
        Dispatch::new(subscriber)
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }

    /// A line at WARN or ERROR that holds this text is not a failure.
    pub fn expect(&self, text: &str) {
        self.expected.lock().unwrap().push(text.to_owned());
    }

    /// Panics if there is a line at WARN or ERROR that nobody expected.
    pub fn check(&self) {
        let text = self.text();
        let expected = self.expected.lock().unwrap();
        let odd: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
            .filter(|line| !expected.iter().any(|text| line.contains(text)))
            .collect();
        assert!(odd.is_empty(), "the servers logged, unexpectedly: {odd:#?}");
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
