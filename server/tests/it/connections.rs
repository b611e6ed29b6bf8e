//! What a connection is refused for, and how long the port of a server that stops takes any.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tonic::Code;

use crate::clock::Standing;
use crate::rig::{REPO, Rig, metadata_request};
use crate::transport::{Certificate, get, health};

#[tokio::test]
async fn a_handshake_that_fails_is_in_the_log() {
    let certificate = Certificate::make();
    let rig = certificate.server().await;
    // What this client trusts is another certificate.
    let other = Certificate::make();
    assert!(other.connect(&rig, &[]).await.is_err());
    rig.has_logged(&["TLS handshake", "127.0.0.1"]).await;
    let rig = Rig::start(&[]).await;
    assert!(other.connect(&rig, &[]).await.is_err());
    rig.has_logged(&["TLS", "no certificate is set"]).await;
}

#[tokio::test]
async fn clear_text_may_be_refused_but_for_probes() {
    let certificate = Certificate::make();
    let (cert, key) = (certificate.path("cert.pem"), certificate.path("key.pem"));
    let changes = [
        ("tls.cert", &*cert),
        ("tls.key", &*key),
        ("require_tls", "true"),
    ];
    let rig = Rig::start(&changes).await;
    let answer = certificate.call(&rig, &["h2"]).await;
    assert_eq!(answer.nbf_version, "__DOLT__");
    let mut client = rig.client().await;
    let refused = client.get_repo_metadata(metadata_request(REPO)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("https://"), "{refused}");
    assert_eq!(get(&rig, "/data/x?e=1&s=x").await.0, 403);
    assert_eq!(get(&rig, "/live").await.0, 200);
    assert_eq!(get(&rig, "/ready").await.0, 200);
    assert_eq!(health(&rig.url()).await, 1);
}

/// What the setting is where nothing is set; other tests do not wait so long.
const GRACE: (&str, &str) = ("stop.grace", "5s");

#[tokio::test]
async fn the_port_stays_open_long_enough_for_a_balancer_to_see_it() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = Rig::start_with(&[GRACE], |parts| parts.clock = shared).await;
    let (address, url, http) = (rig.handle.local_addr(), rig.url(), rig.http());
    let stopping = tokio::spawn(rig.handle.shutdown());
    clock.is_waited_for_by(3).await;
    let ready = async || http.get(format!("{url}/ready")).send().await;
    assert_eq!(ready().await.expect("the port is open").status(), 503);
    clock.pass(Duration::from_millis(4999));
    assert_eq!(ready().await.expect("the port is open").status(), 503);
    clock.pass(Duration::from_millis(1));
    assert!(stopping.await.unwrap(), "everything finished by itself");
    assert!(TcpStream::connect(address).await.is_err());
}
