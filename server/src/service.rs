//! A running server: from settings and parts to an open port, and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::repo::{self, Repositories};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forge::{Forge, ForgeError};
use crate::grpc::Reflection;
use crate::http::Plane;
use crate::http::outgoing::Outgoing;
use crate::http::readiness::Readiness;
use crate::lock::DirectoryLock;
use crate::requests::Requests;
use crate::router::Router;
use crate::settings::{Settings, StopSettings};
use crate::spaced::Spaced;
use crate::telemetry::request::RequestIds;
use crate::transport::{ConnectionLimits, Drain, Listener, Patience, TlsError, TlsIdentity};
use crate::work::Work;

/// How often it is said that a proxy is not trusted.
const UNTRUSTED_QUIET: Duration = Duration::from_hours(1);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("could not listen on {listen}, which the setting listen names")]
    Listen {
        /// The address.
        listen: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The forge cannot be opened.
    #[error("could not open the forge")]
    Open {
        /// Why.
        #[source]
        source: ForgeError,
    },
    /// Certificate or key cannot be used.
    #[error("could not read the certificate")]
    Tls {
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The reflection service cannot be built.
    #[error("could not describe the services")]
    Reflection {
        /// Why.
        #[source]
        source: tonic_reflection::server::Error,
    },
}

/// What a server is made of; [`crate::start`] picks it by the settings, tests hand in their own.
#[derive(Debug)]
pub struct Parts {
    /// What repositories are made of.
    pub repositories: repo::Parts,
    /// A random number: what this process's request ids begin with.
    pub process: u32,
    /// How long connections may do nothing.
    pub patience: Patience,
    /// What stays held while the server runs: the lock of its data directory.
    pub held: Option<DirectoryLock>,
}

/// Starts servers.
#[derive(Debug)]
pub struct Service;

impl Service {
    /// Opens the port and begins to serve. Must be called within a tokio runtime.
    pub async fn start(settings: &Settings, parts: Parts) -> Result<Handle, StartError> {
        let listen_error = |source| StartError::Listen {
            listen: settings.listen.clone(),
            source,
        };
        let tls = match &settings.tls {
            Some(files) => {
                let identity = TlsIdentity::load(files.clone());
                Some(Arc::new(
                    identity.map_err(|source| StartError::Tls { source })?,
                ))
            }
            None => None,
        };
        let drain = Drain::default();
        let clock = Arc::clone(&parts.repositories.clock);
        let repositories = Repositories::open(parts.repositories).await;
        let open_error = |source| StartError::Open { source };
        let repositories = repositories.map_err(|error| open_error(error.into()))?;
        let forge = Forge::open(settings, repositories, drain.stopping.clone()).await;
        let forge = Arc::new(forge.map_err(open_error)?);
        let reflection = match settings.transfer.reflection {
            true => Reflection::Offered,
            false => Reflection::Off,
        };
        let services = crate::grpc::services(Arc::clone(&forge), &drain, reflection).await;
        let (grpc, health) = services.map_err(|source| StartError::Reflection { source })?;
        let listener = TcpListener::bind(&settings.listen)
            .await
            .map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;
        let http = Arc::new(Plane {
            forge,
            ready: AtomicBool::new(true),
            readiness: Readiness::default(),
            outgoing: Arc::new(Outgoing::default()),
            tasks: TaskTracker::new(),
        });
        http.forge.watch_for_damage();
        let work = Work::new(Arc::clone(&clock));
        let router = Router {
            grpc,
            http: Arc::clone(&http),
            ids: RequestIds::new(parts.process),
            public_url: settings.public_url.clone(),
            require_tls: settings.require_tls,
            proxies: settings.network.trusted_proxies.clone(),
            requests: Requests::new(settings.network.max_requests_per_peer),
            untrusted: Spaced::new(UNTRUSTED_QUIET),
            strangers: Arc::default(),
            work: Arc::clone(&work),
            clock: Arc::clone(&clock),
        };
        let listener = Listener {
            listener,
            tls,
            app: Arc::new(router),
            limits: ConnectionLimits {
                in_all: settings.network.max_connections,
                per_peer: settings.network.max_connections_per_peer,
            },
            proxies: settings.network.trusted_proxies.clone(),
            patience: parts.patience,
            drain: drain.clone(),
        };
        Ok(Handle {
            local_addr,
            drain,
            stop: settings.stop,
            work,
            serving: tokio::spawn(listener.run()),
            http,
            health,
            clock,
            held: parts.held,
        })
    }
}

/// A running server. Dropping it stops the server without waiting.
#[derive(Debug)]
pub struct Handle {
    local_addr: SocketAddr,
    drain: Drain,
    stop: StopSettings,
    work: Arc<Work>,
    serving: JoinHandle<()>,
    http: Arc<Plane>,
    health: tonic_health::server::HealthReporter,
    clock: Arc<dyn Clock>,
    held: Option<DirectoryLock>,
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What to cancel while the server stops, so that what still runs is cut at once.
    pub fn cut(&self) -> CancellationToken {
        self.drain.cut.clone()
    }

    /// Stops. At once the server says that it is not ready, but goes on for a while that balancers need to see it, and
    /// until nothing has run for a while, or for half of the time-out: only then does it close its port. What still
    /// runs after the whole time-out is cut. Returns whether everything finished by itself.
    pub async fn shutdown(mut self) -> bool {
        self.http.ready.store(false, Ordering::Relaxed);
        crate::grpc::say_stopping(&self.health).await;
        self.drain.stopping.cancel();
        let StopSettings {
            grace,
            quiet,
            timeout,
        } = self.stop;
        let finished = tokio::select! {
            () = async {
                tokio::select! {
                    () = async {
                        self.clock.sleep(grace).await;
                        self.work.rested(quiet).await;
                    } => {}
                    // A server that is never quiet: what came so far has the other half to end by itself.
                    () = self.clock.sleep(timeout / 2) => {}
                }
                crate::grpc::say_gone(&mut self.health).await;
                self.drain.closing.cancel();
                ended(&mut self.serving).await;
            } => true,
            () = self.clock.sleep(timeout) => false,
            () = self.drain.cut.cancelled() => false,
        };
        if !finished {
            self.drain.closing.cancel();
            self.drain.cut.cancel();
            ended(&mut self.serving).await;
        }
        self.http.tasks.close();
        self.http.forge.finish_upkeep().await;
        drop(self.held.take());
        finished
    }
}

async fn ended(serving: &mut JoinHandle<()>) {
    if serving.await.is_err() {
        tracing::debug!("the accept loop was cancelled");
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.drain.stopping.cancel();
        self.drain.closing.cancel();
        self.drain.cut.cancel();
    }
}
