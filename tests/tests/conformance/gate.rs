//! A proxy that sees who calls what, and can hold some calls back until all of them have come.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::remotesapi::CommitResponse;
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Mutex};
use tokio::task::JoinHandle;

const COMMIT: &str = "/Commit";
/// How long a call is held back for others that do not come.
const PATIENCE: Duration = Duration::from_secs(60);

type Body = BoxBody<Bytes, hyper::Error>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A proxy before a forge. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    backend: String,
    agents: StdMutex<Vec<String>>,
    held: StdMutex<Option<Arc<Held>>>,
    /// Commits that were answered with success, and without.
    commits: [AtomicUsize; 2],
}

/// Commits that wait for each other.
#[derive(Debug)]
struct Held {
    barrier: Barrier,
    left: AtomicUsize,
    come: AtomicUsize,
}

impl Gate {
    /// Listens on a free port of the loopback, before the server at `base_url`.
    pub(crate) async fn start(base_url: &str) -> Self {
        let backend = base_url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            backend,
            agents: StdMutex::default(),
            held: StdMutex::default(),
            commits: Default::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            accepting,
            shared,
        }
    }

    /// Where clients go.
    pub(crate) fn base_url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Holds back the next `count` Commits until all of them have come.
    pub(crate) fn hold_commits(&self, count: usize) {
        *self.shared.held.lock().unwrap() = Some(Arc::new(Held {
            barrier: Barrier::new(count),
            left: AtomicUsize::new(count),
            come: AtomicUsize::new(0),
        }));
    }

    /// How many of the Commits that were to be held back have come together.
    pub(crate) fn came_together(&self) -> usize {
        let held = self.shared.held.lock().unwrap();
        held.as_ref()
            .map_or(0, |held| held.come.load(Ordering::SeqCst))
    }

    /// How many Commits were answered with success, and how many without, since this was asked last.
    pub(crate) fn take_commits(&self) -> [usize; 2] {
        self.shared
            .commits
            .each_ref()
            .map(|count| count.swap(0, Ordering::SeqCst))
    }

    /// What the programs behind all gRPC calls so far call themselves.
    pub(crate) fn agents(&self) -> Vec<String> {
        self.shared.agents.lock().unwrap().clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let link = Arc::new(Link {
            shared: Arc::clone(&shared),
            http2: Mutex::default(),
        });
        let service = service_fn(move |request| {
            let link = Arc::clone(&link);
            async move { Ok::<_, hyper::Error>(link.pass_on(request).await) }
        });
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            // A client that goes away is no failure of the proxy.
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

/// What belongs to one connection of a client.
struct Link {
    shared: Arc<Shared>,
    http2: Mutex<Option<http2::SendRequest<Incoming>>>,
}

impl Link {
    async fn pass_on(&self, request: Request<Incoming>) -> Response<Body> {
        let is_commit = request.uri().path().ends_with(COMMIT);
        let answer = if request.version() == Version::HTTP_2 {
            self.shared.note_agent(&request);
            if is_commit {
                self.shared.hold().await;
            }
            self.by_http2(request).await
        } else {
            self.by_http1(request).await
        };
        let answer = match answer {
            Ok(answer) if is_commit => self.shared.count(answer).await,
            Ok(answer) => Ok(answer.map(BodyExt::boxed)),
            Err(failure) => Err(failure),
        };
        answer.unwrap_or_else(|failure| {
            let text = Full::new(Bytes::from(failure.to_string()));
            let mut response = Response::new(text.map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        })
    }

    async fn by_http2(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        let mut sender = {
            let mut link = self.http2.lock().await;
            match link.as_ref().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender.clone(),
                None => {
                    let stream = TcpStream::connect(&self.shared.backend).await?;
                    let io = TokioIo::new(stream);
                    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                    tokio::spawn(connection);
                    link.insert(sender).clone()
                }
            }
        };
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn by_http1(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        let stream = TcpStream::connect(&self.shared.backend).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

impl Shared {
    fn note_agent(&self, request: &Request<Incoming>) {
        let agent = request.headers().get("user-agent");
        let agent = agent.and_then(|agent| agent.to_str().ok());
        self.agents
            .lock()
            .unwrap()
            .push(agent.unwrap_or_default().to_owned());
    }

    async fn hold(&self) {
        let held = self.held.lock().unwrap().clone();
        let Some(held) = held else { return };
        let left = held
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        // Whoever waits in vain goes on; that not all came is seen by the count.
        if left.is_ok()
            && tokio::time::timeout(PATIENCE, held.barrier.wait())
                .await
                .is_ok()
        {
            held.come.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Reads the answer to a Commit on its way.
    async fn count(&self, answer: Response<Incoming>) -> Result<Response<Body>, Failure> {
        let (head, body) = answer.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        let bytes = collected.to_bytes();
        if let Some(message) = bytes.get(5..) {
            let success = CommitResponse::decode(message)?.success;
            self.commits[usize::from(!success)].fetch_add(1, Ordering::SeqCst);
        }
        let body = Full::new(bytes).map_err(|never| match never {});
        let body = body.with_trailers(async move { trailers.map(Ok) });
        Ok(Response::from_parts(head, body.boxed()))
    }
}
