//! The gRPC services: Dolt's remotes API, health and reflection.

pub mod aside;
mod bounds;
pub mod budget;
pub mod chunks;
pub mod clear_text;
pub mod convert;
pub mod credentials;
pub mod door;
pub mod failed_tokens;
pub mod identity;
pub mod intake;
pub mod status;
pub mod streams;
pub mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::remotesapi::chunk_store_service_server::ChunkStoreServiceServer;
use holdfast_proto::remotesapi::credentials_service_server::CredentialsServiceServer;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service as _;

use crate::forge::Forge;
use crate::origin::BaseUrl;
use crate::transport::{BodyError, ClientWait, Drain, ResponseBody};
use door::{Admitted, Door};
use waiting::Ending;

/// The longest answer, in bytes: the most that Dolt takes. A longer one ends the call with OutOfRange, which no client
/// asks for again.
const MAX_ANSWER: usize = 128 << 20;

/// The longest message that we take, in bytes, 20 times what any dolt sends. A longer one ends the call in the same way.
const MAX_REQUEST: usize = 8 << 20;

/// The longest message that any other service takes, in bytes: their requests hold a name.
const MAX_SMALL_MESSAGE: usize = 64 << 10;

/// The names that the health service knows; the empty one is the server as a whole.
const SERVICES: [&str; 3] = [
    "",
    "dolt.services.remotesapi.v1alpha1.ChunkStoreService",
    "dolt.services.remotesapi.v1alpha1.CredentialsService",
];

/// The services behind their door.
#[derive(Debug)]
pub struct Services {
    routes: Routes,
    door: Door,
}

impl Services {
    /// Answers one call.
    pub async fn answer<B>(&self, base_url: BaseUrl, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let wait = request.extensions().get::<ClientWait>();
        let wait = wait.cloned().unwrap_or_default();
        let admitted = self.door.admit(base_url, request, &wait).await;
        let Admitted {
            request,
            share,
            aside,
        } = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return refusal(status),
        };
        let mut routes = self.routes.clone();
        let response = tokio::select! {
            biased;
            Ok(response) = routes.call(request) => response,
            () = wait.given_up() => return refusal(waiting::place_given_up()),
        };
        // Message and answer are in memory until the answer is on its way, and the call lasts as long as its answer.
        response.map(|body| {
            let held = move |error: Status| {
                let _held = (&share, &aside);
                error.into()
            };
            Ending::new(body, &wait).map_err(held).boxed_unsync()
        })
    }
}

/// Whether the services are described to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reflection {
    /// They are.
    Offered,
    /// They are not.
    Off,
}

/// A refusal in place of any answer.
pub fn refusal(status: Status) -> Response<ResponseBody> {
    let response = status.into_http::<Empty<Bytes>>();
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// Puts the services together; what describes them to callers is one of them where `reflection` says so.
pub async fn services(
    forge: Arc<Forge>,
    drain: &Drain,
    reflection: Reflection,
) -> Result<(Services, HealthReporter), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(holdfast_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let door = Door::new(Arc::clone(&forge), drain.closing.clone());
    let stopping = drain.stopping.clone();
    let chunks = ChunkStoreServiceServer::new(chunks::Chunks { forge, stopping })
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let credentials = CredentialsServiceServer::new(credentials::Nobody);
    let mut routes = Routes::new(chunks)
        .add_service(credentials.max_decoding_message_size(MAX_SMALL_MESSAGE))
        .add_service(health.max_decoding_message_size(MAX_SMALL_MESSAGE));
    if reflection == Reflection::Offered {
        let (newer, older) = (described().build_v1()?, described().build_v1alpha()?);
        routes = routes
            .add_service(newer.max_decoding_message_size(MAX_SMALL_MESSAGE))
            .add_service(older.max_decoding_message_size(MAX_SMALL_MESSAGE));
    }
    let routes = routes.prepare();
    Ok((Services { routes, door }, reporter))
}

/// Tells whoever asks the health service that this server is on its way out.
pub async fn say_stopping(reporter: &HealthReporter) {
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

/// Ends the streams of those who watch the health service, which would last as long as the server. After this
/// the health service knows no name any more.
pub async fn say_gone(reporter: &mut HealthReporter) {
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
