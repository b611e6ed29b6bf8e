//! Our servers in this process, on free ports, with temporary directories.
//!
//! Each forge has a runtime of its own, so that its log lines are told apart from those of other tests. When it
//! ends, a line at WARN or ERROR that the test did not expect fails the test, and so does one with a secret or a
//! signed address.

mod effects;
mod leftovers;
mod logs;
mod plan;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_server::{Handle, Parts, Service, Settings, start};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::bucket::Bucket;
use crate::manual_clock::ManualClock;
use crate::peer::Peer;
use crate::proxy::{FaultProxy, RoundRobin};
use crate::remote::{Remote, RemoteKind, Uploads};
use crate::whole;

pub use logs::{FinishedRequest, Logs, check_secrets};
pub use plan::{BucketAccess, Plan, Store};

/// A certificate for the loopback, made for one forge.
#[derive(Debug)]
struct Identity {
    der: CertificateDer<'static>,
}

/// What outlives the servers: directories, the bucket, the certificate, the log.
#[derive(Debug)]
struct Ground {
    data: Vec<TempDir>,
    bucket: Option<Bucket>,
    access: Option<(BucketAccess, String)>,
    /// The bucket outlives this.
    is_elsewhere: bool,
    identity: Identity,
    clock: Arc<ManualClock>,
    logs: Logs,
    runtime: Option<Runtime>,
}

/// Servers and what they need, from their start to their end.
#[derive(Debug)]
struct Running {
    runtime: Runtime,
    servers: Vec<Handle>,
    proxy: Option<RoundRobin>,
    /// What clients that speak TLS are told to go through: it sees whether they do.
    tls_door: Option<FaultProxy>,
    base_url: String,
}

/// Running servers. One must be ended with [`Forge::finish`].
#[derive(Debug)]
pub struct Forge {
    plan: Plan,
    running: Option<Running>,
    ground: Ground,
}

impl Forge {
    /// Starts servers.
    pub fn start(plan: Plan) -> Self {
        assert!(
            plan.servers == 1 || !matches!(plan.store, Store::LocalDisk),
            "a directory has one server"
        );
        let ground = Ground::prepare(&plan);
        let running = Some(Running::start(&plan, &ground));
        Self {
            plan,
            running,
            ground,
        }
    }

    /// Where clients go, in clear text: the server, or the proxy before several.
    pub fn base_url(&self) -> &str {
        &self.running().base_url
    }

    /// The address of each server, past the proxy.
    pub fn server_urls(&self) -> Vec<String> {
        self.urls("http")
    }

    /// The same over TLS.
    pub fn tls_urls(&self) -> Vec<String> {
        self.urls("https")
    }

    fn urls(&self, scheme: &str) -> Vec<String> {
        self.running()
            .servers
            .iter()
            .map(|server| format!("{scheme}://localhost:{}", server.local_addr().port()))
            .collect()
    }

    /// The certificate that the servers show.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.ground.identity.der
    }

    /// A client of a repository.
    pub fn peer(&self, path: &str) -> Peer {
        Peer::new(self.base_url(), path)
    }

    /// The bucket of this process, where there is one.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.ground.bucket.as_ref()
    }

    /// The data directory of the first server.
    pub fn data(&self) -> std::path::PathBuf {
        self.ground.data[0].path().join("data")
    }

    /// The log lines.
    pub fn logs(&self) -> &Logs {
        &self.ground.logs
    }

    /// What the servers take for the time, in seconds since 1970. Needs [`Plan::manual_clock`].
    pub fn clock_seconds(&self) -> i64 {
        i64::try_from(self.clock().now().seconds()).unwrap()
    }

    /// Lets time pass for the servers. Needs [`Plan::manual_clock`].
    pub fn advance_clock(&self, duration: Duration) {
        self.clock().advance(duration);
    }

    /// Puts back what the servers take for the time. Needs [`Plan::manual_clock`].
    pub fn put_back_clock(&self, duration: Duration) {
        self.clock().put_back(duration);
    }

    fn clock(&self) -> &ManualClock {
        assert!(self.plan.manual_clock, "the servers use the system's clock");
        &self.ground.clock
    }

    /// The repositories that the store names, sorted.
    pub fn repositories(&self) -> Vec<String> {
        let settings = self.settings();
        wait_on(&self.running().runtime, async move {
            whole::repositories(&settings).await
        })
    }

    /// Verifies every repository, beside the running servers.
    pub fn assert_whole(&self) {
        let settings = self.settings();
        wait_on(&self.running().runtime, async move {
            whole::assert_whole(&settings).await
        });
    }

    fn settings(&self) -> Arc<Settings> {
        plan::settings(
            &self
                .plan
                .texts(&self.ground.data[0], self.ground.access.as_ref()),
        )
    }

    fn running(&self) -> &Running {
        self.running
            .as_ref()
            .expect("a forge runs until it is stopped")
    }

    /// Stops the servers as a signal would, and starts others on what they left, with another plan.
    pub fn restart(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        self.stop();
        change(&mut self.plan);
        self.running = Some(Running::start(&self.plan, &self.ground));
        self
    }

    /// Drops the servers wherever they are, and starts others on what they left.
    pub fn crash(mut self) -> Self {
        self.running
            .take()
            .expect("a forge runs until it is stopped")
            .end();
        self.running = Some(Running::start(&self.plan, &self.ground));
        self
    }

    /// An address made before a restart, with the authority of now.
    pub fn moved(&self, url: &str) -> String {
        let path = url.splitn(4, '/').nth(3).expect("an absolute address");
        format!("{}/{path}", self.base_url())
    }

    /// Verifies what was stored and stops the servers; panics if something is damaged, a server does not end by
    /// itself, or one logged what nobody expected.
    pub fn finish(mut self) {
        self.assert_whole();
        self.stop();
        self.ground.logs.check();
    }

    fn stop(&mut self) {
        let mut running = self
            .running
            .take()
            .expect("a forge runs until it is stopped");
        running.proxy = None;
        running.tls_door = None;
        for server in std::mem::take(&mut running.servers) {
            let drained = wait_on(&running.runtime, server.shutdown());
            assert!(
                drained,
                "a server had to cut connections: {}",
                self.ground.logs.text()
            );
        }
        running.end();
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        let running = self.running.take();
        let is_finished = running.is_none();
        if let Some(running) = running {
            running.end();
        }
        if std::thread::panicking() {
            eprintln!("the servers logged:\n{}", self.ground.logs.text());
        } else {
            assert!(
                is_finished,
                "a test let go of its servers, or ran out of time, before it called finish()"
            );
        }
    }
}

impl Running {
    fn start(plan: &Plan, ground: &Ground) -> Self {
        let runtime = runtime(&ground.logs);
        let mut servers = Vec::new();
        if let Some(token) = &plan.token {
            ground.logs.keep_out(token);
        }
        for data in &ground.data {
            let settings = plan::settings(&plan.texts(data, ground.access.as_ref()));
            let clock = plan.manual_clock.then(|| Arc::clone(&ground.clock));
            servers.push(wait_on(&runtime, async move {
                let mut parts: Parts = start::server_parts(&settings).await.unwrap();
                if let Some(clock) = clock {
                    parts.repositories.clock = clock;
                }
                Service::start(&settings, parts).await.unwrap()
            }));
        }
        let addresses: Vec<SocketAddr> = servers.iter().map(Handle::local_addr).collect();
        let first = addresses[0];
        let proxy = (addresses.len() > 1).then(|| {
            wait_on(&runtime, async move {
                RoundRobin::start(addresses).await.unwrap()
            })
        });
        let address = proxy.as_ref().map_or(first, RoundRobin::address);
        let tls_door = plan.tls.then(|| {
            wait_on(&runtime, async move {
                FaultProxy::start(first, []).await.unwrap()
            })
        });
        Self {
            runtime,
            servers,
            proxy,
            tls_door,
            base_url: format!("http://localhost:{}", address.port()),
        }
    }

    /// Drops the servers wherever they are.
    fn end(self) {
        let Self {
            runtime,
            servers,
            proxy,
            tls_door,
            ..
        } = self;
        drop((servers, proxy, tls_door));
        end(runtime);
    }
}

impl Remote for Forge {
    fn kind(&self) -> RemoteKind {
        RemoteKind::Holdfast
    }

    fn base_url(&self) -> String {
        let running = self.running();
        match &running.tls_door {
            Some(door) => format!("https://localhost:{}", door.address().port()),
            None => running.base_url.clone(),
        }
    }

    fn wire_url(&self) -> String {
        self.running().base_url.clone()
    }

    fn dolt_settings(&self) -> Vec<(String, String)> {
        let certificate = self.ground.data[0].path().join("cert.pem");
        vec![(
            "SSL_CERT_FILE".to_owned(),
            certificate.display().to_string(),
        )]
    }

    fn assert_effects(&self, uploads: Uploads) {
        Forge::assert_effects(self, uploads);
    }

    fn finish(self: Box<Self>) {
        Forge::finish(*self);
    }
}

impl Ground {
    fn prepare(plan: &Plan) -> Self {
        let logs = Logs::default();
        let runtime = runtime(&logs);
        let data: Vec<TempDir> = (0..plan.servers)
            .map(|_| TempDir::with_prefix("holdfast-forge-").unwrap())
            .collect();
        let bucket =
            matches!(plan.store, Store::BucketHere).then(|| wait_on(&runtime, Bucket::start()));
        let access = match &plan.store {
            Store::LocalDisk => None,
            Store::BucketHere => bucket.as_ref().map(BucketAccess::of),
            Store::BucketElsewhere(access) => Some(access.clone()),
        };
        if let Some(access) = &access {
            logs.keep_out(&access.secret_key);
        }
        // A prefix of its own: a bucket elsewhere is shared by all tests.
        let prefix = data[0]
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        Self {
            identity: Identity::make(&data, plan),
            access: access.map(|access| (access, prefix)),
            is_elsewhere: matches!(plan.store, Store::BucketElsewhere(_)),
            bucket,
            clock: Arc::new(ManualClock::new(SystemClock::new().now())),
            data,
            logs,
            runtime: Some(runtime),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.bucket = None;
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        if let Some((access, prefix)) = self.access.take().filter(|_| self.is_elsewhere) {
            let (done, is_done) = sync_channel(1);
            drop(runtime.spawn(async move {
                leftovers::remove(access, prefix).await;
                done.send(()).ok();
            }));
            // No answer comes where that panics, which has been told by then.
            is_done.recv().ok();
        }
        end(runtime);
    }
}

impl Identity {
    /// Makes a certificate and puts it, with its key, beside each data directory.
    fn make(folders: &[TempDir], plan: &Plan) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        if plan.certificate_of_an_authority {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        for folder in folders {
            fs::write(folder.path().join("cert.pem"), made.pem()).unwrap();
            fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        }
        Self {
            der: made.der().clone(),
        }
    }
}

thread_local! {
    static LOGGING: RefCell<Option<tracing::dispatcher::DefaultGuard>> = const { RefCell::new(None) };
}

/// A runtime whose threads log to `logs`.
fn runtime(logs: &Logs) -> Runtime {
    let dispatch = logs.dispatch();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || {
            let guard = tracing::dispatcher::set_default(&dispatch);
            LOGGING.with(|logging| logging.replace(Some(guard)));
        })
        .on_thread_stop(|| {
            drop(LOGGING.with(RefCell::take));
        })
        .build()
        .unwrap()
}

/// Runs a future on a thread of the runtime and waits, also from within another runtime.
fn wait_on<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (sender, receiver) = sync_channel(1);
    let task = runtime.spawn(async move { drop(sender.send(future.await)) });
    match receiver.recv() {
        Ok(value) => value,
        Err(_) => panic!(
            "the server panicked while it was started or stopped (finished: {})",
            task.is_finished()
        ),
    }
}

/// Ends a runtime with all its tasks, also from within another one.
fn end(runtime: Runtime) {
    let ended = std::thread::spawn(move || drop(runtime)).join();
    assert!(
        ended.is_ok() || std::thread::panicking(),
        "a thread of the server panicked"
    );
}
