//! HTTP/2 connections that send any bytes as a gRPC call or as an HTTP request, and show what came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;

use crate::rig::Rig;

/// What a body of a request fails with when the test wants it to.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// How many connections take turns. A server that answers before it has read the body ends a connection after
/// 2,048 such answers, and none of these gets as many.
const CONNECTIONS: usize = 8;

/// Connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    senders: Vec<SendRequest<UnsyncBoxBody<Bytes, BodyError>>>,
    next: Arc<AtomicUsize>,
    base: String,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    trailers: HeaderMap,
}

/// What a server answered to a gRPC call.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Status,
    pub(crate) messages: Vec<Bytes>,
}

impl Wire {
    pub(crate) async fn open(rig: &Rig) -> Self {
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(rig.handle.local_addr()).await.unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
            // Ends when the last sender is dropped; what it fails with its requests fail with as well.
            tokio::spawn(connection);
            senders.push(sender);
        }
        Self {
            senders,
            next: Arc::default(),
            base: rig.url(),
        }
    }

    /// An absolute address at this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        let request = request.map(|body| {
            Full::new(body)
                .map_err(|never| match never {})
                .boxed_unsync()
        });
        self.stream(request).await.unwrap()
    }

    /// Sends a request whose body may break off.
    pub(crate) async fn stream(
        &self,
        request: Request<UnsyncBoxBody<Bytes, BodyError>>,
    ) -> Result<Answer, hyper::Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut sender = self.senders[turn % CONNECTIONS].clone();
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// Calls a method of the chunk store service with a body of any bytes, as today's dolt.
    pub(crate) async fn call(&self, path: &str, body: impl Into<Bytes>) -> Said {
        let request = Request::post(self.url(path))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "dolt_cli 2.3.1 linux amd64");
        self.send(request.body(body.into()).unwrap()).await.said()
    }
}

impl Answer {
    /// The answer as gRPC means it. The status stands behind the body, or in the head where there is none.
    pub(crate) fn said(self) -> Said {
        let shown = format!("{self:?}");
        assert_eq!(self.status, 200, "{shown}");
        let status = Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.headers))
            .unwrap_or_else(|| panic!("no status: {shown}"));
        let mut rest = self.body;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest.get_u8(), 0, "answers are not compressed");
            let len = usize::try_from(rest.get_u32()).unwrap();
            messages.push(rest.split_to(len));
        }
        Said { status, messages }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A message as it stands in the body of a call.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &len[..], message].concat()
}
