//! Streams on which nothing happens: they hold no place that another connection waits for, and are bounded.

use std::time::Duration;

use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_server::grpc::aside::MOST_OF_A_PEER;
use holdfast_server::transport::Patience;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::rig::{REPO, Rig, metadata_request};

const HASTY: Patience = Patience {
    beat: Duration::from_millis(50),
    first_request: 1_000_000,
    unread: 1_000_000,
    unread_wanted: 1_000_000,
    idle: 1_000_000,
    idle_streams: 3,
};

/// What is done on a connection that then does nothing more. Told when it ends.
#[derive(Debug, Clone, Copy)]
enum Idle {
    Watch,
    Reflection,
    ChunkLocations,
    NoMessage,
}

async fn watch(channel: Channel) -> Result<Streaming<HealthCheckResponse>, Status> {
    let asked = HealthCheckRequest::default();
    let mut answers = HealthClient::new(channel).watch(asked).await?.into_inner();
    answers.message().await?.expect("it serves");
    Ok(answers)
}

/// Reads to the end.
async fn end<T>(mut answers: Streaming<T>) -> Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        }
    }
}

async fn idle(channel: Channel, kind: Idle) -> JoinHandle<Status> {
    match kind {
        Idle::Watch => tokio::spawn(end(watch(channel).await.unwrap())),
        Idle::Reflection => {
            use tonic_reflection::pb::v1::ServerReflectionRequest;
            use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
            let asked = ServerReflectionRequest {
                message_request: Some(MessageRequest::ListServices(String::new())),
                ..Default::default()
            };
            let asked = tokio_stream::once(asked).chain(tokio_stream::pending());
            let mut client = ServerReflectionClient::new(channel);
            let answers = client.server_reflection_info(asked).await;
            tokio::spawn(end(answers.unwrap().into_inner()))
        }
        Idle::ChunkLocations => {
            let asked = wire::StreamChunkLocationsRequest {
                repo_path: REPO.to_owned(),
                chunk_hashes: vec![1; 20].into(),
                ..Default::default()
            };
            let asked = tokio_stream::once(asked).chain(tokio_stream::pending());
            let mut client = ChunkStoreServiceClient::new(channel);
            let answers = client.stream_chunk_locations(asked).await;
            let mut answers = answers.unwrap().into_inner();
            answers.message().await.unwrap().unwrap();
            tokio::spawn(end(answers))
        }
        Idle::NoMessage => {
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<wire::RootRequest, wire::RootResponse>::default();
            let path = "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/Root";
            let request = tonic::Request::new(tokio_stream::pending());
            tokio::spawn(async move {
                let path = path.parse().unwrap();
                let answer = client.client_streaming(request, path, codec).await;
                answer.map(drop).unwrap_err()
            })
        }
    }
}

#[tokio::test]
async fn idle_streams_give_their_places_to_a_peer_that_waits() {
    for kind in [
        Idle::Watch,
        Idle::Reflection,
        Idle::ChunkLocations,
        Idle::NoMessage,
    ] {
        let changes = [("network.max_connections", "2")];
        let rig = Rig::start_patient(&changes, HASTY, |_| {}).await;
        let mut ends = Vec::new();
        for _ in 0..2 {
            ends.push(idle(rig.channel_of(2).await, kind).await);
        }
        let mut honest = ChunkStoreServiceClient::new(rig.channel_of(3).await);
        let asked = honest.get_repo_metadata(metadata_request(REPO));
        let asked = tokio::time::timeout(Duration::from_secs(30), asked).await;
        asked
            .unwrap_or_else(|_| panic!("no place: {kind:?}"))
            .unwrap();
        let (ended, _, others) = futures::future::select_all(ends).await;
        let ended = ended.unwrap();
        assert_eq!(ended.code(), Code::Unavailable, "{kind:?}: {ended}");
        // One place was enough.
        assert!(others.iter().all(|other| !other.is_finished()), "{kind:?}");
        for other in others {
            other.abort();
        }
    }
}

#[tokio::test]
async fn so_many_watches_of_one_peer_run_and_no_more() {
    let rig = Rig::start(&[]).await;
    let channel = rig.channel_of(2).await;
    let mut watches = Vec::new();
    for _ in 0..MOST_OF_A_PEER {
        watches.push(watch(channel.clone()).await.unwrap());
    }
    let refused = watch(channel.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // It may go on asking, and others may watch.
    let asked = HealthCheckRequest::default();
    HealthClient::new(channel.clone())
        .check(asked)
        .await
        .unwrap();
    watch(rig.channel_of(3).await).await.unwrap();
    watches.pop();
    let again = async { while watch(channel.clone()).await.is_err() {} };
    let again = tokio::time::timeout(Duration::from_secs(30), again).await;
    again.expect("there is room for one more");
}
