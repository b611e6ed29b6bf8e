//! A real dolt behind a proxy that cuts connections, delays them, and answers 503 at times: it gets through by trying
//! again, or fails cleanly and gets through when it is run again.

use std::time::Duration;

use holdfast_tests::dolt::{Database, Dolt};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::process::Finished;
use holdfast_tests::proxy::{Fault, FaultProxy};
use holdfast_tests::remote::Remote as _;
use holdfast_tests::say;
use holdfast_tests::scenario::Scene;
use holdfast_tests::wait;
use holdfast_tests::world::{BRANCHES, Contents, Side};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Runtime;

const SEED: u64 = 12;
const ROUNDS: usize = 3;

/// A dolt that reaches one server by two ways: straight, and through a proxy that breaks connections.
struct Broken {
    forge: Forge,
    straight: Scene,
    proxy: FaultProxy,
    runtime: Runtime,
    random: StdRng,
    faults: usize,
    failures: usize,
}

impl Broken {
    /// `None` without a dolt.
    fn start(plan: Plan, seed: u64) -> Option<Self> {
        let dolt = Dolt::find()?;
        let forge = Forge::start(plan);
        let straight = Scene::new(&dolt, &forge.dolt_settings(), forge.base_url());
        let runtime = Runtime::new().unwrap();
        let (_, port) = forge.base_url().rsplit_once(':').unwrap();
        let backend = format!("127.0.0.1:{port}").parse().unwrap();
        let proxy = runtime.block_on(FaultProxy::start(backend, [])).unwrap();
        Some(Self {
            forge,
            straight,
            proxy,
            runtime,
            random: StdRng::seed_from_u64(seed),
            faults: 0,
            failures: 0,
        })
    }

    /// The address of a repository through the proxy.
    fn url(&self) -> String {
        let port = self.proxy.address().port();
        format!("http://localhost:{port}/{}", self.straight.path("prod"))
    }

    /// Faults for the next connections.
    fn plan(&mut self) {
        let count = self.random.random_range(2..6);
        let faults: Vec<Fault> = (0..count).map(|_| fault(&mut self.random)).collect();
        self.faults += faults.len();
        self.proxy.plan(faults);
    }

    /// Runs a command until it succeeds, with faults on the first connections. A failure must be a clean one, and
    /// without a fault there is none.
    fn insist(&mut self, command: impl Fn() -> Finished, after_a_failure: impl Fn(&Self)) {
        self.plan();
        loop {
            let left = self.proxy.faults_left();
            let finished = command();
            if finished.success {
                break;
            }
            self.failures += 1;
            assert!(left > 0, "nothing was wrong, and it failed: {finished:#?}");
            let text = finished.text();
            assert!(
                !text.trim().is_empty() && !text.contains("goroutine"),
                "not a clean failure: {finished:#?}"
            );
            after_a_failure(self);
        }
        self.faults -= self.proxy.faults_left();
        self.proxy.plan([]);
    }

    /// What arrived through the proxy is what lies behind it.
    fn assert_equal(&self, copy: &Database, owner: &Database) {
        assert_eq!(
            Contents::of(copy, Side::Origin, &BRANCHES),
            Contents::of(owner, Side::Local, &BRANCHES)
        );
        copy.fsck();
    }

    fn finish(self, what: &str) {
        let spool = self.forge.data().join("spool");
        wait::until("the spool to be empty", || {
            std::fs::read_dir(&spool).is_ok_and(|entries| entries.count() == 0)
        });
        say::line(format_args!(
            "seed {SEED}: {what} with {} faults, {} of which dolt did not get over by itself",
            self.faults, self.failures
        ));
        assert!(self.faults > ROUNDS, "hardly anything was broken");
        self.forge.finish();
        drop(self.proxy);
        drop(self.runtime);
    }
}

fn fault(random: &mut StdRng) -> Fault {
    // As often within the first bytes as within the last.
    let bytes = 1 << random.random_range(0..18);
    let bytes = random.random_range(0..=bytes);
    match random.random_range(0..8) {
        0 => Fault::None,
        1 | 2 => Fault::Unavailable,
        3 => Fault::Delay(Duration::from_millis(50)),
        4 | 5 => Fault::CutUploadAfter(bytes),
        _ => Fault::CutAfter(bytes),
    }
}

fn clones_and_fetches(plan: Plan) {
    let Some(mut broken) = Broken::start(plan, SEED) else {
        return;
    };
    let owner = broken.straight.published("owner", "prod");
    let shop = broken.straight.workshop().clone();
    let url = broken.url();
    for round in 0..ROUNDS {
        let name = format!("copy-{round}");
        broken.insist(
            || shop.try_clone_from(&url, &name, &[]),
            |_| {
                let rest = shop.folder().join(&name).join(".dolt");
                assert!(!rest.exists(), "a failed clone leaves no database");
            },
        );
        let copy = shop.database(&name);
        broken.assert_equal(&copy, &owner);

        owner.commit(
            "more",
            &format!("update customers set note = concat(note, ' {round}') where id % 2 = 0"),
        );
        owner.push(&["origin", "main"]);
        broken.insist(|| copy.run(&["fetch"]), |_| copy.fsck());
        broken.assert_equal(&copy, &owner);
    }
    broken.finish("clones and fetches");
}

fn pushes(plan: Plan) {
    let Some(mut broken) = Broken::start(plan, SEED + 1) else {
        return;
    };
    drop(broken.straight.published("owner", "prod"));
    let shop = broken.straight.workshop().clone();
    let writer = shop.clone_from(&broken.url(), "writer", &[]);
    for round in 0..2 * ROUNDS {
        let before = writer.sql("select hashof('main') as hash;");
        writer.commit(
            "more",
            &format!(
                "update customers set note = concat(note, ' {round}'), picture = unhex(md5(note)) where id % 2 = 0"
            ),
        );
        broken.insist(
            || writer.run(&["push", "origin", "main"]),
            |broken| {
                // Half of it may have arrived; none of it may show.
                broken.forge.assert_whole();
                let copy = format!("after-{round}-{}", broken.failures);
                let seen = shop.clone_from(&broken.straight.url("prod"), &copy, &[]);
                let head = seen.sql("select hashof('main') as hash;");
                let after = writer.sql("select hashof('main') as hash;");
                assert!(head == before || head == after, "{head}");
            },
        );
    }
    let copy = shop.clone_from(&broken.straight.url("prod"), "copy", &[]);
    let rows = |database| Contents::of(database, Side::Local, &["main"]).rows;
    assert_eq!(rows(&copy), rows(&writer));
    broken.finish("pushes");
}

#[test]
fn dolt_clones_and_fetches_over_connections_that_break() {
    clones_and_fetches(Plan::on_local_disk());
}

#[test]
fn dolt_pushes_over_connections_that_break() {
    pushes(Plan::on_local_disk());
}

#[test]
#[ignore = "takes a minute; run by ./dev test --long"]
fn dolt_clones_and_fetches_from_two_servers_over_connections_that_break() {
    clones_and_fetches(Plan::two_servers_on_one_bucket());
}

#[test]
#[ignore = "takes a minute; run by ./dev test --long"]
fn dolt_pushes_to_two_servers_over_connections_that_break() {
    pushes(Plan::two_servers_on_one_bucket());
}
