//! Where a request goes: to a gRPC service, to an HTTP address, or nowhere.
//!
//! What carries `content-type: application/grpc` is gRPC and is answered like it, also when it is unknown;
//! everything else is HTTP, where an unknown path is a 404. (tonic by itself would answer 200 to any path.)

use std::sync::Arc;

use http::{Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tonic::service::Routes;
use tower::Service as _;
use tracing::Instrument as _;

use crate::http::{Plane, answer};
use crate::origin::BaseUrl;
use crate::telemetry::request::{self, RequestIds, Watch};
use crate::transport::{Answer, Arrival, ResponseBody};

/// Everything that answers requests.
#[derive(Debug)]
pub struct Router {
    /// The gRPC services.
    pub grpc: Routes,
    /// The HTTP addresses.
    pub http: Arc<Plane>,
    /// Makes request ids.
    pub ids: RequestIds,
    /// How clients reach this server, where the settings say.
    pub public_url: Option<String>,
    /// The time.
    pub clock: Arc<dyn holdfast_chunkstore::clock::Clock>,
}

impl Answer for Router {
    async fn answer(
        self: Arc<Self>,
        arrival: Arrival,
        mut request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let id = self.ids.of(request.headers());
        let span = request::span(&id, &request);
        let watch = Watch::new(span.clone(), Arc::clone(&self.clock));
        let base_url = BaseUrl::of(self.public_url.as_deref(), arrival, &request);
        request.extensions_mut().insert(base_url);
        let response = self.route(request).instrument(span).await;
        watch.follow(&id, response)
    }
}

impl Router {
    async fn route(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if !is_grpc(&request) {
            return Arc::clone(&self.http).answer(request).await;
        }
        if request.version() != Version::HTTP_2 {
            return answer::line(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2");
        }
        let Ok(response) = self.grpc.clone().call(request).await;
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
