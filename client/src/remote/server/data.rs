//! Requests for data. They go to whatever host a server names, without the user's credentials.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_chunkstore::clock::Clock;
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};

use super::contact::Contacts;
use super::flow::Flow;
use super::range::RangeReader;
use super::trust::Trust;
use super::{CONNECT_TIMEOUT, KEEPALIVE, Means, user_agent};
use crate::remote::retry::retry_after;
use crate::remote::{Budget, DAMAGED, FileBody, MARK, RemoteError, RemoteFile, Retries};

/// How much of what a server says with a refusal is read.
const MAX_TOLD_BYTES: usize = 1024;

/// Shorter values in an address are no secrets, but numbers and dates.
const MIN_SECRET_BYTES: usize = 8;

/// How long nothing may come of what was asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests for data of one server.
#[derive(Debug)]
pub(super) struct Data {
    /// Gives up on a host that sends nothing.
    pub(super) reads: Client,
    /// Sends, which may take as long as the link needs; whoever sends watches that something moves.
    pub(super) uploads: Client,
    pub(super) flow: Flow,
    contacts: Contacts,
    pub(super) retries: Arc<dyn Retries>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A range of a file.
#[derive(Debug)]
pub(super) struct FileRange {
    /// All of its bytes.
    pub(super) bytes: Bytes,
    /// How long the file is, if the answer said so.
    pub(super) file_len: Option<u64>,
}

impl Data {
    /// Prepares requests; nothing is sent yet.
    pub(super) fn new(means: &Means) -> Result<Self, RemoteError> {
        let prepare = http("prepare to read data");
        let tls = Trust::of_system().config();
        let tls = tls.map_err(|source| RemoteError::Tls { source })?;
        let client = || {
            let client = Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .user_agent(user_agent())
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_keepalive(KEEPALIVE)
                .http2_adaptive_window(true);
            means.proxies.apply(client)
        };
        let reads = client().and_then(|client| client.read_timeout(READ_TIMEOUT).build());
        let uploads = client().and_then(reqwest::ClientBuilder::build);
        Ok(Self {
            reads: reads.map_err(&prepare)?,
            uploads: uploads.map_err(&prepare)?,
            flow: Flow::new(),
            contacts: means.contacts.clone(),
            retries: Arc::clone(&means.retries),
            clock: Arc::clone(&means.clock),
        })
    }

    /// Asks how long a file is: with the first byte comes the length of all.
    pub(super) async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError> {
        let body = self.read_file(file, 0, Some(1)).await?;
        body.len.ok_or_else(|| RemoteError::Answer {
            action: "ask how long a table file of the remote is",
            what: "no length of the file".to_owned(),
        })
    }

    /// Begins to read a file from `from` on, up to `to` or to its end. Dolt's own server takes no range without an end,
    /// and tells the length of a file only with a range.
    pub(super) async fn read_file(
        &self,
        file: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError> {
        let action = "read a table file of the remote";
        let mut request = self.reads.get(&file.place);
        let has_range = from > 0 || to.is_some();
        if has_range {
            let last = to.map(|end| (end - 1).to_string()).unwrap_or_default();
            request = request.header(RANGE, format!("bytes={from}-{last}"));
        }
        let response = self.answered(action, request).await?;
        let (begins_at, len) = match (response.status().as_u16(), has_range) {
            (200, _) => (0, response.content_length()),
            (206, true) => {
                check_beginning(action, &response, from)?;
                (from, total_len(&response))
            }
            _ => return Err(self.refusal(action, response).await),
        };
        Ok(FileBody {
            begins_at,
            len,
            bytes: Box::pin(response.bytes_stream().map_err(http(action))),
        })
    }

    /// Reads a range of a file.
    pub(super) async fn read_range(
        &self,
        url: &Url,
        range: Range<u64>,
    ) -> Result<FileRange, RemoteError> {
        let mut reader = self.range_reader(url, range);
        while reader.more().await? {}
        Ok(reader.into_rest())
    }

    /// Prepares to read a range of a file piece by piece.
    pub(super) fn range_reader<'a>(&'a self, url: &'a Url, range: Range<u64>) -> RangeReader<'a> {
        RangeReader::new(self, url, range)
    }

    /// Waits for the next try after a failure; false when there is none.
    pub(super) async fn wait_after(&self, error: &RemoteError, budget: &mut Budget) -> bool {
        let asked = error.retry_after();
        let (retries, clock) = (&*self.retries, &*self.clock);
        budget.wait_after(error, asked, retries, clock).await
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn answered(
        &self,
        action: &'static str,
        request: RequestBuilder,
    ) -> Result<Response, RemoteError> {
        let source = match request.send().await {
            Ok(response) => {
                self.contacts.note(&host(response.url()));
                return Ok(response);
            }
            Err(source) => source,
        };
        if let Some(url) = source.url() {
            let is_reached = self.contacts.has(&host(url));
            let endpoint = format!("{}://{}", url.scheme(), host(url));
            let unreachable = RemoteError::unreachable(&endpoint, &source, is_reached);
            if let Some(unreachable) = unreachable {
                return Err(unreachable);
            }
        }
        Err(http(action)(source))
    }

    /// The error of a request for data that was refused, with the beginning of the server's words.
    pub(super) async fn refusal(&self, action: &'static str, response: Response) -> RemoteError {
        let status = response.status().as_u16();
        let asked = match status {
            429 | 503 => response.headers().get(RETRY_AFTER),
            _ => None,
        };
        let asked = asked.and_then(|asked| retry_after(asked.to_str().ok()?, self.clock.now()));
        let url = response.url().clone();
        let mark = response.headers().get(MARK);
        let is_of_damage = mark.is_some_and(|mark| mark.as_bytes() == DAMAGED.as_bytes());
        let mut told = Vec::new();
        let mut pieces = response.bytes_stream();
        while told.len() < MAX_TOLD_BYTES
            && let Some(Ok(piece)) = pieces.next().await
        {
            let rest = MAX_TOLD_BYTES - told.len();
            told.extend_from_slice(&piece[..piece.len().min(rest)]);
        }
        let text = without_secrets(&String::from_utf8_lossy(&told), &url);
        if is_of_damage {
            let text = text.trim().to_owned();
            return RemoteError::Damaged { action, text };
        }
        RemoteError::Status {
            action,
            status,
            text,
            retry_after: asked,
        }
    }
}

/// Host and port of an address, the only part of it that may be shown.
fn host(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// The error of a request for data, without its address.
pub(super) fn http(action: &'static str) -> impl Fn(reqwest::Error) -> RemoteError {
    move |source| RemoteError::Http {
        action,
        source: source.without_url(),
    }
}

/// Takes out of a server's words what whoever asked must keep to himself: they may repeat the address that was asked
/// for, and who has it can read what it leads to.
fn without_secrets(text: &str, url: &Url) -> String {
    let query = url.query().unwrap_or_default();
    let raw = query.split('&').filter_map(|pair| pair.split_once('='));
    let raw = raw.map(|(_, value)| value.to_owned());
    let decoded = url.query_pairs().map(|(_, value)| value.into_owned());
    let secrets = std::iter::once(query.to_owned()).chain(raw).chain(decoded);
    let secrets = secrets.filter(|secret| secret.len() >= MIN_SECRET_BYTES);
    let mut secrets: Vec<_> = secrets.collect();
    // One that is the beginning of another would leave the rest of that one behind.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let secrets = secrets.iter();
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// How long the file is that an answer to a range is of, if it tells.
pub(super) fn total_len(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (_, total) = range.rsplit_once('/')?;
    total.trim().parse().ok()
}

/// Checks that an answer to a range begins where the range does.
pub(super) fn check_beginning(
    action: &'static str,
    response: &Response,
    offset: u64,
) -> Result<(), RemoteError> {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    let begins = range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'));
    let begins = begins.and_then(|(begins, _)| begins.trim().parse::<u64>().ok());
    if begins == Some(offset) {
        return Ok(());
    }
    Err(RemoteError::Answer {
        action,
        what: format!("another range than from {offset} on"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_an_address_are_taken_out_as_they_stand_and_decoded() {
        let url = "https://data.test/file?part=1&token=abc%2Fdef%2B0123&other=abc%2Fdef%2B01234567";
        let url: Url = url.parse().unwrap();
        for secret in [
            "part=1&token=abc%2Fdef%2B0123&other=abc%2Fdef%2B01234567",
            "abc%2Fdef%2B0123",
            "abc/def+0123",
            "abc%2Fdef%2B01234567",
            "abc/def+01234567",
        ] {
            let told = without_secrets(&format!("part 1 of <{secret}> is over"), &url);
            assert_eq!(told, "part 1 of <…> is over");
        }
    }
}
