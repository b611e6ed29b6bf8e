//! One request: its id, its span, and the line that is written when its answer has been sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::clock::Clock;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tracing::Span;

use crate::transport::{BodyError, ResponseBody};

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// Makes request ids: unique in this process by a number, among processes by what begins them.
#[derive(Debug)]
pub struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// Makes ids that begin with `process`, a random number.
    pub fn new(process: u32) -> Self {
        Self {
            process,
            next: AtomicU64::new(1),
        }
    }

    /// Takes the client's id if it is a short plain word, else makes one.
    pub fn of(&self, headers: &HeaderMap) -> String {
        let plain = |text: &&str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(plain)
            .map_or_else(
                || {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    format!("{:08x}-{number:x}", self.process)
                },
                str::to_owned,
            )
    }
}

/// Opens the span of a request. The query is left out: addresses of data carry their signature there.
pub fn span<B>(id: &str, request: &Request<B>) -> Span {
    tracing::info_span!(
        "request",
        id,
        method = %request.method(),
        path = request.uri().path(),
        repo = tracing::field::Empty,
        principal = tracing::field::Empty,
    )
}

/// Watches a request to its end.
#[derive(Debug)]
pub struct Watch {
    span: Span,
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl Watch {
    /// Begins to watch.
    pub fn new(span: Span, clock: Arc<dyn Clock>) -> Self {
        let began = clock.monotonic();
        Self { span, clock, began }
    }

    /// Puts the id into the answer's head, and writes a line when its body has been sent or dropped.
    pub fn follow(self, id: &str, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        if let Ok(value) = HeaderValue::from_str(id) {
            head.headers.insert(REQUEST_ID, value);
        }
        let ending = Ending {
            watch: self,
            status: head.status.as_u16(),
            grpc: grpc_status(&head.headers),
            sent_bytes: 0,
            len_bytes: content_length(&head.headers),
            complete: false,
        };
        let body = Followed { body, ending };
        Response::from_parts(head, ResponseBody::new(body))
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

struct Ending {
    watch: Watch,
    status: u16,
    grpc: Option<i32>,
    sent_bytes: u64,
    /// How long the body shall be, where its head says so; it is not asked for an end then.
    len_bytes: Option<u64>,
    complete: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let clock = &self.watch.clock;
        let millis = clock
            .monotonic()
            .saturating_sub(self.watch.began)
            .as_millis();
        let _entered = self.watch.span.enter();
        let (status, sent_bytes) = (self.status, self.sent_bytes);
        let complete = self.complete || self.len_bytes == Some(sent_bytes);
        match self.grpc {
            Some(grpc) => tracing::debug!(grpc, millis, sent_bytes, complete, "finished"),
            None => tracing::debug!(status, millis, sent_bytes, complete, "finished"),
        }
    }
}

struct Followed {
    body: ResponseBody,
    ending: Ending,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let _entered = this.ending.watch.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.ending.sent_bytes += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    this.ending.grpc = grpc_status(trailers);
                    this.ending.complete = true;
                }
            }
            Poll::Ready(None) => this.ending.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        if this.body.is_end_stream() {
            this.ending.complete = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_of_the_client_is_kept_and_another_is_replaced() {
        let ids = RequestIds::new(0xab);
        let mut headers = HeaderMap::new();
        assert_eq!(ids.of(&headers), "000000ab-1");
        headers.insert(REQUEST_ID, HeaderValue::from_static("their-id_7.x"));
        assert_eq!(ids.of(&headers), "their-id_7.x");
        headers.insert(REQUEST_ID, HeaderValue::from_static("two words"));
        assert_eq!(ids.of(&headers), "000000ab-2");
    }
}
