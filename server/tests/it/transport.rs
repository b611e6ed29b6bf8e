//! One port for everything: statements 1, 2, 3 and 8, and the end of a server.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_server::peer::TrustedProxies;
use holdfast_server::transport::{
    Answer, Arrival, ConnectionLimits, Drain, Listener, Patience, ResponseBody,
};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::clock::Standing;
use crate::rig::{REPO, Rig, metadata_request};

pub(crate) struct Certificate {
    directory: TempDir,
    pem: String,
}

impl Certificate {
    pub(crate) fn make() -> Self {
        let certificate = Self {
            directory: tempfile::tempdir().unwrap(),
            pem: String::new(),
        };
        certificate.renewed()
    }

    fn renewed(mut self) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.pem = made.cert.pem();
        std::fs::write(self.path("cert.pem"), &self.pem).unwrap();
        std::fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn server(&self) -> Rig {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        Rig::start(&[("tls.cert", &cert), ("tls.key", &key)]).await
    }

    pub(crate) async fn connect(
        &self,
        rig: &Rig,
        alpn: &[&str],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(rig.handle.local_addr()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// A call over HTTP/2 on a connection that offered `alpn`.
    pub(crate) async fn call(&self, rig: &Rig, alpn: &[&str]) -> wire::GetRepoMetadataResponse {
        let stream = self.connect(rig, alpn).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let running = tokio::spawn(connection);
        let origin = "https://localhost".parse().unwrap();
        let service = tower::service_fn(move |mut request: http::Request<tonic::body::Body>| {
            let mut sender = sender.clone();
            let path = request.uri().path_and_query().unwrap().as_str();
            *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
            async move { sender.send_request(request).await }
        });
        let mut client = ChunkStoreServiceClient::with_origin(service, origin);
        let answer = client
            .get_repo_metadata(metadata_request(REPO))
            .await
            .unwrap();
        drop(client);
        running.abort();
        answer.into_inner()
    }
}

#[tokio::test]
async fn grpc_works_in_clear_text_with_prior_knowledge() {
    let rig = Rig::start(&[]).await;
    let answer = rig
        .client()
        .await
        .get_repo_metadata(metadata_request(REPO))
        .await;
    assert_eq!(answer.unwrap().into_inner().nbf_version, "__DOLT__");
}

#[tokio::test]
async fn grpc_works_over_tls_with_and_without_alpn() {
    let certificate = Certificate::make();
    let rig = certificate.server().await;
    for alpn in [&["h2"][..], &["h2", "http/1.1"], &[]] {
        let answer = certificate.call(&rig, alpn).await;
        assert_eq!(answer.nbf_version, "__DOLT__", "{alpn:?}");
    }
}

#[tokio::test]
async fn a_tls_server_takes_clear_text_on_the_same_port() {
    let certificate = Certificate::make();
    let rig = certificate.server().await;
    let answer = rig
        .client()
        .await
        .get_repo_metadata(metadata_request(REPO))
        .await;
    assert!(answer.is_ok());
    assert_eq!(get(&rig, "/live").await.0, 200);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_the_next_connection() {
    let certificate = Certificate::make();
    let rig = certificate.server().await;
    certificate.connect(&rig, &[]).await.unwrap();
    let certificate = certificate.renewed();
    certificate.connect(&rig, &[]).await.unwrap();
}

#[tokio::test]
async fn a_tls_client_is_turned_away_where_no_certificate_is_set() {
    let certificate = Certificate::make();
    let rig = Rig::start(&[]).await;
    assert!(certificate.connect(&rig, &["h2"]).await.is_err());
    assert_eq!(get(&rig, "/live").await.0, 200);
}

pub(crate) async fn get(rig: &Rig, path: &str) -> (u16, String) {
    let response = rig
        .http()
        .get(format!("{}{path}", rig.url()))
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn an_unknown_path_is_a_404_and_an_unknown_call_is_unimplemented() {
    let rig = Rig::start(&[]).await;
    for path in [
        "/",
        "/x",
        "/dolt.services.remotesapi.v1alpha1.ChunkStoreService/Root",
        "/livex",
    ] {
        assert_eq!(get(&rig, path).await.0, 404, "{path}");
    }
    let mut client = tonic::client::Grpc::new(rig.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<wire::RootRequest, wire::RootResponse>::default();
    let path = "/no.such.Service/Call".parse().unwrap();
    let request = tonic::Request::new(wire::RootRequest::default());
    let status = client.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_server_says_that_it_lives_and_is_ready() {
    let rig = Rig::start(&[]).await;
    assert_eq!(get(&rig, "/live").await, (200, "live\n".to_owned()));
    assert_eq!(get(&rig, "/ready").await, (200, "ready\n".to_owned()));
    let response = rig
        .http()
        .delete(format!("{}/live", rig.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 405);
    let mut health = tonic_health::pb::health_client::HealthClient::new(rig.channel().await);
    let asked = tonic_health::pb::HealthCheckRequest::default();
    assert_eq!(health.check(asked).await.unwrap().into_inner().status, 1);
}

/// The services that a version of reflection lists.
macro_rules! listed_services {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let asked = tonic_reflection::pb::$version::ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut client = ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::once(asked));
        let answer = answers.await.unwrap().into_inner().message().await.unwrap();
        match answer.unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(listed)) => {
                let names = listed.service.into_iter().map(|service| service.name);
                names.collect::<Vec<String>>()
            }
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_of_its_versions() {
    let rig = Rig::start(&[]).await;
    let newer = listed_services!(v1, rig.channel().await);
    let older = listed_services!(v1alpha, rig.channel().await);
    for listed in [newer, older] {
        for name in [
            "dolt.services.remotesapi.v1alpha1.ChunkStoreService",
            "dolt.services.remotesapi.v1alpha1.CredentialsService",
            "grpc.health.v1.Health",
        ] {
            assert!(listed.iter().any(|listed| listed == name), "{listed:?}");
        }
    }
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let rig = Rig::start(&[]).await;
    let url = format!("{}/live", rig.url());
    let given = rig
        .http()
        .get(&url)
        .header("x-request-id", "mine-1")
        .send()
        .await
        .unwrap();
    assert_eq!(given.headers()["x-request-id"], "mine-1");
    let made = rig.http().get(&url).send().await.unwrap();
    assert!(
        made.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("00000007-")
    );
}

#[tokio::test]
async fn statement_2_a_request_of_7_mib_is_taken_and_one_of_9_is_refused_for_good() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let of_len = |len: usize| wire::HasChunksRequest {
        repo_path: REPO.to_owned(),
        repo_token: "x".repeat(len),
        ..Default::default()
    };
    client.has_chunks(of_len(7 << 20)).await.unwrap();
    let refused = client.has_chunks(of_len(9 << 20)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("at most 8388608"), "{refused}");
}

#[tokio::test]
async fn statement_8_unknown_metadata_is_ignored() {
    let rig = Rig::start(&[]).await;
    let mut request = tonic::Request::new(metadata_request(REPO));
    request
        .metadata_mut()
        .insert("x-unknown", "1".parse().unwrap());
    rig.client().await.get_repo_metadata(request).await.unwrap();
}

type Asked = wire::StreamChunkLocationsRequest;

fn asked() -> Asked {
    wire::StreamChunkLocationsRequest {
        repo_path: REPO.to_owned(),
        chunk_hashes: vec![1; 20].into(),
        ..Default::default()
    }
}

pub(crate) async fn health(rig_url: &str) -> i32 {
    let channel = tonic::transport::Channel::from_shared(rig_url.to_owned()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let asked = tonic_health::pb::HealthCheckRequest::default();
    health.check(asked).await.unwrap().into_inner().status
}

#[tokio::test]
async fn a_stopping_server_serves_on_until_nobody_is_amidst_something() {
    let rig = Rig::start(&[("stop.quiet", "100ms")]).await;
    let (address, url, http) = (rig.handle.local_addr(), rig.url(), rig.http());
    let mut client = rig.client().await;
    let chunks: Vec<_> = crate::pushing::database()
        .chunks()
        .values()
        .cloned()
        .collect();
    let packed = crate::pushing::pack(&chunks);
    let put_url = crate::pushing::upload_url(&mut client, &packed)
        .await
        .unwrap();
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(asked()).await.unwrap();
    let mut answers = client
        .stream_chunk_locations(ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().unwrap();
    let stopping = tokio::spawn(rig.handle.shutdown());
    let not_ready = async {
        while http
            .get(format!("{url}/ready"))
            .send()
            .await
            .unwrap()
            .status()
            != 503
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), not_ready)
        .await
        .unwrap();
    assert_eq!(health(&url).await, 2, "not serving");
    // A fetch that runs opens more connections, and so does a push.
    let put = http.put(&put_url).body(packed.bytes.clone()).send().await;
    assert_eq!(put.unwrap().status(), 200);
    crate::pushing::add(&mut client, &[&packed]).await.unwrap();
    sender.send(asked()).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.missing_indexes, [0]);
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    assert!(stopping.await.unwrap(), "everything finished by itself");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn who_watches_the_health_of_a_server_does_not_keep_it() {
    let rig = Rig::start(&[("stop.quiet", "0ms")]).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(rig.channel().await);
    let asked = tonic_health::pb::HealthCheckRequest::default();
    let mut watch = health.watch(asked).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let stopping = tokio::time::timeout(Duration::from_secs(60), rig.handle.shutdown());
    assert!(stopping.await.unwrap(), "everything finished by itself");
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    assert!(watch.message().await.unwrap().is_none());
}

/// Opens a stream to a server, and waits for its first answer.
async fn stream(rig: &Rig) -> (Sender<Asked>, Streaming<wire::StreamChunkLocationsResponse>) {
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(asked()).await.unwrap();
    let requests = ReceiverStream::new(requests);
    let answers = rig.client().await.stream_chunk_locations(requests).await;
    let mut answers = answers.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    (sender, answers)
}

#[tokio::test]
async fn a_server_that_is_never_quiet_closes_its_port_after_half_of_the_drain_time() {
    let clock = Standing::new();
    let shared = Arc::clone(&clock);
    let changes = [("stop.timeout", "10m")];
    let rig = Rig::start_with(&changes, |parts| parts.clock = shared).await;
    let address = rig.handle.local_addr();
    let (sender, mut answers) = stream(&rig).await;
    let stopping = tokio::spawn(rig.handle.shutdown());
    // For half of the time, and for all of it.
    clock.is_waited_for_by(2).await;
    drop(TcpStream::connect(address).await.unwrap());
    clock.pass(Duration::from_mins(5));
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    let closed = tokio::time::timeout(Duration::from_secs(30), closed);
    closed.await.expect("the port closes");
    sender.send(asked()).await.unwrap();
    assert!(answers.message().await.unwrap().is_some(), "it goes on");
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    assert!(stopping.await.unwrap(), "everything finished by itself");
}

#[tokio::test]
async fn a_server_that_cannot_wait_cuts_what_runs_at_once() {
    let rig = Rig::start(&[("stop.timeout", "10m")]).await;
    let (sender, mut answers) = stream(&rig).await;
    let cut = rig.handle.cut();
    let stopping = tokio::spawn(rig.handle.shutdown());
    cut.cancel();
    let stopping = tokio::time::timeout(Duration::from_secs(60), stopping);
    assert!(!stopping.await.unwrap().unwrap(), "a stream was open");
    assert!(answers.message().await.is_err());
    drop(sender);
}

#[tokio::test]
async fn what_still_runs_after_the_drain_time_is_cut() {
    let rig = Rig::start(&[("stop.timeout", "50ms")]).await;
    let mut client = rig.client().await;
    let (sender, requests) = tokio::sync::mpsc::channel::<wire::StreamChunkLocationsRequest>(1);
    let mut answers = client
        .stream_chunk_locations(ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    assert!(!rig.handle.shutdown().await, "a stream was open");
    assert!(answers.message().await.is_err());
    drop(sender);
}

/// Answers everything with a body that never ends.
struct Endless(Sender<()>);

impl Answer for Endless {
    async fn answer(
        self: Arc<Self>,
        _arrival: Arrival,
        _request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<ResponseBody> {
        let piece = http_body::Frame::data(bytes::Bytes::from(vec![0; 64 << 10]));
        let pieces = futures::stream::repeat_with(move || {
            Ok(http_body::Frame::data(
                piece.data_ref().cloned().unwrap_or_default(),
            ))
        });
        self.0.send(()).await.unwrap();
        http::Response::new(ResponseBody::new(http_body_util::StreamBody::new(pieces)))
    }

    fn is_probe(&self, _request: &http::Request<hyper::body::Incoming>) -> bool {
        false
    }
}

/// Answers everything with a body that ends.
struct Short;

impl Answer for Short {
    async fn answer(
        self: Arc<Self>,
        _arrival: Arrival,
        _request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<ResponseBody> {
        let body = http_body_util::Empty::new().map_err(|never| match never {});
        http::Response::new(ResponseBody::new(body))
    }

    fn is_probe(&self, _request: &http::Request<hyper::body::Incoming>) -> bool {
        false
    }
}

/// A port with little patience.
struct Port {
    address: std::net::SocketAddr,
    drain: Drain,
    serving: tokio::task::JoinHandle<()>,
    asked: tokio::sync::mpsc::Receiver<()>,
}

impl Port {
    async fn open() -> Self {
        let (sender, asked) = tokio::sync::mpsc::channel(1);
        Self::of(Endless(sender), asked, 10).await
    }

    /// One with another application and another number of beats for connections on which nothing runs.
    async fn of(app: impl Answer, asked: tokio::sync::mpsc::Receiver<()>, idle: u32) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, drain) = (listener.local_addr().unwrap(), Drain::default());
        let listener = Listener {
            listener,
            tls: None,
            app: Arc::new(app),
            limits: ConnectionLimits {
                in_all: 10,
                per_peer: 10,
            },
            proxies: TrustedProxies::default(),
            patience: Patience {
                beat: Duration::from_millis(10),
                first_request: 3,
                unread: 10,
                unread_wanted: 10,
                idle,
                idle_streams: 3,
            },
            drain: drain.clone(),
        };
        Self {
            address,
            drain,
            serving: tokio::spawn(listener.run()),
            asked,
        }
    }

    /// Waits until there is no connection any more. Closing would wait for an answer that is being sent.
    async fn ends_with_its_connections(self) {
        self.drain.closing.cancel();
        let serving = tokio::time::timeout(Duration::from_secs(60), self.serving);
        serving.await.expect("the connection was cut").unwrap();
    }
}

#[tokio::test]
async fn a_connection_on_which_no_request_comes_is_cut() {
    for sent in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x",
    ] {
        let port = Port::open().await;
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut told = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut told));
        // An end or a reset; HTTP/2 says a few things first.
        drop(end.await.expect("the connection was cut"));
        port.ends_with_its_connections().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_with_its_connection() {
    let mut port = Port::open().await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream
        .write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    port.asked.recv().await.unwrap();
    port.ends_with_its_connections().await;
    drop(stream);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_cut_with_its_connection() {
    let mut port = Port::open().await;
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let running = tokio::spawn(connection);
    let request =
        http::Request::get("http://x/x").body(http_body_util::Empty::<bytes::Bytes>::new());
    // The window of the stream fills; the connection itself is read all the time.
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    port.asked.recv().await.unwrap();
    port.ends_with_its_connections().await;
    assert!(running.await.is_ok());
    drop(answer);
}

#[tokio::test]
async fn a_client_that_reads_no_more_does_not_hold_a_server_that_stops() {
    let (_sender, asked) = tokio::sync::mpsc::channel(1);
    let port = Port::of(Short, asked, u32::MAX - 10).await;
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, mut connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let request =
        http::Request::get("http://x/x").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.unwrap());
    tokio::select! {
        answer = answer => drop(answer.unwrap()),
        ended = &mut connection => panic!("before it answered: {ended:?}"),
    }
    // From here on nothing reads what the server says; the connection stays open.
    port.ends_with_its_connections().await;
    drop((sender, connection));
}
