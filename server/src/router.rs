//! Where a request goes: to a gRPC service, to an HTTP address, or nowhere.
//!
//! What carries `content-type: application/grpc` is gRPC and is answered like it, also when it is unknown;
//! everything else is HTTP, where an unknown path is a 404. (tonic by itself would answer 200 to any path.)

use std::sync::Arc;

use http::{Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::forge::addresses::Addresses;
use crate::grpc::door::CHUNK_STORE;
use crate::grpc::{self, Services};
use crate::http::{Plane, answer};
use crate::origin::BaseUrl;
use crate::telemetry::request::{self, RequestIds, Traffic, Watch};
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
        let id = self.ids.of(request.headers());
        let span = request::span(&id, &request);
        let traffic = traffic(request.uri().path());
        let watch = Watch::new(span.clone(), Arc::clone(&self.clock), traffic, &self.work);
        let response = self.route(arrival, request).instrument(span).await;
        watch.follow(&id, response)
    }
}

impl Router {
    async fn route(&self, arrival: Arrival, request: Request<Incoming>) -> Response<ResponseBody> {
        if !is_grpc(&request) {
            return Arc::clone(&self.http).answer(request).await;
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
