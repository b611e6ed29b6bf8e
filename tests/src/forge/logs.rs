//! The log lines of one forge: kept, and looked through when it ends.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is kept: everything odd, and all that ours says, every finished request among it.
const FILTER: &str = "warn,holdfast_server=debug,holdfast_chunkstore=debug,holdfast_doltdb=debug";

/// What only the query of a signed address holds: ours, and a bucket's.
const OF_SIGNED_ADDRESSES: [&str; 3] = ["&s=", "?s=", "X-Amz-Signature"];

/// The lines of one forge. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    lines: Arc<Mutex<Vec<u8>>>,
    expected: Arc<Mutex<Vec<String>>>,
    secrets: Arc<Mutex<Vec<String>>>,
}

/// A request that a server has answered, or that ended before its answer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRequest {
    /// Its HTTP method; a gRPC call is a POST.
    pub method: String,
    /// Its path, without a query.
    pub path: String,
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

    /// A line at WARN or ERROR with exactly this message, whatever its fields, is not a failure.
    pub fn expect(&self, message: &str) {
        self.expected.lock().unwrap().push(message.to_owned());
    }

    /// A line with this text is a failure.
    pub(super) fn keep_out(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// The requests that the lines tell of, in the order in which they ended.
    pub fn requests(&self) -> Vec<FinishedRequest> {
        self.text().lines().filter_map(finished_request).collect()
    }

    /// Panics if there is a line at WARN or ERROR that nobody expected, or one with a secret.
    pub(super) fn check(&self) {
        let text = self.text();
        check_secrets(&text, &self.secrets.lock().unwrap());
        check(&text, &self.expected.lock().unwrap());
    }
}

/// Panics, without repeating it, if a line of a server's log holds a signed address or one of these secrets.
pub fn check_secrets(text: &str, secrets: &[impl AsRef<str>]) {
    let secrets = secrets.iter().map(AsRef::as_ref);
    let hidden: Vec<&str> = secrets.chain(OF_SIGNED_ADDRESSES).collect();
    for (number, line) in text.lines().enumerate() {
        let found = hidden.iter().filter_map(|text| line.find(text)).min();
        assert!(
            found.is_none(),
            "line {number} of the log holds a secret or a signed address behind {:?}",
            found.map(|at| line[..at].split('?').next())
        );
    }
}

/// Panics if there is a line at WARN or ERROR without one of the expected messages.
fn check(text: &str, expected: &[String]) {
    let odd: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !expected.iter().any(|message| has_message(line, message)))
        .collect();
    assert!(odd.is_empty(), "the servers logged, unexpectedly: {odd:#?}");
}

/// Whether the message of a line, which stands between the target and the fields, is exactly this one.
fn has_message(line: &str, message: &str) -> bool {
    let is_end = |rest: &str| {
        rest.is_empty()
            || rest.strip_prefix(' ').is_some_and(|field| {
                let name = field.split('=').next().unwrap_or_default();
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
                name.len() < field.len() && name.bytes().all(plain)
            })
    };
    let begun = format!(": {message}");
    line.match_indices(&begun)
        .any(|(at, _)| is_end(&line[at + begun.len()..]))
}

fn finished_request(line: &str) -> Option<FinishedRequest> {
    let (_, rest) = line.split_once(" request{")?;
    let (span, _) = rest.split_once("}: holdfast_server::telemetry::request: finished ")?;
    let (_, method) = span.split_once(" method=")?;
    let (method, rest) = method.split_once(" path=\"")?;
    let (path, _) = rest.split_once('"')?;
    Some(FinishedRequest {
        method: method.to_owned(),
        path: path.to_owned(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_expected_by_its_whole_message() {
        let line = "2026-01-02T03:04:05Z  WARN request{id=\"1-2\" method=PUT path=\"/a: no room\"}: \
                    holdfast_server::forge::error: no room cause=\"the disk: is full\"";
        assert!(has_message(line, "no room"));
        assert!(!has_message(line, "no"), "a part is not the message");
        assert!(!has_message(line, "is full"), "a field is not the message");
        assert!(has_message("ERROR some::target: it broke", "it broke"));
        check(line, &["no room".to_owned()]);
    }

    #[test]
    #[should_panic(expected = "unexpectedly")]
    fn an_unexpected_line_panics() {
        check("x  WARN some::target: odd", &["even".to_owned()]);
    }

    #[test]
    fn secrets_and_signed_addresses_are_found_and_not_repeated() {
        let none: [&str; 0] = [];
        check_secrets("GET path=/data/pools/x finished", &none);
        check_secrets("the token was wrong", &["s3cret"]);
        for line in [
            "the token s3cret was wrong",
            "cause=\"GET http://host/data/x?e=1&s=abc\"",
            "cause=\"GET http://bucket/x?X-Amz-Date=1&X-Amz-Signature=abc\"",
        ] {
            let found = std::panic::catch_unwind(|| check_secrets(line, &["s3cret"]));
            let text = *found.unwrap_err().downcast::<String>().unwrap();
            assert!(
                !text.contains("s3cret") && !text.contains("X-Amz"),
                "{text}"
            );
            assert!(!text.contains("e=1"), "{text}");
        }
    }

    #[test]
    fn finished_requests_are_read_off_the_lines() {
        let line = "2026-01-02T03:04:05Z DEBUG request{id=\"1-2\" method=GET path=\"/data/x\" repo=a/b}: \
                    holdfast_server::telemetry::request: finished status=200 millis=1";
        let expected = FinishedRequest {
            method: "GET".to_owned(),
            path: "/data/x".to_owned(),
        };
        assert_eq!(finished_request(line), Some(expected));
        assert_eq!(finished_request("INFO some::target: finished"), None);
    }
}
