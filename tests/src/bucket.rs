//! An S3 endpoint in this process: real requests over HTTP, verified signatures, truly atomic creation, and
//! misbehavior on demand.
//!
//! Stricter than most: lists come in pages of twenty, parts must have their lengths and their order.

mod objects;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::objects::{Objects, Storage};

/// Under this name, beside the HTTP methods, reads by presigned addresses are counted once more.
const PRESIGNED_READ: &str = "GET by a presigned address";
const NAME: &str = "forge";
const ACCESS_KEY: &str = "HOLDFASTTESTKEY";
const SECRET_KEY: &str = "a secret that must never be printed";

/// A bucket behind an S3 endpoint on the loopback. Dropping it ends the endpoint.
#[derive(Debug)]
pub struct Bucket {
    endpoint: String,
    shared: Arc<Shared>,
    objects: Arc<Objects>,
    server: JoinHandle<()>,
}

/// How the endpoint is to misbehave.
#[derive(Debug, Clone, Default)]
pub struct Misbehavior {
    /// Conditional requests are carried out whatever stands there, as some servers do.
    pub ignores_conditions: bool,
    /// How long every answer takes longer.
    pub latency: Duration,
    /// The days after which a lifecycle rule deletes every object, by its word only.
    pub expires_after_days: Option<i32>,
    /// The days after which a lifecycle rule clears uploads away that were not ended, by its word only. No misbehavior.
    pub clears_uploads_after_days: Option<i32>,
}

/// What happens to a request in place of an ordinary answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 503 SlowDown, and nothing is done.
    SlowDown,
    /// 409 ConditionalRequestConflict, and nothing is done.
    Conflict,
    /// 403 AccessDenied, and nothing is done.
    Denied,
    /// The request is carried out, and the answer is 500.
    LostAnswer,
}

#[derive(Debug, Default)]
struct Shared {
    misbehavior: Mutex<Misbehavior>,
    troubles: Mutex<VecDeque<(String, Trouble)>>,
    requests: Mutex<BTreeMap<String, usize>>,
}

impl Bucket {
    /// Starts an endpoint with one empty bucket.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let objects = Arc::new(Objects::default());
        let storage = Storage {
            objects: Arc::clone(&objects),
            shared: Arc::clone(&shared),
        };
        let mut builder = S3ServiceBuilder::new(storage);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, service, Arc::clone(&shared)));
        Self {
            endpoint,
            shared,
            objects,
            server,
        }
    }

    /// The address of the endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The public half of the key that it accepts.
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// The secret half.
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// The bucket's name.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// Changes how the endpoint misbehaves from now on.
    pub fn misbehave(&self, misbehavior: Misbehavior) {
        *self.shared.misbehavior.lock().unwrap() = misbehavior;
    }

    /// Makes the next `count` requests with this HTTP method fail.
    pub fn trouble(&self, method: &str, trouble: Trouble, count: usize) {
        let mut troubles = self.shared.troubles.lock().unwrap();
        troubles.extend(std::iter::repeat_n((method.to_owned(), trouble), count));
    }

    /// How many requests came with this HTTP method.
    pub fn requests(&self, method: &str) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.get(method).copied().unwrap_or_default()
    }

    /// How many GETs came with a signature in their address, as nobody but the holder of a presigned address sends them.
    pub fn presigned_reads(&self) -> usize {
        self.requests(PRESIGNED_READ)
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.objects.keys()
    }

    /// The bytes of an object.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.body(key)
    }

    /// Puts bytes in the place of an object, as a failing disk would.
    pub fn damage(&self, key: &str, body: Bytes) {
        self.objects.replace(key, body);
    }

    /// Takes an object away, as a failing disk would.
    pub fn lose(&self, key: &str) {
        self.objects.lose(key);
    }

    /// Makes the multipart uploads that are open so much older.
    pub fn age_uploads(&self, age: Duration) {
        self.objects.age_uploads(age);
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.objects.open_uploads()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn misbehavior(&self) -> Misbehavior {
        self.misbehavior.lock().unwrap().clone()
    }

    /// Counts a request and decides whether it gets into trouble.
    fn enter(&self, request: &Request<Incoming>) -> Option<Trouble> {
        let method = request.method().as_str();
        let query = request.uri().query().unwrap_or_default();
        let mut requests = self.requests.lock().unwrap();
        *requests.entry(method.to_owned()).or_default() += 1;
        if method == "GET" && query.contains("X-Amz-Signature=") {
            *requests.entry(PRESIGNED_READ.to_owned()).or_default() += 1;
        }
        let mut troubles = self.troubles.lock().unwrap();
        let at = troubles.iter().position(|(wanted, _)| wanted == method)?;
        troubles.remove(at).map(|(_, trouble)| trouble)
    }
}

async fn serve(listener: TcpListener, service: S3Service, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let answer =
                service_fn(move |request| answer(request, service.clone(), Arc::clone(&shared)));
            let server = Builder::new(TokioExecutor::new());
            // A client that goes away is not the endpoint's trouble.
            drop(server.serve_connection(TokioIo::new(stream), answer).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    service: S3Service,
    shared: Arc<Shared>,
) -> Result<Response<Body>, HttpError> {
    let trouble = shared.enter(&request);
    tokio::time::sleep(shared.misbehavior().latency).await;
    let Some(trouble) = trouble else {
        return service.call(request.map(Body::from)).await;
    };
    // Who answers before the body has come cuts the connection, and the answer may be lost with it.
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| HttpError::new(Box::new(error)))?;
    let request = Request::from_parts(parts, Body::from(body.to_bytes()));
    let (status, code) = match trouble {
        Trouble::SlowDown => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Trouble::Conflict => (StatusCode::CONFLICT, "ConditionalRequestConflict"),
        Trouble::Denied => (StatusCode::FORBIDDEN, "AccessDenied"),
        Trouble::LostAnswer => {
            drop(service.call(request).await?);
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
    };
    let text = format!("<Error><Code>{code}</Code><Message>the test wants it</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    Ok(response)
}
