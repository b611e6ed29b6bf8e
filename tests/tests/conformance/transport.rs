//! Statements 1 to 8: transport and naming.

use std::collections::BTreeSet;

use bytes::{BufMut as _, Bytes, BytesMut};
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{RepoId, RootRequest, RootResponse};
use holdfast_tests::forge::Plan;
use holdfast_tests::peer::{Peer, details};
use holdfast_tests::scenario;
use holdfast_tests::table::TableFile;
use holdfast_tests::web::{self, Protocol, TlsRequest};
use http::{Method, StatusCode};
use prost::Message as _;
use tonic::Code;

use crate::addresses::given_addresses;
use crate::calls::{self, Naming};
use crate::{Setup, streams};

const ROOT_METHOD: &str = "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/Root";
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

pub(crate) async fn s01_one_port_serves_every_protocol(setup: Setup) {
    let forge = setup.start(|plan| plan.tls = true);
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let file = peer.push(&database, &fresh).await;

    let url = peer.files().await.unwrap().table_file_info[0].url.clone();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let answer = web::send_by(protocol, Method::GET, &url, &[], Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::OK, "{protocol:?} in clear text");
        assert_eq!(answer.body, file.bytes);
    }
    // TLS ends at the server, so it is spoken with one of them directly.
    let (_, path) = split_url(&url);
    let url = format!("{}{path}", forge.tls_urls()[0]);
    for (protocol, alpn) in [(Protocol::Http1, "http/1.1"), (Protocol::Http2, "h2")] {
        let request = TlsRequest {
            protocol,
            alpn: &[alpn],
            method: Method::GET,
            url: &url,
            headers: &[],
            body: Bytes::new(),
        };
        let (answer, agreed) = web::send_by_tls(request, forge.certificate()).await;
        assert_eq!(agreed.as_deref(), Some(alpn));
        assert_eq!(answer.body, file.bytes, "{protocol:?} over TLS");
    }
    forge.finish();
}

/// The longest answer.
const LONGEST: usize = 128 << 20;

/// The longest request. The longest that any dolt sends, a HasChunks of 16,384 hashes, has 360,471 bytes.
const LONGEST_REQUEST: usize = 8 << 20;

pub(crate) async fn s02_a_request_of_7_mib_is_taken(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let root = |token_len: usize| {
        let message = RootRequest {
            repo_path: peer.path(),
            repo_token: "t".repeat(token_len),
            ..RootRequest::default()
        };
        let request = peer.request(message);
        let mut rpc = peer.rpc();
        async move { rpc.root(request).await }
    };
    assert!(root(7 << 20).await.is_ok());
    let refused = root(LONGEST_REQUEST).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::OutOfRange,
        "a code on which dolt does not ask again: {refused}"
    );
    let most = LONGEST_REQUEST.to_string();
    assert!(refused.message().contains(&most), "{refused}");
    assert!(root(1).await.is_ok(), "and the next one is answered");
    forge.finish();

    // A long public address makes a short question ask for more than an answer may hold.
    const BASE_LEN: usize = 60_000;
    let base = format!("https://forge.example.org/{}", "x".repeat(BASE_LEN));
    let forge = setup.start(|plan| plan.public_url = Some(base));
    let peer = forge.peer("acme/prod");
    let file = TableFile::classic(&TinyDb::new().commit("main", "one"));
    let ask = async |count: usize| peer.upload_locations(vec![details(&file); count]).await;
    let most = LONGEST / (BASE_LEN + 1000);
    let answered = ask(most).await.unwrap();
    assert_eq!(answered.len(), most);
    let len: usize = answered.iter().map(|location| location.encoded_len()).sum();
    assert!(
        (LONGEST - (8 << 20)..=LONGEST).contains(&len),
        "{len} bytes are not near the limit"
    );
    let refused = ask(LONGEST / BASE_LEN + 1).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::OutOfRange,
        "a code on which dolt does not ask again: {refused}"
    );
    assert!(ask(1).await.is_ok(), "and the next question is answered");
    forge.finish();
}

pub(crate) async fn s03_grpc_over_tls_needs_no_alpn(setup: Setup) {
    let forge = setup.start(|plan| plan.tls = true);
    let message = RootRequest {
        repo_path: "acme/prod".to_owned(),
        ..RootRequest::default()
    };
    for server in forge.tls_urls() {
        let url = format!("{server}{ROOT_METHOD}");
        for (alpn, expected) in [
            (&[][..], None),
            (&["h2"], Some("h2")),
            (&["h2", "http/1.1"], Some("h2")),
        ] {
            let request = TlsRequest {
                protocol: Protocol::Http2,
                alpn,
                method: Method::POST,
                url: &url,
                headers: &GRPC,
                body: framed(&message),
            };
            let (answer, agreed) = web::send_by_tls(request, forge.certificate()).await;
            assert_eq!(agreed.as_deref(), expected, "{alpn:?} at {server}");
            assert_eq!(
                answer
                    .trailers
                    .get("grpc-status")
                    .map(|value| value.as_bytes()),
                Some(&b"0"[..]),
                "{alpn:?} at {server}"
            );
            let answer = RootResponse::decode(&answer.body[5..]).unwrap();
            assert_eq!(answer.root_hash.len(), 20);
        }
    }
    forge.finish();
}

pub(crate) async fn s04_a_path_and_an_id_name_the_same_repository(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;

    let id = |org: &str, name: &str| {
        Some(RepoId {
            org: org.to_owned(),
            repo_name: name.to_owned(),
        })
    };
    for (repo_id, repo_path) in [
        (None, "acme/prod"),
        (id("acme", "prod"), ""),
        (id("acme", "other"), "acme/prod"),
    ] {
        let shown = format!("{repo_id:?} {repo_path:?}");
        let message = RootRequest {
            repo_id,
            repo_path: repo_path.to_owned(),
            ..RootRequest::default()
        };
        let answer = peer.rpc().root(message).await.unwrap().into_inner();
        assert_eq!(&answer.root_hash[..], database.root().as_bytes(), "{shown}");
    }
    forge.finish();
}

pub(crate) async fn s05_a_missing_or_half_name_is_invalid(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");

    let id = |org: &str, name: &str| {
        Some(RepoId {
            org: org.to_owned(),
            repo_name: name.to_owned(),
        })
    };
    let file = "v".repeat(32);
    for repo_id in [None, id("", ""), id("acme", ""), id("", "prod")] {
        let naming = Naming {
            repo_id,
            repo_path: String::new(),
        };
        let calls = calls::reads(&peer, &naming, &file).await;
        let calls: Vec<_> = calls
            .into_iter()
            .chain(calls::writes(&peer, &naming).await)
            .collect();
        assert_eq!(calls.len(), 12, "every call of the service");
        for (call, result) in calls {
            let refused = result.expect_err(call);
            assert_eq!(
                refused.code(),
                Code::InvalidArgument,
                "{call} {naming:?}: {refused}"
            );
        }
    }
    forge.finish();
}

pub(crate) async fn s06_a_percent_encoded_address_is_the_same_repository(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let file = peer.push(&database, &fresh).await;

    for path in ["acme/prod", "acme/prod/", "/acme/prod", "//acme/prod//"] {
        let message = RootRequest {
            repo_path: path.to_owned(),
            ..RootRequest::default()
        };
        let answer = peer.rpc().root(message).await.unwrap().into_inner();
        assert_eq!(&answer.root_hash[..], database.root().as_bytes(), "{path}");
    }

    // Also an address of data means the same, however it is written.
    let url = peer.files().await.unwrap().table_file_info[0].url.clone();
    let (base, rest) = split_url(&url);
    let (path, query) = rest.split_once('?').unwrap();
    for written in [
        path.replace('e', "%65"),
        path.replace("_", "%5F"),
        path.replace("_", "%5f"),
    ] {
        assert_ne!(written, path);
        let answer = web::get(&format!("{base}{written}?{query}"), &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{written}");
        assert_eq!(answer.body, file.bytes, "{written}");
    }
    for broken in ["%", "%6", "%zz", "%ff", "%00"] {
        let answer = web::get(&format!("{base}{path}{broken}?{query}"), &[]).await;
        assert!(
            [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&answer.status),
            "{broken}: {}",
            answer.status
        );
    }

    // And a real dolt, told an address that somebody has encoded.
    crate::with_dolt(
        &forge,
        scenario::clone::an_encoded_address_is_the_same_repository,
    );
    forge.finish();
}

pub(crate) async fn s07_data_addresses_carry_the_public_base(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, database) = streams::filled(&forge).await;
    all_begin_with(&peer, &database, &format!("{}/", forge.base_url())).await;
    let authority = forge.base_url().replace("http://", "");
    let behind_a_proxy = peer.with("x-forwarded-proto", "https");
    all_begin_with(&behind_a_proxy, &database, &format!("https://{authority}/")).await;

    let base = "https://forge.example.org/base";
    let forge = forge.restart(|plan| plan.public_url = Some(base.to_owned()));
    let peer = forge.peer("acme/prod").with("x-forwarded-proto", "http");
    all_begin_with(&peer, &database, &format!("{base}/")).await;
    forge.finish();
}

/// Every address that the server gives, by every call that gives one, has this base.
async fn all_begin_with(peer: &Peer, database: &TinyDb, base: &str) {
    let file = TableFile::classic(&TinyDb::new().commit("main", base));
    let upload = peer.upload_url(&file).await.unwrap();
    let upload = upload.expect("a new file is asked for");
    assert!(upload.starts_with(base), "upload: {upload}");
    let chunks: Vec<_> = database.chunks().keys().copied().collect();
    let given = given_addresses(peer, &chunks).await;
    let ways: BTreeSet<&str> = given.iter().map(|given| given.way).collect();
    assert_eq!(ways.len(), 4, "{ways:?}");
    for given in given {
        assert!(given.url.starts_with(base), "{}: {}", given.way, given.url);
    }
}

pub(crate) async fn s08_unknown_headers_are_ignored(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge
        .peer("acme/prod")
        .with("x-dolt-cluster-role", "primary")
        .with("x-unheard-of", "some value")
        .with("x-forwarded-for", "192.0.2.1");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let file = peer.push(&database, &fresh).await;

    let url = peer.files().await.unwrap().table_file_info[0].url.clone();
    let answer = web::get(
        &url,
        &[
            ("x-unheard-of", "some value"),
            ("cookie", "a=b"),
            ("if-none-match", "*"),
        ],
    )
    .await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, file.bytes));
    forge.finish();
}

fn framed(message: &impl prost::Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(encoded.len()).unwrap());
    framed.extend_from_slice(&encoded);
    framed.freeze()
}

/// Splits an address into scheme and authority, and the rest.
pub(crate) fn split_url(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    url.split_at(end)
}

/// A closed server, in whose place statements about rights are made.
pub(crate) fn closed(plan: &mut Plan) {
    plan.token = Some(crate::auth::TOKEN.to_owned());
}
