//! The gRPC services: Dolt's remotes API, health and reflection.

pub mod chunks;
pub mod convert;
pub mod credentials;
pub mod identity;
pub mod status;
pub mod streams;

use std::sync::Arc;

use holdfast_proto::remotesapi::chunk_store_service_server::ChunkStoreServiceServer;
use holdfast_proto::remotesapi::credentials_service_server::CredentialsServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::forge::Forge;

/// The longest message either way, in bytes; Dolt's own limit. A longer one, of ours too, ends the call with
/// OutOfRange, which no client asks for again.
pub const MAX_MESSAGE: usize = 128 << 20;

/// The names that the health service knows; the empty one is the server as a whole.
const SERVICES: [&str; 3] = [
    "",
    "dolt.services.remotesapi.v1alpha1.ChunkStoreService",
    "dolt.services.remotesapi.v1alpha1.CredentialsService",
];

/// Puts the services together.
pub async fn services(
    forge: Arc<Forge>,
    stopping: CancellationToken,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(holdfast_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let chunks = ChunkStoreServiceServer::new(chunks::Chunks { forge, stopping })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let routes = Routes::new(chunks)
        .add_service(CredentialsServiceServer::new(credentials::Nobody))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((routes.prepare(), reporter))
}

/// Tells whoever asks the health service that this server is on its way out.
pub async fn say_stopping(reporter: &HealthReporter) {
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}
