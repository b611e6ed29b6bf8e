//! Requests for data. They go to whatever host a server names, without the user's credentials.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_chunkstore::clock::Clock;
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::flow::Flow;
use super::proxies::Proxies;
use super::{CONNECT_TIMEOUT, KEEPALIVE, user_agent};
use crate::remote::retry::retry_after;
use crate::remote::{Budget, FileBody, RemoteError, RemoteFile};

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

impl Data {
    /// Prepares requests; nothing is sent yet.
    pub(super) fn new(proxies: &Proxies, clock: Arc<dyn Clock>) -> Result<Self, RemoteError> {
        let prepare = http("prepare to read data");
        let client = || {
            let client = Client::builder()
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

    /// Begins to read a file from `offset` on.
    pub(super) async fn read_file(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileBody, RemoteError> {
        let action = "read a table file";
        let mut request = self.reads.get(&file.place);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let response = request.send().await.map_err(http(action))?;
        let status = response.status().as_u16();
        match (status, offset) {
            (200, _) => {}
            (206, 1..) => check_beginning(action, &response, offset)?,
            _ => return Err(self.refusal(action, response).await),
        }
        let begins_at = if status == 206 { offset } else { 0 };
        let rest = response.content_length();
        Ok(FileBody {
            begins_at,
            len: rest.and_then(|rest| begins_at.checked_add(rest)),
            bytes: Box::pin(response.bytes_stream().map_err(http(action))),
        })
    }

    /// Reads a range of a file. What was cut off is continued, and every byte that comes renews the tries.
    pub(super) async fn read_range(
        &self,
        url: &Url,
        range: Range<u64>,
    ) -> Result<Bytes, RemoteError> {
        let mut body = BytesMut::new();
        let mut budget = Budget::new();
        loop {
            let have = body.len();
            let leave = self.flow.enter().await;
            let error = match self.continue_range(url, &range, &mut body).await {
                Ok(()) => {
                    leave.succeeded();
                    return Ok(body.freeze());
                }
                Err(error) => error,
            };
            match error.may_pass() {
                true => leave.failed(),
                false => return Err(error),
            }
            if body.len() > have {
                budget.renew();
            }
            let asked = error.retry_after();
            if !budget.wait_as_asked(asked, &*self.clock).await {
                return Err(error);
            }
        }
    }

    /// Reads what is missing of a range behind what is there.
    async fn continue_range(
        &self,
        url: &Url,
        range: &Range<u64>,
        body: &mut BytesMut,
    ) -> Result<(), RemoteError> {
        let action = "read chunks";
        let begins_at = range.start + body.len() as u64;
        let last = range.end - 1;
        let request = self.reads.get(url.clone());
        let request = request.header(RANGE, format!("bytes={begins_at}-{last}"));
        let response = request.send().await.map_err(http(action))?;
        match response.status().as_u16() {
            206 => check_beginning(action, &response, begins_at)?,
            200 => {
                let what = "a whole file (status 200) where a range was asked for";
                let what = what.to_owned();
                return Err(RemoteError::Answer { action, what });
            }
            _ => return Err(self.refusal(action, response).await),
        }
        let mut missing = range.end - begins_at;
        body.reserve(usize::try_from(missing).unwrap_or(0));
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(http(action))?;
            let rest = missing.checked_sub(piece.len() as u64);
            missing = rest.ok_or_else(|| RemoteError::Answer {
                action,
                what: "more bytes than were asked for".to_owned(),
            })?;
            body.extend_from_slice(&piece);
        }
        match missing {
            0 => Ok(()),
            missing => Err(RemoteError::Short { action, missing }),
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
        let mut told = Vec::new();
        let mut pieces = response.bytes_stream();
        while told.len() < MAX_TOLD_BYTES
            && let Some(Ok(piece)) = pieces.next().await
        {
            let rest = MAX_TOLD_BYTES - told.len();
            told.extend_from_slice(&piece[..piece.len().min(rest)]);
        }
        RemoteError::Status {
            action,
            status,
            text: without_secrets(&String::from_utf8_lossy(&told), &url),
            retry_after: asked,
        }
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
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let secrets = std::iter::once(query.to_owned()).chain(values);
    let secrets = secrets.filter(|secret| secret.len() >= MIN_SECRET_BYTES);
    secrets.fold(text.to_owned(), |text, secret| text.replace(&secret, "…"))
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
