//! Calls that never end: a message that does not come, a call that is not closed, an idle stream.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::rig::{Rig, http_builder};

const HEALTH: &str = "grpc.health.v1.Health/Check";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WHO_AM_I: &str = "dolt.services.remotesapi.v1alpha1.CredentialsService/WhoAmI";

/// A server that waits for nothing of a clone, and long for all else.
const PATIENT: [(&str, &str); 2] = [("stop.quiet", "0ms"), ("stop.timeout", "5m")];

/// Begins a call, sends these bytes, and keeps its stream open.
fn begin(rig: &Rig, method: &str, sent: &'static [u8]) -> JoinHandle<reqwest::Result<Answer>> {
    let sent = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(sent))]);
    let request = http_builder()
        .http2_prior_knowledge()
        .build()
        .unwrap()
        .post(format!("{}/{method}", rig.url()))
        .header("content-type", "application/grpc")
        .body(reqwest::Body::wrap_stream(
            sent.chain(futures::stream::pending()),
        ));
    tokio::spawn(async move {
        let answer = request.send().await?;
        let code = answer.headers().get("grpc-status").cloned();
        answer.bytes().await?;
        Ok(code.and_then(|code| code.to_str().ok()?.parse().ok()))
    })
}

/// The code of an answer, if it came in its head.
type Answer = Option<i32>;

#[tokio::test]
async fn calls_that_never_end_do_not_keep_a_server_from_its_end() {
    let rig = Rig::start(&PATIENT).await;
    let message = b"\0\0\0\0\0";
    let calls = [
        begin(&rig, HEALTH, b""),
        begin(&rig, HEALTH, b"\0\0"),
        begin(&rig, HEALTH, message),
        begin(&rig, WHO_AM_I, b""),
        begin(&rig, REFLECTION, b""),
        begin(&rig, REFLECTION, b"\0\0\0"),
    ];
    // Each has reached its handler when a call after it on a connection of its own is answered.
    let mut health = tonic_health::pb::health_client::HealthClient::new(rig.channel().await);
    for _ in 0..3 {
        let asked = tonic_health::pb::HealthCheckRequest::default();
        health.check(asked).await.unwrap();
    }
    let stopping = tokio::time::timeout(Duration::from_secs(20), rig.handle.shutdown());
    let finished = stopping.await.expect("calls that never end are ended");
    assert!(finished, "everything finished by itself");
    for call in calls {
        drop(call.await.unwrap());
    }
}

#[tokio::test]
async fn reflection_may_be_off() {
    let rig = Rig::start(&[("features_off", "reflection")]).await;
    let answer = begin(&rig, REFLECTION, b"\0\0\0\0\0").await.unwrap();
    assert_eq!(answer.unwrap(), Some(tonic::Code::Unimplemented as i32));
}

#[tokio::test]
async fn a_service_beside_the_chunk_store_takes_no_large_message() {
    let rig = Rig::start(&[]).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(rig.channel().await);
    let asked = |len| tonic_health::pb::HealthCheckRequest {
        service: "x".repeat(len),
    };
    let unknown = health.check(asked(60 << 10)).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let refused = health.check(asked(65 << 10)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
}
