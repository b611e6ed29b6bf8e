//! Transfers that are interrupted at a chosen byte: a database, a server, and between them a proxy that stops there.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::line::{Line, Terms};
use holdfast_tests::proxy::FaultProxy;
use holdfast_tests::remote::{Remote, RemoteKind};
use holdfast_tests::world::{BRANCHES, Contents, Side, World};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_follows, assert_whole, prod, published, workshop};

/// What is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Clone,
    Fetch,
    Push,
}

/// Every transfer.
pub(crate) const TRANSFERS: [Transfer; 3] = [Transfer::Clone, Transfer::Fetch, Transfer::Push];

/// A server behind a proxy.
pub(crate) struct Crossing {
    pub(crate) proxy: FaultProxy,
    _line: Option<Line>,
    pub(crate) workshop: Workshop,
    pub(crate) owner: Database,
    server: Box<dyn Remote>,
    /// A clone by us, from before most of it came.
    early: Database,
    runtime: Runtime,
    random: StdRng,
    trials: usize,
}

/// One command, of which the same database is seen afterwards.
pub(crate) struct Trial {
    pub(crate) database: Database,
    pub(crate) folder: PathBuf,
    pub(crate) arguments: Vec<String>,
    transfer: Transfer,
    /// Of what is pushed.
    url: String,
}

impl Trial {
    pub(crate) fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    /// Whether it is a clone that is a database already: the same command is refused then.
    pub(crate) fn is_done(&self) -> bool {
        let opened = self.database.folder().join(".dolt/repo_state.json");
        self.transfer == Transfer::Clone && opened.exists()
    }
}

/// Starts the proxy. Dolt's own server says its own port wherever it is asked, so that behind the proxy something must
/// put that of the proxy in its place.
async fn start_proxy(server: &dyn Remote) -> (FaultProxy, Option<Line>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let name = listener.local_addr().unwrap();
    let base_url = server.base_url();
    let (_, port) = base_url.rsplit_once(':').unwrap();
    let backend = format!("127.0.0.1:{port}").parse().unwrap();
    let line = match server.kind() {
        RemoteKind::Holdfast => None,
        RemoteKind::Remotesrv => {
            let started = Line::start_behind(name, backend, Terms::NONE).await;
            Some(started.unwrap())
        }
    };
    let backend = line.as_ref().map_or(backend, Line::address);
    (FaultProxy::start_on(listener, backend, []).unwrap(), line)
}

impl Crossing {
    /// With so many rows of noise to move, a quarter of a kilobyte each; nothing after a word on stderr without dolt.
    pub(crate) fn start(server: Box<dyn Remote>, rows: usize, seed: u64) -> Option<Self> {
        let workshop = workshop()?;
        let runtime = Runtime::new().unwrap();
        let (proxy, line) = runtime.block_on(start_proxy(&*server));
        let owner = published(&workshop, World::SMALL, &prod(&*server));
        let url = format!("http://127.0.0.1:{}/acme/prod", proxy.address().port());
        let clone = ["clone", &url, "early"];
        holdfast(&workshop, workshop.folder(), &clone).expect_success();
        owner.commit("noise", &noise(rows));
        owner.push(&["origin", "main"]);
        Some(Self {
            early: workshop.database("early"),
            random: StdRng::seed_from_u64(seed),
            trials: 0,
            proxy,
            _line: line,
            workshop,
            server,
            owner,
            runtime,
        })
    }

    /// Prepares a command anew.
    pub(crate) fn trial(&mut self, transfer: Transfer) -> Trial {
        self.trials += 1;
        let name = format!("trial-{}", self.trials);
        let host = format!("http://127.0.0.1:{}", self.proxy.address().port());
        let (database, folder, arguments) = match transfer {
            Transfer::Clone => {
                let url = format!("{host}/acme/prod");
                let folder = self.workshop.folder().to_owned();
                let arguments = vec!["clone".to_owned(), url, name.clone()];
                (self.workshop.database(&name), folder, arguments)
            }
            Transfer::Fetch => {
                let database = self.early.copy_to(&name);
                let folder = database.folder().to_owned();
                (database, folder, vec!["fetch".to_owned()])
            }
            Transfer::Push => {
                let database = self.owner.copy_to(&name);
                let folder = database.folder().to_owned();
                let url = format!("{host}/acme/{name}");
                let arguments = ["push", &url].into_iter().chain(BRANCHES);
                let arguments = arguments.map(str::to_owned).collect();
                (database, folder, arguments)
            }
        };
        Trial {
            database,
            folder,
            arguments,
            transfer,
            url: format!("{}/acme/{name}", self.server.base_url()),
        }
    }

    /// Runs it to its end, and again if need be; returns how often.
    pub(crate) fn insist(&self, trial: &Trial) -> usize {
        for tries in 1..10 {
            let finished = holdfast(&self.workshop, &trial.folder, &trial.arguments());
            if finished.success {
                return tries;
            }
            let code = finished.code;
            assert_eq!(code, Some(5), "not what a cut is: {finished:#?}");
        }
        panic!("it does not come to its end: {:?}", trial.arguments);
    }

    /// How many bytes it moves when nothing interrupts it.
    pub(crate) fn size(&mut self, transfer: Transfer) -> u64 {
        let trial = self.trial(transfer);
        let before = self.proxy.moved();
        assert_eq!(self.insist(&trial), 1);
        let size = self.proxy.moved() - before;
        self.assert_arrived(trial);
        size
    }

    /// A byte before the last.
    pub(crate) fn point(&mut self, size: u64) -> u64 {
        self.random.random_range(1..size)
    }

    /// What was moved is whole, and all there is. The trial is over.
    pub(crate) fn assert_arrived(&self, trial: Trial) {
        let database = &trial.database;
        match trial.transfer {
            Transfer::Clone | Transfer::Fetch => {
                assert_follows(database, &self.owner);
                assert_whole(database);
                assert!(!database.folder().join(".dolt/holdfast/parts").exists());
            }
            Transfer::Push => {
                let verified = ours(database, &["verify", &trial.url]).expect_success();
                assert!(verified.contains(" 0 problems"), "{verified}");
                database.fsck();
                let copy = self.workshop.clone_from(&trial.url, "pushed", &[]);
                let rows = |database, side| Contents::of(database, side, &BRANCHES).rows;
                assert_eq!(rows(&copy, Side::Origin), rows(&self.owner, Side::Local));
                std::fs::remove_dir_all(copy.folder()).unwrap();
            }
        }
        std::fs::remove_dir_all(database.folder()).unwrap();
    }

    pub(crate) fn finish(self) {
        self.server.finish();
        drop(self.proxy);
        drop(self.runtime);
    }
}

/// Statements that make so many rows of a quarter of a kilobyte that nothing makes shorter.
pub(crate) fn noise(rows: usize) -> String {
    let digests: Vec<String> = (0..4)
        .map(|part| format!("sha2(concat(i * 1000 + j, ' {part}'), 512)"))
        .collect();
    format!(
        "create table noise (id int primary key, bytes varbinary(300));
         insert into noise
             with recursive outer_row (i) as (select 0 union all select i + 1 from outer_row where i + 1 < {}),
                 inner_row (j) as (select 0 union all select j + 1 from inner_row where j < 999)
             select i * 1000 + j, unhex(concat({})) from outer_row cross join inner_row",
        rows.div_ceil(1000),
        digests.join(", "),
    )
}
