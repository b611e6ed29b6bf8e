//! Connections: one port for clear text and TLS, HTTP/1.1 and HTTP/2.
//!
//! ```text
//! accept → first byte: 0x16 → TLS handshake ┐
//!                      else ────────────────┴→ first bytes: HTTP/2 preface or HTTP/1.1 → place → requests
//!                                                                                      └─ probes ─┘
//! ```
//!
//! The HTTP version is read off the first bytes and not off ALPN, so a TLS client that offers no ALPN may
//! speak HTTP/2 all the same. Closing stops accepting and tells each connection to end after what runs on it;
//! what is left when the time is up is cut.

mod client_wait;
mod places;
mod pulse;
pub mod tls;
mod windows;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::peer::{Peer, TrustedProxies};
use crate::spaced::Spaced;
pub use client_wait::{ClientWait, GivenUp};
pub use places::ConnectionLimits;
use places::{Places, Seat, Standing};
pub use pulse::Patience;
use pulse::{Noticed, Pulse, Verdict};
pub use tls::{TlsError, TlsIdentity};
use windows::{Window, Windows};

/// What goes wrong while a body is read or written.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of any answer.
pub type ResponseBody = UnsyncBoxBody<bytes::Bytes, BodyError>;

/// The first byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// How long a connection may stay silent between requests. Longer than the 90 seconds that a Go client keeps
/// an idle connection, so that the client is the one who closes.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// How long after a line on connections that wait, or whose handshake failed, the next one is left out.
const QUIET: Duration = Duration::from_secs(5);

/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Streams of one HTTP/2 connection at once. A fetch has some 70.
const CONCURRENT_STREAMS: u32 = 256;

/// Streams that a client may reset before they were served; Dolt resets streams as a matter of course.
const RESET_STREAMS: usize = 2048;

/// The longest head of a request of HTTP/2, in bytes: requests that wait hold theirs in memory.
const HEADERS: u32 = 8 << 10;

/// The most fields that the head of a request has; dolt sends some ten. Short ones take many times their length.
const HEADER_FIELDS: usize = 64;

/// How many requests wait on a connection that has no place yet. With 1,024 such connections and the longest heads that
/// is half a GiB.
const WAITING_ON_ONE: usize = 32;

/// How much of answers is kept until the client takes it, beside the piece that was read last: in bytes, for
/// each stream of HTTP/2, and for each connection of HTTP/1.1, which also has that much for what it reads.
const SEND_BUFFER: usize = 128 << 10;

/// What a connection is known by.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Who is on the other side; from the router on, the caller whom trusted proxies name.
    pub peer: SocketAddr,
    /// Whether it came by TLS.
    pub secure: bool,
}

/// Answers requests.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        self: Arc<Self>,
        arrival: Arrival,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send + 'static;

    /// Whether a request is answered on a connection that has no place yet.
    fn is_probe(&self, request: &Request<Incoming>) -> bool;
}

/// The three steps at the end of a server's life.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Set when the server was asked to stop: nobody waits for new work of its own, and who is in the middle
    /// of something is still served, on new connections too.
    pub stopping: CancellationToken,
    /// Set when nobody is: the port closes.
    pub closing: CancellationToken,
    /// Set when what still runs is cut.
    pub cut: CancellationToken,
}

/// Accepts connections on one port and serves them.
pub struct Listener<A> {
    /// The port.
    pub listener: TcpListener,
    /// Certificate and key, where TLS is served.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Who answers.
    pub app: Arc<A>,
    /// How many connections are served at once.
    pub limits: ConnectionLimits,
    /// Where proxies are, whose connections are many callers'.
    pub proxies: TrustedProxies,
    /// How long they may do nothing.
    pub patience: Patience,
    /// When to stop.
    pub drain: Drain,
}

impl<A> std::fmt::Debug for Listener<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<A: Answer> Listener<A> {
    /// Serves until stopped, and returns when the last connection has ended.
    pub async fn run(self) {
        let connections = TaskTracker::new();
        let places = Places::new(self.limits);
        let lines = Arc::new(Lines::default());
        let windows = Windows::default();
        loop {
            let accepted = tokio::select! {
                () = self.drain.closing.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let counted = !self.proxies.trust(peer.ip());
                    let seat = places.enter(counted.then(|| Peer::of(peer.ip())));
                    let connection = Connection {
                        tls: self.tls.clone(),
                        app: Arc::clone(&self.app),
                        drain: self.drain.clone(),
                        patience: self.patience,
                        lines: Arc::clone(&lines),
                        seat,
                        window: windows.take(),
                        peer,
                    };
                    connections.spawn(connection.serve(stream));
                }
                Err(error) => {
                    tracing::info!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// What is said of connections, but not of each of thousands.
#[derive(Debug)]
struct Lines {
    failed: Spaced,
    waiting: Spaced,
    turned_away: Spaced,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            failed: Spaced::new(QUIET),
            waiting: Spaced::new(QUIET),
            turned_away: Spaced::new(QUIET),
        }
    }
}

impl Lines {
    fn handshake_failed(&self, peer: SocketAddr, cause: &str) {
        if let Some(left_out) = self.failed.turn() {
            tracing::info!(%peer, cause, left_out, "a TLS handshake failed");
        }
    }

    fn waits(&self, peer: SocketAddr) {
        if let Some(left_out) = self.waiting.turn() {
            tracing::info!(
                %peer,
                left_out,
                "a connection waits: as many as network.max_connections, or of its peer as many as \
                 network.max_connections_per_peer, are served"
            );
        }
    }

    fn turned_away(&self, peer: SocketAddr) {
        if let Some(left_out) = self.turned_away.turn() {
            tracing::info!(%peer, left_out, "a connection was turned away: too many wait to be served");
        }
    }
}

struct Connection<A> {
    tls: Option<Arc<TlsIdentity>>,
    app: Arc<A>,
    drain: Drain,
    patience: Patience,
    lines: Arc<Lines>,
    seat: Seat,
    window: Window,
    peer: SocketAddr,
}

impl<A: Answer> Connection<A> {
    async fn serve(self, stream: TcpStream) {
        let peer = self.peer;
        let (mut standing, lines) = (self.seat.standing(), Arc::clone(&self.lines));
        if *standing.borrow_and_update() == Standing::Waits {
            lines.waits(peer);
        }
        tokio::select! {
            served = Box::pin(self.try_serve(stream)) => {
                if let Err(error) = served {
                    tracing::debug!(%peer, error = &*error, "connection ended");
                }
            }
            Ok(_) = standing.wait_for(|now| *now == Standing::TurnedAway) => lines.turned_away(peer),
        }
    }

    async fn try_serve(self, stream: TcpStream) -> Result<(), BodyError> {
        stream.set_nodelay(true)?;
        let mut first = [0];
        let limit = self.patience.first_byte();
        let peeked = tokio::select! {
            () = self.drain.closing.cancelled() => return Ok(()),
            peeked = tokio::time::timeout(limit, stream.peek(&mut first)) => peeked??,
        };
        if peeked == 0 {
            return Ok(());
        }
        if first[0] != TLS_HANDSHAKE {
            return self.serve_http(stream, false).await;
        }
        let Some(tls) = &self.tls else {
            let cause = "a TLS client came, and no certificate is set";
            self.lines.handshake_failed(self.peer, cause);
            return Err(cause.into());
        };
        let handshake = tls.acceptor().accept(stream);
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, handshake);
        let handshake = async { Ok::<_, BodyError>(handshake.await??) };
        let stream = tokio::select! {
            () = self.drain.cut.cancelled() => return Ok(()),
            stream = handshake => stream.inspect_err(|error: &BodyError| {
                self.lines.handshake_failed(self.peer, &error.to_string());
            })?,
        };
        self.serve_http(stream, true).await
    }

    async fn serve_http<S>(self, stream: S, secure: bool) -> Result<(), BodyError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let arrival = Arrival {
            peer: self.peer,
            secure,
        };
        let (app, seat) = (self.app, Arc::new(self.seat));
        let weak = Arc::downgrade(&seat);
        let pulse = Arc::new(Pulse::default());
        let (requests, standing) = (Arc::clone(&pulse), seat.standing());
        let waiting = Arc::new(Semaphore::new(WAITING_ON_ONE));
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let running = requests.begin();
            request.extensions_mut().insert(running.wait());
            let standing = (!app.is_probe(&request)).then(|| standing.clone());
            let refusal = refuse_head(&request);
            let waiting = Arc::clone(&waiting);
            let has_one_request = request.version() < Version::HTTP_2;
            let (answer, seat) = (
                Arc::clone(&app).answer(arrival, request),
                Weak::clone(&weak),
            );
            async move {
                if let Some(refusal) = refusal {
                    return Ok(refusal.map(|body| Noticed::new(body, running)));
                }
                if let Some(standing) = standing
                    && !is_served(&standing)
                {
                    let Ok(_turn) = waiting.try_acquire() else {
                        let refusal = refusal_of(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_WAIT);
                        return Ok(refusal.map(|body| Noticed::new(body, running)));
                    };
                    has_place(standing).await?;
                }
                let mut answer = answer.await;
                // A client that is told so asks nothing more on a connection that ends.
                if has_one_request && seat.upgrade().is_some_and(|seat| seat.is_wanted()) {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, NoPlace>(answer.map(|body| Noticed::new(body, running)))
            }
        });
        let builder = builder(&self.window);
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut beats = tokio::time::interval(self.patience.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_to_end = false;
        loop {
            let end = tokio::select! {
                ended = connection.as_mut() => return ended,
                () = self.drain.closing.cancelled(), if !told_to_end => true,
                () = self.drain.cut.cancelled(), if told_to_end => {
                    return Err("cut after the drain time-out".into());
                }
                _ = beats.tick() => match pulse.beat(&self.patience) {
                    Verdict::Lives => !told_to_end && is_wanted(&seat, &pulse),
                    Verdict::Idle => true,
                    Verdict::Dead(reason) => return Err(reason.into()),
                },
            };
            if end {
                told_to_end = true;
                pulse.tell_to_end();
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What is said to a request of a connection on which too many wait.
const TOO_MANY_WAIT: &str = "too many requests wait on this connection: try again in some seconds";

/// Refuses a request whose head has too many fields.
fn refuse_head<B>(request: &Request<B>) -> Option<Response<ResponseBody>> {
    let is_too_long = request.headers().len() > HEADER_FIELDS;
    is_too_long.then(|| {
        let text = "the head of this request has more than 64 fields";
        refusal_of(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
    })
}

fn refusal_of(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let body = Full::new(bytes::Bytes::from_static(text.as_bytes()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let mut refusal = Response::new(body);
    *refusal.status_mut() = status;
    refusal
}

/// Whether another connection waits for the place of this one, on which nothing runs, or streams that wait for their
/// clients. These are told to end.
fn is_wanted(seat: &Seat, pulse: &Pulse) -> bool {
    let is_wanted = match pulse.is_silent() {
        true => seat.is_wanted(),
        false => seat.is_wanted_from_streams(pulse.is_idle()),
    };
    if is_wanted {
        pulse.give_up();
    }
    is_wanted
}

/// A connection ended before it had a place.
#[derive(Debug, thiserror::Error)]
#[error("the connection ended before it was served")]
struct NoPlace;

fn is_served(standing: &watch::Receiver<Standing>) -> bool {
    *standing.borrow() == Standing::Served
}

/// Waits until a connection has a place.
async fn has_place(mut standing: watch::Receiver<Standing>) -> Result<(), NoPlace> {
    let has_place = standing.wait_for(|now| *now == Standing::Served).await;
    has_place.map(drop).map_err(|_| NoPlace)
}

fn builder(window: &Window) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .max_buf_size(SEND_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(window.of_stream())
        .initial_connection_window_size(window.of_connection())
        .max_frame_size(256 << 10)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(30));
    builder
}
