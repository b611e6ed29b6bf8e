//! A plain HTTP client: it sends what it is told and shows what came back, without redirects, decoding or retries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The headers behind the body.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Which HTTP a request is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in clear text with prior knowledge.
    Http2,
}

/// Sends one request over HTTP/1.1 on a connection of its own.
pub async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    send_by(Protocol::Http1, method, url, headers, body.into()).await
}

/// GET over HTTP/1.1.
pub async fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    send(Method::GET, url, headers, Bytes::new()).await
}

/// GET of the bytes from `first` to `last`, both included.
pub async fn get_range(url: &str, first: u64, last: u64) -> Answer {
    get(url, &[("range", &format!("bytes={first}-{last}"))]).await
}

/// The same, with how long it took from the request to the first byte of the body.
pub async fn get_range_timed(url: &str, first: u64, last: u64) -> (Answer, Duration) {
    let began = Instant::now();
    let uri: Uri = url.parse().unwrap();
    let stream = TcpStream::connect(uri.authority().unwrap().as_str())
        .await
        .unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(uri.path_and_query().unwrap().as_str())
        .header("host", uri.authority().unwrap().as_str())
        .header("range", format!("bytes={first}-{last}"))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let (head, mut body) = sender.send_request(request).await.unwrap().into_parts();
    let mut bytes = BytesMut::new();
    let mut until_first = None;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.expect("a whole body").into_data() {
            until_first.get_or_insert_with(|| began.elapsed());
            bytes.extend_from_slice(&piece);
        }
    }
    let answer = Answer {
        status: head.status,
        headers: head.headers,
        body: bytes.freeze(),
        trailers: HeaderMap::new(),
    };
    (answer, until_first.expect("a body has a first byte"))
}

/// PUT over HTTP/1.1, with Content-Length and nothing else.
pub async fn put(url: &str, body: impl Into<Bytes>) -> Answer {
    send(Method::PUT, url, &[], body).await
}

/// PUT over HTTP/1.1 of a body that is made while it is sent.
pub async fn put_pieces(
    url: &str,
    len: u64,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> Answer {
    let uri: Uri = url.parse().unwrap();
    let stream = TcpStream::connect(uri.authority().unwrap().as_str())
        .await
        .unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let frames = futures::stream::iter(
        pieces.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))),
    );
    let request = Request::put(uri.path_and_query().unwrap().as_str())
        .header("host", uri.authority().unwrap().as_str())
        .header("content-length", len)
        .body(StreamBody::new(frames))
        .unwrap();
    received(sender.send_request(request).await.unwrap()).await
}

/// Sends one request in clear text.
pub async fn send_by(
    protocol: Protocol,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let uri: Uri = url
        .parse()
        .unwrap_or_else(|error| panic!("{url} is no address: {error}"));
    assert_eq!(
        uri.scheme_str(),
        Some("http"),
        "only clear text here: {url}"
    );
    let authority = uri
        .authority()
        .expect("an absolute address has an authority")
        .as_str();
    let stream = TcpStream::connect(authority).await.unwrap();
    exchange(stream, protocol, method, &uri, headers, body).await
}

/// A request to be sent over TLS.
#[derive(Debug, Clone)]
pub struct TlsRequest<'a> {
    /// Which HTTP it is sent with, whatever is agreed on.
    pub protocol: Protocol,
    /// What is offered by ALPN; nothing where empty.
    pub alpn: &'a [&'a str],
    /// Its method.
    pub method: Method,
    /// An https address.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: Bytes,
}

/// Sends one request over TLS. Returns the answer and the protocol that was agreed on.
pub async fn send_by_tls(
    request: TlsRequest<'_>,
    trusted: &CertificateDer<'static>,
) -> (Answer, Option<String>) {
    let uri: Uri = request.url.parse().unwrap();
    let stream = connect_tls(&uri, trusted, request.alpn).await;
    let agreed = stream
        .get_ref()
        .1
        .alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let TlsRequest {
        protocol,
        method,
        headers,
        body,
        ..
    } = request;
    (
        exchange(stream, protocol, method, &uri, headers, body).await,
        agreed,
    )
}

/// Opens a TLS connection that trusts one certificate.
pub async fn connect_tls(
    uri: &Uri,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let host = uri
        .host()
        .expect("an absolute address has a host")
        .to_owned();
    let address = uri.authority().unwrap().as_str().to_owned();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

async fn exchange<S>(
    stream: S,
    protocol: Protocol,
    method: Method,
    uri: &Uri,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let mut request = Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(body);
    let response = match protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let request = request
                .uri(path)
                .header("host", uri.authority().unwrap().as_str());
            sender
                .send_request(request.body(body).unwrap())
                .await
                .unwrap()
        }
        Protocol::Http2 => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender
                .send_request(request.uri(uri.clone()).body(body).unwrap())
                .await
                .unwrap()
        }
    };
    received(response).await
}

async fn received(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body");
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
    }
}

/// The address that a port of the loopback has.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port))
}
