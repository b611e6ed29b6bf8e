//! Who is let in, and what is said to the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures::FutureExt as _;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore as _};
use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_server::grpc::clear_text::ClearTextTokens;
use holdfast_server::grpc::failed_tokens::{FREE, FailedTokens, LONGEST, MEMORY, MOST_WAITING};
use holdfast_server::transport::Arrival;
use tonic::{Code, Status};

use crate::clock::{Standing, WATCH};
use crate::pushing::{add, commit_request, database, pack, root, upload_url};
use crate::rig::{REPO, Rig, metadata_request};

const CLOSED: [(&str, &str); 2] = [("open", "false"), ("admin_token", "t0ken")];

/// Asks for the metadata of a repository, with this `authorization`.
async fn ask(rig: &Rig, authorization: Option<&str>) -> Result<(), Status> {
    let mut request = tonic::Request::new(metadata_request(REPO));
    if let Some(text) = authorization {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", text.parse().unwrap());
    }
    let answer = rig.client().await.get_repo_metadata(request).await;
    answer.map(drop)
}

fn basic(password: &str) -> String {
    format!(
        "Basic {}",
        BASE64.encode(format!("me:{password}").as_bytes())
    )
}

/// Starts a server on what another one keeps.
async fn on_the_store_of(rig: &Rig, changes: &[(&str, &str)]) -> Rig {
    let objects = Arc::clone(&rig.objects);
    Rig::start_with(changes, |parts| parts.objects = objects).await
}

#[tokio::test]
async fn a_new_store_is_read_with_the_token_unless_the_settings_say_otherwise() {
    let rig = Rig::start(&CLOSED).await;
    let refused = ask(&rig, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for step in ["--user", "DOLT_REMOTE_PASSWORD", "reads"] {
        assert!(refused.message().contains(step), "{refused}");
    }
    ask(&rig, Some(&basic("t0ken"))).await.unwrap();
    let public = [CLOSED[0], CLOSED[1], ("reads", "public")];
    let rig = on_the_store_of(&rig, &public).await;
    assert_eq!(ask(&rig, None).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_store_that_was_public_stays_so_until_the_settings_say_otherwise() {
    let first = Rig::start(&[]).await;
    let forge = ObjectKey::parse("forge.json").unwrap();
    let text = stored(&first, &forge).await;
    let mut table: serde_json::Value = serde_json::from_slice(&text).unwrap();
    table.as_object_mut().unwrap().remove("defaults");
    let bytes = Bytes::from(table.to_string());
    first.objects.overwrite(&forge, bytes).await.unwrap();
    let rig = on_the_store_of(&first, &CLOSED).await;
    assert_eq!(ask(&rig, None).await.unwrap_err().code(), Code::NotFound);
    let token = [CLOSED[0], CLOSED[1], ("reads", "token")];
    let rig = on_the_store_of(&first, &token).await;
    let refused = ask(&rig, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

async fn stored(rig: &Rig, key: &ObjectKey) -> Bytes {
    use holdfast_chunkstore::objects::ObjectStoreExt as _;
    rig.objects.read(key, None, 1 << 16).await.unwrap()
}

/// The address of the one file of a repository that is pushed to this server.
async fn pushed_file(rig: &Rig) -> String {
    let mut client = rig.client().await;
    let pushed = database();
    let chunks: Vec<Bytes> = pushed.chunks().values().cloned().collect();
    let packed = pack(&chunks);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let put = rig.http().put(url).body(packed.bytes.clone()).send().await;
    assert_eq!(put.unwrap().status(), 200);
    add(&mut client, &[&packed]).await.unwrap();
    let last = root(&mut client).await;
    let request = commit_request(pushed.root().as_bytes(), &last);
    assert!(client.commit(request).await.unwrap().into_inner().success);
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    let listed = client.list_table_files(request).await.unwrap().into_inner();
    listed.table_file_info[0].url.clone()
}

/// What a server answers to an address that another one gave.
async fn status_of(rig: &Rig, url: &str) -> u16 {
    let path = url.splitn(4, '/').nth(3).unwrap();
    let url = format!("{}/{path}", rig.url());
    rig.http().get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn addresses_end_when_reading_needs_the_token() {
    let first = Rig::start(&[]).await;
    let url = pushed_file(&first).await;
    let public = [CLOSED[0], CLOSED[1], ("reads", "public")];
    let rig = on_the_store_of(&first, &public).await;
    assert_eq!(status_of(&rig, &url).await, 200);
    let token = [CLOSED[0], CLOSED[1], ("reads", "token")];
    let rig = on_the_store_of(&first, &token).await;
    assert_eq!(status_of(&rig, &url).await, 403);
}

#[tokio::test]
async fn refusals_name_the_request() {
    let rig = Rig::start(&[CLOSED[0], CLOSED[1], ("reads", "token")]).await;
    let refused = ask(&rig, Some(&basic("wrong"))).await.unwrap_err();
    assert!(
        refused.message().contains("(request 00000007-"),
        "{refused}"
    );
    let url = format!("{}/data/x?e=1&s=x", rig.url());
    let answer = rig.http().get(url).header("x-request-id", "mine-7");
    let text = answer.send().await.unwrap().text().await.unwrap();
    assert!(text.ends_with("(request mine-7)\n"), "{text}");
}

#[tokio::test]
async fn who_logs_in_at_a_server_without_accounts_is_told_so_at_once() {
    use wire::credentials_service_client::CredentialsServiceClient;
    let rig = Rig::start(&[]).await;
    let mut client = CredentialsServiceClient::new(rig.channel().await);
    let refused = client.who_am_i(wire::WhoAmIRequest {}).await.unwrap_err();
    // `dolt login` asks again for ever on any other code.
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("no accounts"), "{refused}");
}

#[tokio::test]
async fn wrong_tokens_are_slowed_and_right_ones_are_not() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = Rig::start_with(&CLOSED, |parts| parts.clock = shared).await;
    for _ in 0..FREE {
        let refused = ask(&rig, Some(&basic("wrong"))).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "at once");
    }
    let wrong = basic("wrong");
    let mut slowed = std::pin::pin!(ask(&rig, Some(&wrong)));
    tokio::select! {
        biased;
        answer = &mut slowed => panic!("at once: {answer:?}"),
        () = clock.is_waited_for_by(WATCH + 1) => {}
    }
    ask(&rig, Some(&basic("t0ken"))).await.unwrap();
    clock.pass(Duration::from_millis(100));
    let refused = slowed.await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A token of another kind is guessed in the same way.
    let mut slowed = std::pin::pin!(ask(&rig, Some("Bearer wrong")));
    tokio::select! {
        biased;
        answer = &mut slowed => panic!("at once: {answer:?}"),
        () = clock.is_waited_for_by(WATCH + 1) => {}
    }
    // After a while nothing is remembered.
    clock.pass(MEMORY);
    assert!(slowed.await.is_err());
    assert!(ask(&rig, Some(&basic("wrong"))).await.is_err());
}

/// Lets so many refusals of 127.0.0.1 wait that no more may.
macro_rules! crowd {
    ($rig:expr, $clock:expr) => {{
        for _ in 0..FREE {
            ask($rig, Some("Bearer wrong")).await.unwrap_err();
        }
        let waiting = (0..MOST_WAITING).map(|_| ask($rig, Some("Bearer wrong")));
        let mut waiting = futures::future::join_all(waiting);
        tokio::select! {
            biased;
            answers = &mut waiting => panic!("at once: {answers:?}"),
            () = $clock.is_waited_for_by(WATCH + MOST_WAITING) => {}
        }
        waiting
    }};
}

#[tokio::test]
async fn no_token_of_a_peer_is_compared_while_as_many_refusals_wait_as_may() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let rig = Rig::start_with(&CLOSED, |parts| parts.clock = shared).await;
    let waiting = crowd!(&rig, clock);
    // The right one is told the same as a wrong one, and to come again.
    for token in ["wrong", "t0ken"] {
        let crowded = ask(&rig, Some(&basic(token))).await.unwrap_err();
        assert_eq!(crowded.code(), Code::Unavailable, "{token}: {crowded}");
    }
    let mut request = tonic::Request::new(metadata_request(REPO));
    let right = basic("t0ken").parse().unwrap();
    request.metadata_mut().insert("authorization", right);
    let mut other = ChunkStoreServiceClient::new(rig.channel_of(2).await);
    other.get_repo_metadata(request).await.unwrap();
    clock.pass(LONGEST);
    ask(&rig, Some(&basic("t0ken"))).await.unwrap();
    for answer in waiting.await {
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn tokens_are_not_guessed_by_what_everybody_may_read() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let public = [CLOSED[0], CLOSED[1], ("reads", "public")];
    let rig = Rig::start_with(&public, |parts| parts.clock = shared).await;
    let login = "Bearer eyJhbGciOi.eyJhdWQi.c2ln";
    for _ in 0..=FREE {
        let answer = ask(&rig, Some(login)).await.unwrap_err();
        assert_eq!(answer.code(), Code::NotFound, "at once");
    }
    for _ in 0..FREE {
        let answer = ask(&rig, Some("Bearer wrong")).await.unwrap_err();
        assert_eq!(answer.code(), Code::NotFound, "at once");
    }
    let mut slowed = std::pin::pin!(ask(&rig, Some("Bearer wrong")));
    tokio::select! {
        biased;
        answer = &mut slowed => panic!("at once: {answer:?}"),
        () = clock.is_waited_for_by(WATCH + 1) => {}
    }
    ask(&rig, Some("Bearer t0ken")).await.unwrap();
    clock.pass(LONGEST);
    assert_eq!(slowed.await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn who_does_not_wait_for_refusals_gains_nothing_and_is_not_locked_out() {
    let clock = Standing::new();
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let failed = FailedTokens::new(shared);
    let peer = "10.0.0.1".parse().unwrap();
    let other = "10.0.0.2".parse().unwrap();
    for _ in 0..MOST_WAITING + FREE as usize {
        assert!(!failed.is_crowded(peer));
        // The caller goes away at once.
        let _ended: Option<()> = failed.slow(peer).now_or_never();
    }
    assert!(failed.is_crowded(peer));
    assert!(!failed.is_crowded(other));
    clock.pass(LONGEST);
    assert!(!failed.is_crowded(peer));
}

#[test]
fn a_token_in_clear_text_from_the_network_is_said_once_an_hour() {
    let clock = Standing::new();
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let tokens = ClearTextTokens::new(shared);
    let none = http::HeaderMap::new();
    let mut by_proxy = none.clone();
    by_proxy.insert("x-forwarded-proto", "https".parse().unwrap());
    let from = |peer: &str, secure| Arrival {
        peer: peer.parse().unwrap(),
        secure,
    };
    let network = from("10.0.0.1:7", false);
    for local in ["127.0.0.1:7", "[::1]:7", "[::ffff:127.0.0.1]:7"] {
        assert!(!tokens.is_to_be_said(from(local, false), &none), "{local}");
    }
    assert!(!tokens.is_to_be_said(from("10.0.0.1:7", true), &none));
    assert!(!tokens.is_to_be_said(network, &by_proxy));
    assert!(tokens.is_to_be_said(network, &none));
    assert!(!tokens.is_to_be_said(network, &none));
    clock.pass(Duration::from_mins(59));
    assert!(!tokens.is_to_be_said(network, &none));
    clock.pass(Duration::from_mins(1));
    assert!(tokens.is_to_be_said(network, &none));
}

#[tokio::test]
async fn a_rotated_key_of_addresses_lets_the_last_ones_live() {
    let first = Rig::start(&[]).await;
    let url = pushed_file(&first).await;
    for (number, status) in [("1", 200), ("2", 200), ("3", 403)] {
        let rig = on_the_store_of(&first, &[("address_key", number)]).await;
        assert_eq!(status_of(&rig, &url).await, status, "key {number}");
    }
}
