//! Proxies between a client and servers: one that sends each request to another server, one that looks at connections
//! and breaks them; one that speaks TLS, and one that makes tunnels.

mod barrier;
mod tls;
mod tunnels;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use self::barrier::Barrier;
pub use self::barrier::Stop;
pub use self::tls::TlsDoor;
pub use self::tunnels::Tunnels;

type Body = BoxBody<Bytes, hyper::Error>;

/// Sends each request to the next of its servers in turn: gRPC calls, and reads and writes of data, alike.
///
/// A stream stays with the server that it began at. The authority that the client used is kept, so that data
/// addresses made by a server lead through the proxy again.
#[derive(Debug)]
pub struct RoundRobin {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct Turns {
    backends: Vec<SocketAddr>,
    next: AtomicUsize,
    answered: Vec<AtomicUsize>,
}

impl Turns {
    fn take(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.backends.len()
    }
}

impl RoundRobin {
    /// Listens on a free port of the loopback. Must be called within a runtime.
    pub async fn start(backends: Vec<SocketAddr>) -> io::Result<Self> {
        assert!(!backends.is_empty(), "a proxy needs a server");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let turns = Arc::new(Turns {
            answered: backends.iter().map(|_| AtomicUsize::new(0)).collect(),
            backends,
            next: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&turns)));
        Ok(Self {
            address,
            accepting,
            turns,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has passed on.
    pub fn requests(&self) -> usize {
        self.turns.next.load(Ordering::Relaxed)
    }

    /// How many requests each server has answered.
    pub fn answered(&self) -> Vec<usize> {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        self.turns.answered.iter().map(count).collect()
    }
}

impl Drop for RoundRobin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, turns: Arc<Turns>) {
    while let Ok((stream, _)) = listener.accept().await {
        let links = Arc::new(Links::new(Arc::clone(&turns)));
        let service = service_fn(move |request| {
            let links = Arc::clone(&links);
            async move { links.pass_on(request).await }
        });
        drop(stream.set_nodelay(true));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no failure of the proxy.
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

/// The connections to the servers that belong to one connection of a client.
struct Links {
    turns: Arc<Turns>,
    http2: Vec<Mutex<Option<http2::SendRequest<Incoming>>>>,
}

impl Links {
    fn new(turns: Arc<Turns>) -> Self {
        let http2 = turns.backends.iter().map(|_| Mutex::new(None)).collect();
        Self { turns, http2 }
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let turn = self.turns.take();
        let answer = if request.version() == Version::HTTP_2 {
            self.by_http2(turn, request).await
        } else {
            self.by_http1(turn, request).await
        };
        if answer.is_ok() {
            self.turns.answered[turn].fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer.unwrap_or_else(|error| {
            let text = Full::new(Bytes::from(format!(
                "the proxy cannot reach a server: {error}\n"
            )));
            let mut response = Response::new(text.map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    }

    async fn by_http2(
        &self,
        turn: usize,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, BoxError> {
        let mut sender = {
            let mut link = self.http2[turn].lock().await;
            match link.as_ref().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender.clone(),
                None => {
                    let stream = connect(self.turns.backends[turn]).await?;
                    let (sender, connection) =
                        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                    tokio::spawn(connection);
                    link.insert(sender).clone()
                }
            }
        };
        sender.ready().await?;
        Ok(sender.send_request(request).await?.map(BodyExt::boxed))
    }

    async fn by_http1(
        &self,
        turn: usize,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, BoxError> {
        let stream = connect(self.turns.backends[turn]).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?.map(BodyExt::boxed))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn connect(backend: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(backend).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What happens to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Both directions end once the server has sent this many bytes.
    CutAfter(usize),
    /// Both directions end once the client has sent this many bytes.
    CutUploadAfter(usize),
    /// Each piece that the server sends waits this long.
    Delay(Duration),
    /// The request is answered with 503 and no server sees it.
    Unavailable,
}

/// Passes connections on and breaks them by a plan: the first fault is for the first connection, and so on; later ones
/// are whole.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    shared: Arc<Relays>,
}

#[derive(Debug)]
struct Relays {
    backend: SocketAddr,
    plan: StdMutex<VecDeque<Fault>>,
    first_bytes: StdMutex<Vec<u8>>,
    barrier: Barrier,
}

impl FaultProxy {
    /// Listens on a free port of the loopback, before `backend`. Must be called within a runtime.
    pub async fn start(
        backend: SocketAddr,
        faults: impl IntoIterator<Item = Fault>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::start_on(listener, backend, faults)
    }

    /// The same where something listens already: for a server that must know the address before it starts.
    pub fn start_on(
        listener: TcpListener,
        backend: SocketAddr,
        faults: impl IntoIterator<Item = Fault>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Relays {
            backend,
            plan: StdMutex::new(faults.into_iter().collect()),
            first_bytes: StdMutex::default(),
            barrier: Barrier::new(),
        });
        let relays = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let fault = relays.plan.lock().unwrap().pop_front();
                let relays = Arc::clone(&relays);
                tokio::spawn(async move {
                    drop(relays.relay(client, fault.unwrap_or(Fault::None)).await);
                });
            }
        });
        Ok(Self {
            address,
            accepting,
            shared,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Plans anew: these are for the next connections, in place of what was left.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.shared.plan.lock().unwrap() = faults.into_iter().collect();
    }

    /// How many planned faults have not come about.
    pub fn faults_left(&self) -> usize {
        self.shared.plan.lock().unwrap().len()
    }

    /// The first byte of each connection on which the client has said something: 0x16 begins TLS.
    pub fn first_bytes(&self) -> Vec<u8> {
        self.shared.first_bytes.lock().unwrap().clone()
    }

    /// How many bytes have passed, in both directions together.
    pub fn moved(&self) -> u64 {
        self.shared.barrier.moved()
    }

    /// Stops everything once this many bytes more have passed.
    pub fn stop_after(&self, bytes: u64, stop: Stop) {
        self.shared.barrier.stop_after(bytes, stop);
    }

    /// Whether everything stands still at a [`Stop::Hold`].
    pub fn is_holding(&self) -> bool {
        self.shared.barrier.is_holding()
    }

    /// Takes back what [`FaultProxy::stop_after`] said; connections that stand still are cut.
    pub fn go_on(&self) {
        self.shared.barrier.go_on();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relays {
    async fn relay(&self, mut client: TcpStream, fault: Fault) -> io::Result<()> {
        // In every protocol here the client speaks first.
        let mut first = [0];
        if client.peek(&mut first).await? == 0 {
            return Ok(());
        }
        self.first_bytes.lock().unwrap().push(first[0]);
        if fault == Fault::Unavailable {
            let mut head = [0; 4096];
            let _ = client.read(&mut head).await?;
            let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return client.write_all(answer).await;
        }
        let (mut down, mut up) = (usize::MAX, usize::MAX);
        let mut pause = Duration::ZERO;
        match fault {
            Fault::None | Fault::Unavailable => {}
            Fault::CutAfter(bytes) => down = bytes,
            Fault::CutUploadAfter(bytes) => up = bytes,
            Fault::Delay(duration) => pause = duration,
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = connect(self.backend).await?.into_split();
        let barrier = &self.barrier;
        let is_cut = barrier.next_cut();
        let upwards = pass_on(from_client, to_server, up, Duration::ZERO, barrier);
        let downwards = pass_on(from_server, to_client, down, pause, barrier);
        let (mut upwards, mut downwards) = (std::pin::pin!(upwards), std::pin::pin!(downwards));
        tokio::select! {
            () = is_cut => {}
            ended = &mut downwards => { ended?; }
            // A client that has said all may still be answered; one that is cut is not.
            ended = &mut upwards => {
                if ended? == Ended::Closed {
                    downwards.await?;
                }
            }
        }
        Ok(())
    }
}

/// How one direction of a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// Whoever sent it has nothing more to say.
    Closed,
    /// The limit was reached.
    Cut,
}

/// Copies one direction of a connection, at most `limit` bytes of it.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    limit: usize,
    pause: Duration,
    barrier: &Barrier,
) -> io::Result<Ended> {
    let mut left = limit;
    let mut buffer = vec![0; 16 * 1024];
    while left > 0 {
        let count = from.read(&mut buffer).await?.min(left);
        if count == 0 {
            to.shutdown().await?;
            return Ok(Ended::Closed);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(barrier.admit(rest.len()).await);
            to.write_all(now).await?;
            rest = later;
        }
        left -= count;
    }
    Ok(Ended::Cut)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Method;

    use super::*;
    use crate::web::{self, Protocol};

    /// A server that answers every request with its name and the authority that it was asked under.
    async fn named(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request: Request<Incoming>| async move {
                    let host = request
                        .headers()
                        .get("host")
                        .map(|host| host.to_str().unwrap().to_owned());
                    let authority = request.uri().authority().map(ToString::to_string).or(host);
                    let text = format!("{name} {}", authority.unwrap_or_default());
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    )
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_go_to_the_servers_in_turn_under_the_authority_of_the_client() {
        let proxy = RoundRobin::start(vec![named("one").await, named("two").await])
            .await
            .unwrap();
        let url = format!("http://{}/", proxy.address());
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for name in ["one", "two", "one", "two"] {
                let answer = web::send_by(protocol, Method::GET, &url, &[], Bytes::new()).await;
                assert_eq!(
                    answer.text(),
                    format!("{name} {}", proxy.address()),
                    "{protocol:?}"
                );
            }
        }
        assert_eq!(proxy.requests(), 8);
        assert_eq!(proxy.answered(), [4, 4]);
    }

    #[tokio::test]
    async fn faults_come_in_the_order_planned_and_end() {
        let server = named("one").await;
        let faults = [
            Fault::Unavailable,
            Fault::CutAfter(10),
            Fault::CutUploadAfter(10),
            Fault::Delay(Duration::from_millis(1)),
        ];
        let proxy = FaultProxy::start(server, faults).await.unwrap();
        let url = format!("http://{}/", proxy.address());

        assert_eq!(
            web::get(&url, &[]).await.status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        for cut in ["an answer", "a request"] {
            let cut_url = url.clone();
            let ended = tokio::spawn(async move { web::get(&cut_url, &[]).await }).await;
            assert!(ended.is_err(), "ten bytes are not {cut}");
        }
        for _ in 0..2 {
            assert_eq!(web::get(&url, &[]).await.status, StatusCode::OK);
        }
        assert_eq!(proxy.faults_left(), 0);
        assert!(
            proxy.first_bytes().iter().all(|byte| *byte == b'G'),
            "{:?}",
            proxy.first_bytes()
        );
    }
    #[tokio::test]
    async fn everything_stops_at_a_byte_and_goes_on() {
        let server = named("one").await;
        let proxy = FaultProxy::start(server, []).await.unwrap();
        let url = format!("http://{}/", proxy.address());
        let got = || {
            let url = url.clone();
            tokio::spawn(async move { web::get(&url, &[]).await })
        };
        assert_eq!(got().await.unwrap().status, StatusCode::OK);
        let size = proxy.moved();
        assert!(size > 100, "{size}");

        proxy.stop_after(size - 1, Stop::Cut);
        assert!(got().await.is_err(), "the last byte is missing");
        assert_eq!(proxy.moved(), 2 * size - 1);
        assert!(got().await.is_ok(), "one cut is one cut");

        let before = proxy.moved();
        proxy.stop_after(size / 2, Stop::Hold);
        let held = got();
        while !proxy.is_holding() {
            tokio::task::yield_now().await;
        }
        assert_eq!(proxy.moved(), before + size / 2);
        assert!(!held.is_finished());
        proxy.go_on();
        assert!(held.await.is_err(), "what stood still is cut");
        assert!(got().await.is_ok());
    }
}
