//! The way of calls to a server, on which an answer that is not one of gRPC is told as what it is.
//!
//! A proxy in front of a server answers with a page of its own when it cannot reach it; decoded as a message it would be
//! told as a broken one.

use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use holdfast_chunkstore::clock::Timestamp;
use tonic::body::Body;
use tonic::codegen::{Body as _, Service, http};
use tonic::transport::Channel;

use crate::remote::retry::retry_after;

/// How much of a page is read.
const MAX_TOLD_BYTES: usize = 1024;

/// How the content of an answer of gRPC is named.
const GRPC: &str = "application/grpc";

/// The error of any layer below.
type AnyError = Box<dyn Error + Send + Sync>;

/// A channel that lets nothing but answers of gRPC through.
#[derive(Debug, Clone)]
pub(super) struct GrpcChannel(Channel);

impl GrpcChannel {
    /// Looks at what comes over `channel`.
    pub(super) fn new(channel: Channel) -> Self {
        Self(channel)
    }
}

/// An answer of HTTP alone.
#[derive(Debug)]
pub(super) struct PlainAnswer {
    /// Its status.
    pub(super) status: u16,
    /// The beginning of what came with it.
    pub(super) text: String,
    /// What it said of when to come back.
    retry_after: Option<String>,
}

impl PlainAnswer {
    /// How long the server asked to be left alone, if it did.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(self.retry_after.as_deref()?, now)
    }

    async fn read(response: http::Response<Body>) -> Self {
        let status = response.status().as_u16();
        let asked = response.headers().get("retry-after");
        let asked = asked.and_then(|asked| asked.to_str().ok());
        let retry_after = asked.map(str::to_owned);
        let mut body = pin!(response.into_body());
        let mut told = Vec::new();
        while told.len() < MAX_TOLD_BYTES
            && let Some(Ok(frame)) =
                std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            if let Ok(piece) = frame.into_data() {
                let rest = MAX_TOLD_BYTES - told.len();
                told.extend_from_slice(&piece[..piece.len().min(rest)]);
            }
        }
        Self {
            status,
            text: String::from_utf8_lossy(&told).into_owned(),
            retry_after,
        }
    }
}

impl fmt::Display for PlainAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)
    }
}

impl Error for PlainAnswer {}

impl Service<http::Request<Body>> for GrpcChannel {
    type Response = http::Response<Body>;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.0.poll_ready(context).map_err(AnyError::from)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            match is_of_grpc(&response) {
                true => Ok(response),
                false => Err(PlainAnswer::read(response).await.into()),
            }
        })
    }
}

fn is_of_grpc(response: &http::Response<Body>) -> bool {
    let headers = response.headers();
    let content = headers.get(http::header::CONTENT_TYPE);
    let is_named = content.is_some_and(|content| content.as_bytes().starts_with(GRPC.as_bytes()));
    is_named || headers.contains_key("grpc-status")
}
