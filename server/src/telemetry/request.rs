//! One request: its id, its span, and the line that is written when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::clock::Clock;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tracing::Span;

use super::strangers::Strangers;
use crate::peer::Peer;
use crate::transport::{BodyError, ResponseBody};
use crate::work::{Running, Work};

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// The id of a request, as it stands among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

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

/// How much of a path is logged, in characters; more than any path of ours has.
const PATH_LEN: usize = 256;
/// How much of a method is logged, in characters.
const METHOD_LEN: usize = 16;

/// Opens the span of a request. The query is left out: addresses of data carry their signature there.
pub fn span<B>(id: &str, request: &Request<B>) -> Span {
    tracing::info_span!(
        "request",
        id,
        method = %first(request.method().as_str(), METHOD_LEN),
        path = first(request.uri().path(), PATH_LEN),
        repo = tracing::field::Empty,
        principal = tracing::field::Empty,
        refused = tracing::field::Empty,
    )
}

/// The first characters of a text that a caller chose, which may be as long as the head of a request.
fn first(text: &str, len: usize) -> &str {
    text.char_indices()
        .nth(len)
        .map_or(text, |(end, _)| &text[..end])
}

/// Whether the caller of a request may do what it asks for; among its extensions. Clones are of one request.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    /// Notes, where a request has one among its extensions, that its caller may do what it asks for.
    pub fn note(extensions: &http::Extensions) {
        if let Some(Self(is_known)) = extensions.get() {
            is_known.store(true, Ordering::Relaxed);
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// A call that reads or changes a repository, or a file that is sent to us.
    Call,
    /// A stream of chunk locations.
    Stream,
    /// A stored file, or a part of one.
    Data,
    /// Anything else: probes, health, reflection, and addresses that mean nothing.
    Aside,
}

impl Traffic {
    /// Whether it is a step of a clone, a fetch or a push.
    pub fn is_work(self) -> bool {
        match self {
            Self::Call | Self::Stream | Self::Data => true,
            Self::Aside => false,
        }
    }
}

/// Watches a request to its end, which comes when it is dropped: by itself if there was no answer, else with
/// the body of the answer.
#[derive(Debug)]
pub struct Watch {
    span: Span,
    clock: Arc<dyn Clock>,
    began: Duration,
    traffic: Traffic,
    _running: Option<Running>,
    status: Option<u16>,
    grpc: Option<i32>,
    sent_bytes: u64,
    /// How long the body shall be, where its head says so; it is not asked for an end then.
    len_bytes: Option<u64>,
    complete: bool,
    caller: Known,
    /// What spaces the lines about callers that are not known.
    strangers: Option<(Arc<Strangers>, Peer)>,
}

impl Watch {
    /// Begins to watch.
    pub fn new(span: Span, clock: Arc<dyn Clock>, traffic: Traffic, work: &Arc<Work>) -> Self {
        let began = clock.monotonic();
        Self {
            span,
            clock,
            began,
            traffic,
            _running: traffic.is_work().then(|| work.begin()),
            status: None,
            grpc: None,
            sent_bytes: 0,
            len_bytes: None,
            complete: false,
            caller: Known::default(),
            strangers: None,
        }
    }

    /// Leaves out lines about a request of a peer that is refused or broken off, if there were some already and its
    /// caller is not known. That is noted in what is returned.
    pub fn space(&mut self, strangers: &Arc<Strangers>, peer: Peer) -> Known {
        self.strangers = Some((Arc::clone(strangers), peer));
        self.caller.clone()
    }

    /// Puts the id into the answer's head, and goes on watching its body.
    pub fn follow(mut self, id: &str, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        if let Ok(value) = HeaderValue::from_str(id) {
            head.headers.insert(REQUEST_ID, value);
        }
        name_request(id, &mut head.headers);
        self.status = Some(head.status.as_u16());
        self.grpc = grpc_status(&head.headers);
        self.len_bytes = content_length(&head.headers);
        self.complete = body.is_end_stream();
        let id = id.to_owned();
        let body = Followed {
            body,
            watch: self,
            id,
        };
        Response::from_parts(head, ResponseBody::new(body))
    }

    /// Whether an operator wants to know of it without asking: then how many such lines were left out. What comes by the
    /// hundred in a single fetch is told only if it went wrong; and clients break off streams as a matter of course.
    fn is_notable(&self, complete: bool) -> Option<u64> {
        let refused =
            self.grpc.is_some_and(|code| code != 0) || self.status.is_some_and(|code| code >= 400);
        let is_notable = match self.traffic {
            Traffic::Call => true,
            Traffic::Data => refused || !complete,
            Traffic::Stream | Traffic::Aside => refused,
        };
        match &self.strangers {
            _ if !is_notable => None,
            Some((strangers, peer)) if !self.caller.0.load(Ordering::Relaxed) => {
                strangers.turn(*peer)
            }
            _ => Some(0),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Adds the id of the request to what a gRPC error tells its user, by which the log is found. What Dolt says in words
/// of its own, that only reads are allowed, stays as it is.
fn name_request(id: &str, headers: &mut HeaderMap) {
    const MESSAGE: &str = "grpc-message";
    let permission_denied = tonic::Code::PermissionDenied as i32;
    if grpc_status(headers).is_none_or(|code| code == 0 || code == permission_denied) {
        return;
    }
    let text = headers.get(MESSAGE).map(HeaderValue::as_bytes);
    let mut text = text.unwrap_or_default().to_vec();
    text.extend_from_slice(format!(" (request {id})").as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(MESSAGE, value);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl Drop for Watch {
    fn drop(&mut self) {
        let now = self.clock.monotonic();
        let millis = now.saturating_sub(self.began).as_millis();
        let _entered = self.span.enter();
        let Self {
            status,
            grpc,
            sent_bytes,
            ..
        } = *self;
        let complete = self.complete || self.len_bytes == Some(sent_bytes);
        let how = match (status, complete) {
            (None, _) => "broken off before its answer",
            (Some(_), false) => "broken off",
            (Some(_), true) => "finished",
        };
        // The status of every gRPC call is 200.
        let status = status.filter(|_| grpc.is_none());
        match self.is_notable(complete) {
            Some(0) => tracing::info!(status, grpc, millis, sent_bytes, "{how}"),
            Some(left_out) => {
                tracing::info!(status, grpc, millis, sent_bytes, left_out, "{how}");
            }
            None => tracing::debug!(status, grpc, millis, sent_bytes, "{how}"),
        }
    }
}

struct Followed {
    body: ResponseBody,
    watch: Watch,
    id: String,
}

impl Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let _entered = this.watch.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let polled = polled.map_ok(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                name_request(&this.id, &mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        });
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.watch.sent_bytes += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    this.watch.grpc = grpc_status(trailers);
                    this.watch.complete = true;
                }
            }
            Poll::Ready(None) => this.watch.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        if this.body.is_end_stream() {
            this.watch.complete = true;
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
    use holdfast_chunkstore::clock::SystemClock;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::telemetry::lines::Lines;

    /// The lines at INFO that something leaves.
    fn written(act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(lines.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        lines.text()
    }

    /// The lines that a request leaves which is answered so, or not at all.
    fn lines(traffic: Traffic, answer: Option<Response<ResponseBody>>) -> String {
        written(|| {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let work = Work::new(Arc::clone(&clock));
            let request = Request::builder().uri("/x").body(()).unwrap();
            let watch = Watch::new(span("mine-1", &request), clock, traffic, &work);
            if let Some(answer) = answer {
                drop(watch.follow("mine-1", answer));
            }
        })
    }

    fn answer(status: u16) -> Option<Response<ResponseBody>> {
        let body = http_body_util::Empty::new().map_err(|never| match never {});
        let answer = Response::builder().status(status);
        Some(answer.body(ResponseBody::new(body)).unwrap())
    }

    #[test]
    fn a_request_that_is_dropped_before_its_answer_leaves_a_line() {
        let line = lines(Traffic::Call, None);
        assert!(line.contains("id=\"mine-1\""), "{line}");
        assert!(line.contains("broken off before its answer"), "{line}");
    }

    #[test]
    fn a_long_path_and_a_long_method_are_cut() {
        let request = Request::builder()
            .method("M".repeat(9000).as_str())
            .uri(format!("/{}", "a".repeat(9000)));
        let lines = written(|| {
            let span = span("mine-1", &request.body(()).unwrap());
            span.in_scope(|| tracing::info!("here"));
        });
        assert!(lines.contains(&"a".repeat(PATH_LEN - 1)), "{lines}");
        assert!(lines.len() < 500, "{lines}");
        assert_eq!(first("äöü", 2), "äö");
        assert_eq!(first("äöü", 3), "äöü");
    }

    #[test]
    fn refused_strangers_leave_one_line_in_a_while_and_known_callers_all() {
        let strangers = Arc::new(Strangers::default());
        let peer = |last| Peer::of([10, 0, 0, last].into());
        let count = |last, is_known: bool| {
            let text = written(|| {
                for _ in 0..5 {
                    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
                    let work = Work::new(Arc::clone(&clock));
                    let mut request = Request::builder().uri("/x").body(()).unwrap();
                    let span = span("mine-1", &request);
                    let mut watch = Watch::new(span, clock, Traffic::Call, &work);
                    let known = watch.space(&strangers, peer(last));
                    request.extensions_mut().insert(known);
                    if is_known {
                        Known::note(request.extensions());
                    }
                    drop(watch.follow("mine-1", answer(404).unwrap()));
                }
            });
            text.lines().count()
        };
        assert_eq!((count(1, false), count(1, false)), (1, 0));
        assert_eq!(count(1, true), 5);
        assert_eq!(count(2, false), 1, "a peer of another group");
    }

    #[test]
    fn what_comes_by_the_hundred_is_told_only_when_it_went_wrong() {
        for (traffic, status, is_told) in [
            (Traffic::Call, 200, true),
            (Traffic::Call, 400, true),
            (Traffic::Data, 206, false),
            (Traffic::Data, 416, true),
            (Traffic::Stream, 200, false),
            (Traffic::Aside, 200, false),
            (Traffic::Aside, 404, true),
        ] {
            let lines = lines(traffic, answer(status));
            assert_eq!(!lines.is_empty(), is_told, "{traffic:?} {status}: {lines}");
        }
        assert!(!lines(Traffic::Data, None).is_empty());
        assert!(lines(Traffic::Stream, None).is_empty());
    }

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
