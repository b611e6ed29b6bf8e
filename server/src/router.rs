//! Where a request goes: to a gRPC service, to an HTTP address, or nowhere.
//!
//! What carries `content-type: application/grpc` is gRPC and is answered like it, also when it is unknown;
//! everything else is HTTP, where an unknown path is a 404. (tonic by itself would answer 200 to any path.)

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::forge::addresses::Addresses;
use crate::grpc::door::CHUNK_STORE;
use crate::grpc::{self, Services};
use crate::http::{Plane, answer};
use crate::origin::BaseUrl;
use crate::peer::{Peer, TrustedProxies};
use crate::requests::{Requests, TooMany};
use crate::spaced::Spaced;
use crate::telemetry::request::{self, RequestId, RequestIds, Traffic, Watch};
use crate::telemetry::strangers::Strangers;
use crate::transport::{Answer, Arrival, ResponseBody};
use crate::work::Work;

/// Everything that answers requests.
#[derive(Debug)]
pub struct Router {
    /// The gRPC services.
    pub grpc: Services,
    /// The HTTP addresses.
    pub http: Arc<Plane>,
    /// Makes request ids.
    pub ids: RequestIds,
    /// How clients reach this server, where the settings say.
    pub public_url: Option<String>,
    /// Whether clear text is refused.
    pub require_tls: bool,
    /// Whose word on the address of a caller is taken.
    pub proxies: TrustedProxies,
    /// What of each peer runs and waits.
    pub requests: Arc<Requests>,
    /// Spaces what is said of callers that a proxy names which is not trusted.
    pub untrusted: Spaced,
    /// Spaces what is said of requests of callers that showed nothing.
    pub strangers: Arc<Strangers>,
    /// What a stopping server waits for.
    pub work: Arc<Work>,
    /// The time.
    pub clock: Arc<dyn holdfast_chunkstore::clock::Clock>,
}

impl Answer for Router {
    async fn answer(
        self: Arc<Self>,
        arrival: Arrival,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let arrival = self.seen_through_proxies(arrival, request.headers());
        let id = self.ids.of(request.headers());
        let span = request::span(&id, &request);
        let traffic = traffic(request.uri().path());
        let mut watch = Watch::new(span.clone(), Arc::clone(&self.clock), traffic, &self.work);
        let known = watch.space(&self.strangers, Peer::of(arrival.peer.ip()));
        let answered = async {
            let running = match self.is_probe(&request) {
                true => None,
                false => match self.requests.begin(Peer::of(arrival.peer.ip())).await {
                    Ok(running) => Some(running),
                    Err(error) => return (refuse_one_more(&request, error), None),
                },
            };
            let mut request = request;
            request.extensions_mut().insert(arrival);
            request.extensions_mut().insert(RequestId(id.clone()));
            request.extensions_mut().insert(known);
            (self.route(arrival, request).await, running)
        };
        let (response, running) = answered.instrument(span).await;
        let response = watch.follow(&id, response);
        match running {
            Some(running) => running.until_sent(response),
            None => response,
        }
    }

    fn is_probe(&self, request: &Request<Incoming>) -> bool {
        has_room_of_its_own(request.uri().path())
    }
}

impl Router {
    /// An arrival as its caller's, where a trusted proxy passed it on. The port is the proxy's.
    fn seen_through_proxies(&self, arrival: Arrival, headers: &HeaderMap) -> Arrival {
        let connected = arrival.peer.ip();
        if self.proxies.is_untrusted_word(connected, headers) && self.untrusted.turn().is_some() {
            tracing::info!(
                proxy = %connected,
                "a request names its caller in x-forwarded-for and comes from no trusted proxy: all that comes from \
                 there counts as one caller, unless network.trusted_proxies names it"
            );
        }
        let mut peer = arrival.peer;
        peer.set_ip(self.proxies.caller(connected, headers));
        Arrival { peer, ..arrival }
    }

    async fn route(&self, arrival: Arrival, request: Request<Incoming>) -> Response<ResponseBody> {
        if self.require_tls && !arrival.secure && !is_probe(request.uri().path()) {
            return refuse_clear_text(&request);
        }
        if !is_grpc(&request) {
            let peer = Peer::of(arrival.peer.ip());
            return Arc::clone(&self.http).answer(peer, request).await;
        }
        if request.version() != Version::HTTP_2 {
            return answer::line(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2");
        }
        match BaseUrl::of(self.public_url.as_deref(), arrival, &request) {
            Ok(base_url) => self.grpc.answer(base_url, request).await,
            Err(error) => grpc::refusal(tonic::Status::invalid_argument(error.to_string())),
        }
    }
}

/// What those ask who look whether this server runs; it holds nothing secret.
fn is_probe(path: &str) -> bool {
    matches!(path, "/live" | "/ready") || path.starts_with("/grpc.health.v1.Health/")
}

/// What is answered however many requests and connections there are. Who watches the health of this server for long is
/// none of them.
fn has_room_of_its_own(path: &str) -> bool {
    matches!(path, "/live" | "/ready" | "/grpc.health.v1.Health/Check")
}

/// Refuses a request of a peer of which too many wait already.
fn refuse_one_more<B>(request: &Request<B>, error: TooMany) -> Response<ResponseBody> {
    match is_grpc(request) {
        true => grpc::refusal(tonic::Status::unavailable(error.to_string())),
        false => answer::line(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Refuses a request that came in clear text where that is not taken.
fn refuse_clear_text<B>(request: &Request<B>) -> Response<ResponseBody> {
    let reason = "this server takes TLS alone: write https:// in its address";
    match is_grpc(request) {
        true => grpc::refusal(tonic::Status::failed_precondition(reason)),
        false => answer::line(StatusCode::FORBIDDEN, reason),
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What a request is about, by its path.
fn traffic(path: &str) -> Traffic {
    match path.strip_prefix(CHUNK_STORE) {
        Some("StreamChunkLocations" | "StreamDownloadLocations") => Traffic::Stream,
        Some(_) => Traffic::Call,
        None if Addresses::is_upload(path) => Traffic::Call,
        None if Addresses::is_download(path) => Traffic::Data,
        None => Traffic::Aside,
    }
}
