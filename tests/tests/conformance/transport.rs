//! Statements 1 to 8: transport and naming.

use bytes::{BufMut as _, Bytes, BytesMut};
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{RepoId, RootRequest, RootResponse};
use holdfast_tests::forge::Plan;
use holdfast_tests::peer::{Peer, details, url_of};
use holdfast_tests::table::TableFile;
use holdfast_tests::web::{self, Protocol, TlsRequest};
use http::{Method, StatusCode};
use prost::Message as _;
use tonic::Code;

use crate::Setup;

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

pub(crate) async fn s02_a_request_of_100_mib_is_taken(setup: Setup) {
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

    assert!(root(100 << 20).await.is_ok());
    assert!(
        root(129 << 20).await.is_err(),
        "a message above 128 MiB is refused"
    );
    assert!(root(1).await.is_ok(), "and the next one is answered");
    forge.finish();
}

pub(crate) async fn s03_grpc_over_tls_needs_no_alpn(setup: Setup) {
    let forge = setup.start(|plan| plan.tls = true);
    let url = format!("{}{ROOT_METHOD}", forge.tls_urls()[0]);
    let message = RootRequest {
        repo_path: "acme/prod".to_owned(),
        ..RootRequest::default()
    };

    for alpn in [&[][..], &["h2"]] {
        let request = TlsRequest {
            protocol: Protocol::Http2,
            alpn,
            method: Method::POST,
            url: &url,
            headers: &GRPC,
            body: framed(&message),
        };
        let (answer, _) = web::send_by_tls(request, forge.certificate()).await;
        assert_eq!(
            answer
                .trailers
                .get("grpc-status")
                .map(|value| value.as_bytes()),
            Some(&b"0"[..]),
            "{alpn:?}"
        );
        let answer = RootResponse::decode(&answer.body[5..]).unwrap();
        assert_eq!(answer.root_hash.len(), 20);
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
    for repo_id in [None, id("", ""), id("acme", ""), id("", "prod")] {
        let shown = format!("{repo_id:?}");
        let message = RootRequest {
            repo_id,
            ..RootRequest::default()
        };
        let refused = peer.rpc().root(message).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{shown}: {refused}");
    }
    forge.finish();
}

pub(crate) async fn s06_a_percent_encoded_address_is_the_same_repository(setup: Setup) {
    let forge = setup.start(|_| {});
    crate::with_dolt(&forge, |scene| {
        let owner = scene.published("owner", "prod");
        let copy = scene
            .workshop()
            .clone_from(&scene.url("%70ro%64"), "copy", &[]);
        assert_eq!(copy.log(), owner.log());
    });
    forge.finish();
}

pub(crate) async fn s07_data_addresses_carry_the_public_base(setup: Setup) {
    let file = TableFile::classic(&TinyDb::new().commit("main", "one"));
    let upload_url = async |peer: Peer| {
        let locations = peer.upload_locations(vec![details(&file)]).await.unwrap();
        url_of(&locations[0]).unwrap()
    };

    let forge =
        setup.start(|plan| plan.public_url = Some("https://forge.example.org/base".to_owned()));
    let url = upload_url(forge.peer("acme/prod")).await;
    assert!(url.starts_with("https://forge.example.org/base/"), "{url}");
    forge.finish();

    let forge = setup.start(|_| {});
    let url = upload_url(forge.peer("acme/prod")).await;
    assert!(
        url.starts_with(&format!("{}/", forge.base_url())),
        "{url} begins with the authority of the call"
    );
    let url = upload_url(forge.peer("acme/prod").with("x-forwarded-proto", "https")).await;
    let authority = forge.base_url().replace("http://", "");
    assert!(
        url.starts_with(&format!("https://{authority}/")),
        "{url} has the scheme that a proxy names"
    );
    forge.finish();
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
