//! Requests for data. They go to whatever host a server names, without the user's credentials.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_chunkstore::clock::Clock;
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::flow::{Flow, Leave};
use super::proxies::Proxies;
use super::trust::Trust;
use super::{CONNECT_TIMEOUT, KEEPALIVE, user_agent};
use crate::remote::retry::retry_after;
use crate::remote::{Budget, DAMAGED, FileBody, MARK, RemoteError, RemoteFile};

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
    reads: Client,
    /// Sends, which may take as long as the link needs; whoever sends watches that something moves.
    pub(super) uploads: Client,
    flow: Flow,
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
    pub(super) fn new(proxies: &Proxies, clock: Arc<dyn Clock>) -> Result<Self, RemoteError> {
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
            proxies.apply(client)
        };
        let reads = client().and_then(|client| client.read_timeout(READ_TIMEOUT).build());
        let uploads = client().and_then(reqwest::ClientBuilder::build);
        Ok(Self {
            reads: reads.map_err(&prepare)?,
            uploads: uploads.map_err(&prepare)?,
            flow: Flow::new(),
            clock,
        })
    }

    /// Asks how long a file is: with the first byte comes the length of all.
    pub(super) async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError> {
        let body = self.read_file(file, 0, Some(1)).await?;
        body.len.ok_or_else(|| RemoteError::Answer {
            action: "ask how long a table file is",
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
        let action = "read a table file";
        let mut request = self.reads.get(&file.place);
        let has_range = from > 0 || to.is_some();
        if has_range {
            let last = to.map(|end| (end - 1).to_string()).unwrap_or_default();
            request = request.header(RANGE, format!("bytes={from}-{last}"));
        }
        let response = request.send().await.map_err(http(action))?;
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
        RangeReader {
            data: self,
            url,
            end: range.end,
            arrived: Arrived {
                start: range.start,
                bytes: BytesMut::new(),
            },
            budget: Budget::new(),
            open: None,
            file_len: None,
        }
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

/// What came of a range and was not taken off yet.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Where in the file it begins.
    pub(super) start: u64,
    pub(super) bytes: BytesMut,
}

impl Arrived {
    /// Where in the file it ends.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Takes off its first bytes.
    pub(super) fn take(&mut self, len: usize) -> BytesMut {
        self.start += len as u64;
        self.bytes.split_to(len)
    }
}

/// A range that comes piece by piece. What was cut off is continued, and every byte that comes renews the tries.
pub(super) struct RangeReader<'a> {
    data: &'a Data,
    url: &'a Url,
    end: u64,
    pub(super) arrived: Arrived,
    budget: Budget,
    open: Option<OpenRange<'a>>,
    file_len: Option<u64>,
}

/// A request that is being answered.
struct OpenRange<'a> {
    leave: Leave<'a>,
    /// Nothing before it was answered.
    pieces: Option<Pieces>,
    /// Where it began.
    from: u64,
}

type Pieces = BoxStream<'static, Result<Bytes, RemoteError>>;

/// How much room is made at once for what comes.
const ROOM_BYTES: u64 = 256 << 10;

impl RangeReader<'_> {
    /// Waits for more; false when all is there.
    pub(super) async fn more(&mut self) -> Result<bool, RemoteError> {
        loop {
            let missing = self.end - self.arrived.end();
            if missing == 0 {
                if let Some(open) = self.open.take() {
                    open.leave.succeeded();
                }
                return Ok(false);
            }
            let mut open = match self.open.take() {
                Some(open) => open,
                None => OpenRange {
                    leave: self.data.flow.enter().await,
                    pieces: None,
                    from: self.arrived.end(),
                },
            };
            let error = match self.next_piece(&mut open, missing).await {
                Ok(()) => {
                    self.open = Some(open);
                    return Ok(true);
                }
                Err(error) => error,
            };
            match error.may_pass() {
                true => open.leave.failed(),
                false => return Err(error),
            }
            if self.arrived.end() > open.from {
                self.budget.renew();
            }
            let asked = error.retry_after();
            if !self.budget.wait_as_asked(asked, &*self.data.clock).await {
                return Err(error);
            }
        }
    }

    /// What was not taken off.
    pub(super) fn into_rest(self) -> FileRange {
        FileRange {
            bytes: self.arrived.bytes.freeze(),
            file_len: self.file_len,
        }
    }

    async fn next_piece(
        &mut self,
        open: &mut OpenRange<'_>,
        missing: u64,
    ) -> Result<(), RemoteError> {
        let action = "read chunks";
        let pieces = match &mut open.pieces {
            Some(pieces) => pieces,
            None => {
                let pieces = self.begin(action).await?;
                open.pieces.insert(pieces)
            }
        };
        let Some(piece) = pieces.next().await else {
            return Err(RemoteError::Short { action, missing });
        };
        let piece = piece?;
        if piece.len() as u64 > missing {
            return Err(RemoteError::Answer {
                action,
                what: "more bytes than were asked for".to_owned(),
            });
        }
        let bytes = &mut self.arrived.bytes;
        if bytes.capacity() - bytes.len() < piece.len() {
            let room = usize::try_from(missing.min(ROOM_BYTES)).unwrap_or(0);
            bytes.reserve(room.max(piece.len()));
        }
        bytes.extend_from_slice(&piece);
        Ok(())
    }

    /// Asks for what is missing behind what is there.
    async fn begin(&mut self, action: &'static str) -> Result<Pieces, RemoteError> {
        let (begins_at, last) = (self.arrived.end(), self.end - 1);
        let request = self.data.reads.get(self.url.clone());
        let request = request.header(RANGE, format!("bytes={begins_at}-{last}"));
        let response = request.send().await.map_err(http(action))?;
        match response.status().as_u16() {
            206 => check_beginning(action, &response, begins_at)?,
            200 => {
                let what = "a whole file (status 200) where a range was asked for";
                let what = what.to_owned();
                return Err(RemoteError::Answer { action, what });
            }
            _ => return Err(self.data.refusal(action, response).await),
        }
        self.file_len = total_len(&response).or(self.file_len);
        Ok(response.bytes_stream().map_err(http(action)).boxed())
    }
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
fn total_len(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (_, total) = range.rsplit_once('/')?;
    total.trim().parse().ok()
}

/// Checks that an answer to a range begins where the range does.
fn check_beginning(
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
