//! The calls of one repository: where they go, who makes them, and how often.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use holdfast_proto::remotesapi::RepoId;
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use super::channel::{GrpcChannel, PlainAnswer};
use super::contact::Contacts;
use super::speech;
use super::trust::Trust;
use super::{CONNECT_TIMEOUT, KEEPALIVE, Means, user_agent};
use crate::remote::credentials::Credentials;
use crate::remote::{Budget, RemoteError, Retries, ServerUrl};

/// The largest message that is taken, as Dolt's own client.
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// How calls reach the server.
pub(super) type Calls = ChunkStoreServiceClient<GrpcChannel>;

/// The calls of one repository.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) url: ServerUrl,
    pub(super) credentials: Credentials,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retries: Arc<dyn Retries>,
    /// The hosts that answered, also to requests for data.
    contacts: Contacts,
    /// Whether no proxy stands between.
    is_direct: bool,
    calls: Calls,
    /// What the server gave to be sent with later calls.
    token: Mutex<String>,
    /// What the server said last that it can do.
    abilities: Mutex<Option<Abilities>>,
}

/// What a server can do beyond what all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    /// It tells locations in the newer form.
    pub(super) has_location_records: bool,
}

impl Connection {
    /// Prepares calls; nothing is sent yet.
    pub(super) fn new(
        url: ServerUrl,
        credentials: Credentials,
        means: &Means,
    ) -> Result<Self, RemoteError> {
        let connect = |source| RemoteError::Connect {
            endpoint: url.endpoint(),
            source,
        };
        let mut endpoint = Endpoint::from_shared(url.endpoint())
            .and_then(|endpoint| endpoint.user_agent(user_agent()))
            .map_err(connect)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(KEEPALIVE))
            .http2_adaptive_window(true)
            .tcp_nodelay(true);
        if url.is_secure {
            // Older servers of dolt choose no protocol and speak HTTP/2 all the same.
            let tls = ClientTlsConfig::new().assume_http2(true);
            let trust = Trust::of_system();
            endpoint = endpoint
                .tls_config_with_verifier(tls, trust)
                .map_err(connect)?;
        }
        let tunnel = means.proxies.tunnel(endpoint.uri());
        let is_direct = tunnel.is_none();
        let channel = match tunnel {
            Some(tunnel) => endpoint.connect_with_connector_lazy(tunnel),
            None => endpoint.connect_lazy(),
        };
        Ok(Self {
            retries: Arc::clone(&means.retries),
            contacts: means.contacts.clone(),
            is_direct,
            calls: Calls::new(GrpcChannel::new(channel))
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            url,
            credentials,
            clock: Arc::clone(&means.clock),
            token: Mutex::default(),
            abilities: Mutex::default(),
        })
    }

    /// The two parts of the repository's name, if it has two.
    pub(super) fn repo_id(&self) -> Option<RepoId> {
        let (org, repo_name) = self.url.owner_and_name()?;
        Some(RepoId {
            org: org.to_owned(),
            repo_name: repo_name.to_owned(),
        })
    }

    /// The repository's name.
    pub(super) fn repo_path(&self) -> String {
        self.url.repo_path.clone()
    }

    /// What is sent back to the server.
    pub(super) fn token(&self) -> String {
        self.lock_token().clone()
    }

    /// Keeps what the server gave to be sent back, if it gave something.
    pub(super) fn keep_token(&self, token: String) {
        if !token.is_empty() {
            *self.lock_token() = token;
        }
    }

    /// Forgets what the server gave: it may name a root that is no longer the last one.
    pub(super) fn drop_token(&self) {
        self.lock_token().clear();
    }

    /// What the server said last that it can do, if it was asked.
    pub(super) fn abilities(&self) -> Option<Abilities> {
        *self.lock_abilities()
    }

    /// Keeps what the server said.
    pub(super) fn keep_abilities(&self, abilities: Abilities) {
        *self.lock_abilities() = Some(abilities);
    }

    /// The calls themselves.
    pub(super) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// A message with the proof of who sends it, which is good for a short time only.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let now = self.clock.now().seconds();
        if let Some(value) = self.credentials.authorization(&self.url.host, now)
            && let Ok(mut value) = tonic::metadata::AsciiMetadataValue::try_from(value)
        {
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Makes a call, again where its failure may pass.
    pub(super) async fn call<T, F>(
        &self,
        action: &'static str,
        attempt: impl Fn(Calls) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(PATIENCE, action, attempt).await
    }

    /// Makes a call each attempt of which may take as long, again where its failure may pass. One whose answer did not
    /// come may have taken effect all the same.
    pub(super) async fn call_within<T, F>(
        &self,
        patience: Duration,
        action: &'static str,
        attempt: impl Fn(Calls) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut budget = Budget::new();
        loop {
            let answer = self.within(patience, action, attempt(self.calls()));
            let error = match answer.await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(error) => error,
            };
            if !error.may_pass() || !self.wait_after(&error, &mut budget).await {
                return Err(error);
            }
        }
    }

    /// Waits for the next try after a failure; false when there is none.
    pub(super) async fn wait_after(&self, error: &RemoteError, budget: &mut Budget) -> bool {
        let asked = error.retry_after();
        let (retries, clock) = (&*self.retries, &*self.clock);
        budget.wait_after(error, asked, retries, clock).await
    }

    /// Waits for one step of a stream, but not for ever.
    pub(super) async fn patiently<T>(
        &self,
        action: &'static str,
        step: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RemoteError> {
        self.within(PATIENCE, action, step).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        action: &'static str,
        step: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RemoteError> {
        let step = tokio::select! {
            step = step => step,
            () = self.clock.sleep(patience) => Err(Status::deadline_exceeded("no answer came")),
        };
        match step {
            Ok(answer) => {
                self.contacts.note(&self.host());
                Ok(answer)
            }
            Err(status) => Err(self.refused(action, status).await),
        }
    }

    /// The error of a call that was answered with another status than OK, or not at all.
    pub(super) async fn refused(&self, action: &'static str, status: Status) -> RemoteError {
        let Some(cause) = status.source() else {
            self.contacts.note(&self.host());
            let status = Box::new(status);
            return RemoteError::Call { action, status };
        };
        if let Some(answer) = cause.downcast_ref::<PlainAnswer>() {
            return RemoteError::Plain {
                action,
                status: answer.status,
                text: answer.text.clone(),
                retry_after: answer.retry_after(self.clock.now()),
            };
        }
        let is_reached = self.contacts.has(&self.host());
        let endpoint = self.url.endpoint();
        if let Some(mut unreachable) = RemoteError::unreachable(&endpoint, cause, is_reached) {
            if let RemoteError::Unreachable { detail, .. } = &mut unreachable
                && !self.is_direct
            {
                *detail = format!("{PROXIED} {detail}").trim_end().to_owned();
            }
            return unreachable;
        }
        if self.is_direct
            && !is_reached
            && let Some(hindrance) = speech::hindrance(&self.url, &*self.clock).await
        {
            return RemoteError::Unreachable {
                endpoint,
                hindrance,
                detail: String::new(),
            };
        }
        let status = Box::new(status);
        RemoteError::Call { action, status }
    }

    fn host(&self) -> String {
        format!("{}:{}", self.url.host, self.url.port)
    }

    fn lock_token(&self) -> MutexGuard<'_, String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_abilities(&self) -> MutexGuard<'_, Option<Abilities>> {
        self.abilities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a server that only a proxy leads to: it may be the proxy that is not there.
const PROXIED: &str = "by way of the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY";

/// How long one answer may take, to a call or on a stream.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long the answer may take to a call that makes files part of a repository: Dolt's own servers open them first,
/// and join them with others when there are many.
pub(super) const LONG_PATIENCE: Duration = Duration::from_secs(180);
