//! The HTTP addresses: table files, and whether the server lives and is ready.
//!
//! ```text
//! GET HEAD  /live            200 while the process runs
//! GET HEAD  /ready           200 while the server takes requests and its store answers, else 503; names damaged data files
//! GET HEAD  /data/…          a stored file, or a range of it, by a signed address
//! PUT POST  /upload/…        one file, by a signed address
//! ```
//!
//! Anything else is a 404.

pub mod answer;
pub mod outgoing;
pub mod pace;
pub mod range;
pub mod readiness;
pub mod status;
pub mod table_files;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::forge::Forge;
use crate::forge::addresses::Addresses;
use crate::peer::Peer;
use crate::transport::ResponseBody;
use outgoing::Outgoing;
use readiness::Readiness;

/// Everything that HTTP addresses need.
#[derive(Debug)]
pub struct Plane {
    /// The domain.
    pub forge: Arc<Forge>,
    /// Cleared when the server is asked to stop.
    pub ready: AtomicBool,
    /// What the store answered last.
    pub readiness: Readiness,
    /// Memory for what is read and not sent yet.
    pub outgoing: Arc<Outgoing>,
    /// Refused uploads whose rest is read and dropped, and what asks the store whether it answers.
    pub tasks: TaskTracker,
}

impl Plane {
    /// Answers one request of a peer.
    pub async fn answer(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let is_head = *request.method() == Method::HEAD;
        let response = self.route(peer, request).await;
        match is_head {
            true => answer::head_of(response),
            false => response,
        }
    }

    async fn route(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let writes = matches!(*request.method(), Method::PUT | Method::POST);
        match request.uri().path() {
            path if Addresses::is_download(path) => match reads {
                true => self.download(peer, request).await,
                false => answer::method_not_allowed("GET, HEAD"),
            },
            path if Addresses::is_upload(path) => match writes {
                true => Box::pin(self.upload(peer, request)).await,
                false => answer::method_not_allowed("PUT, POST"),
            },
            "/live" | "/ready" if !reads => answer::method_not_allowed("GET, HEAD"),
            "/live" => answer::line(StatusCode::OK, "live"),
            "/ready" => self.answer_readiness().await,
            _ => answer::not_found(),
        }
    }

    async fn answer_readiness(&self) -> Response<ResponseBody> {
        let unavailable = |reason: &str| answer::line(StatusCode::SERVICE_UNAVAILABLE, reason);
        if !self.ready.load(Ordering::Relaxed) {
            return unavailable("stopping");
        }
        match self.readiness.of(&self.forge, &self.tasks).await {
            Ok(()) => answer::lines(StatusCode::OK, &self.forge.readiness()),
            Err(reason) => unavailable(&reason),
        }
    }
}
