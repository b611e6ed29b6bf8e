//! `kill -9` at a random point of each push.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_server::Settings;
use holdfast_tests::bucket::Bucket;
use holdfast_tests::dolt::{Database, Dolt};
use holdfast_tests::peer::Peer;
use holdfast_tests::scenario::Scene;
use holdfast_tests::table::TableFile;
use holdfast_tests::{say, whole};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tonic::Status;

use crate::child::{self, Child};
use crate::ledger;

const SEED: u64 = 3;
/// How often a real dolt is left without a server in the middle of a push.
const DOLT_KILLS: u32 = 10;
const NAME: &str = "acme/prod";

/// One push, call by call, of which each may fail. Whether it was acknowledged.
async fn push(
    peer: Peer,
    fresh: Vec<Bytes>,
    root: RootAddress,
    last: RootAddress,
) -> Result<bool, Status> {
    let file = TableFile::classic(&fresh);
    let failed = |what: String| Status::unavailable(what);
    if let Some(url) = peer.upload_url(&file).await? {
        upload(&url, &file).await.map_err(failed)?;
    }
    peer.add(&[&file]).await?;
    peer.commit(root, last, &[]).await
}

/// A PUT that may fail: the harness's own panics when the connection breaks.
async fn upload(url: &str, file: &TableFile) -> Result<(), String> {
    let (url, body) = (url.to_owned(), file.bytes.clone());
    let sent = tokio::spawn(async move { holdfast_tests::web::put(&url, body).await }).await;
    let answer = sent.map_err(|_| "the connection broke".to_owned())?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(answer.text())
    }
}

/// A server to be killed, and what there is to be known of its pushes.
struct Run {
    child: Child,
    settings: Arc<Settings>,
    _data: TempDir,
    random: StdRng,
    /// How long a push takes that is left alone.
    usual: Duration,
    kills: u32,
    /// Kills that a push has noticed.
    broken: u32,
    lost_replies: u32,
    acknowledged: Vec<RootAddress>,
}

impl Run {
    fn start(bucket: Option<Arc<Bucket>>) -> Self {
        let folder = TempDir::with_prefix("holdfast-killed-").unwrap();
        let data = folder.path().join("data");
        let settings = ledger::settings(&data, bucket.as_deref());
        let child = Child::start(move || {
            let command = child::serving(Command::new(child::binary()), &data, "1MiB");
            match &bucket {
                Some(bucket) => child::in_bucket(command, &data, bucket),
                None => command,
            }
        });
        Self {
            child,
            settings,
            _data: folder,
            random: StdRng::seed_from_u64(SEED),
            usual: Duration::from_millis(50),
            kills: 0,
            broken: 0,
            lost_replies: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Pushes so often; each push is hit by a kill when it is tried first.
    async fn pushes(&mut self, count: u32) {
        let mut database = TinyDb::new();
        for number in 0..count {
            let last = database.root();
            let content = vec![b'x'; usize::try_from(number).unwrap() * 97];
            let message = format!("push {number}");
            let fresh = database.commit_with("main", &message, &[("table", &content)]);
            let tried = database.root();
            let acknowledged = self.cut_off(&fresh, tried, last).await;
            let arrived = self.check(&database, tried, last).await;
            assert!(arrived || !acknowledged, "an acknowledged push is gone");
            self.lost_replies += u32::from(arrived && !acknowledged);
            // What arrived without an answer is pushed again, as a client does: that must succeed.
            let acknowledged = acknowledged || self.leave_alone(&fresh, tried, last).await;
            assert!(acknowledged, "nothing happened, and a push was stale");
            self.acknowledged.push(tried);
        }
        let roots = ledger::roots(&self.settings, NAME).await;
        assert_eq!(roots, self.acknowledged, "each root once, in its order");
        say::line(format_args!(
            "seed {SEED}: {count} pushes, {} kills, of which {} broke a push and {} came between effect and answer",
            self.kills, self.broken, self.lost_replies
        ));
        assert_eq!(self.kills, count);
        assert!(
            self.broken >= self.kills / 4,
            "the server was hardly killed in the middle of a push"
        );
    }

    async fn leave_alone(&mut self, fresh: &[Bytes], root: RootAddress, last: RootAddress) -> bool {
        let began = Instant::now();
        let pushed = push(self.child.peer(NAME), fresh.to_vec(), root, last).await;
        self.usual = (self.usual + began.elapsed()) / 2;
        pushed.expect("nothing happened, and a push failed")
    }

    /// Pushes, kills the server meanwhile, and starts it again. Whether the push was acknowledged.
    async fn cut_off(&mut self, fresh: &[Bytes], root: RootAddress, last: RootAddress) -> bool {
        let part = self.random.random_range(0.0..0.9);
        let mut pushing = tokio::spawn(push(self.child.peer(NAME), fresh.to_vec(), root, last));
        let in_time = tokio::time::timeout(self.usual.mul_f64(part), &mut pushing).await;
        self.kill();
        let ended = match in_time {
            Ok(ended) => ended,
            Err(_) => pushing.await,
        };
        let answer = ended.expect("a push does not panic");
        assert_ne!(answer.as_ref().ok(), Some(&false), "a push was stale");
        self.broken += u32::from(answer.is_err());
        self.child.start_again();
        answer.is_ok()
    }

    fn kill(&mut self) {
        self.child.kill();
        self.kills += 1;
    }

    /// Looks at what a killed server left. Whether the root is `tried`, and not the one before.
    async fn check(&mut self, database: &TinyDb, tried: RootAddress, last: RootAddress) -> bool {
        whole::assert_whole(&self.settings).await;
        let roots = ledger::roots(&self.settings, NAME).await;
        let missing = self.acknowledged.iter().find(|root| !roots.contains(root));
        assert_eq!(missing, None, "an acknowledged push is gone");
        let peer = self.child.peer(NAME);
        let root = peer.root().await.unwrap();
        assert!(root == tried || root == last, "{root} was never pushed");
        if root == tried {
            let head = database.head("main").unwrap();
            assert_eq!(peer.has(&[head]).await, [true]);
        }
        root == tried
    }

    /// A real dolt pushes, loses the server in the middle of it, and pushes on.
    async fn real_pushes(&mut self) {
        let Some(dolt) = Dolt::find() else { return };
        let scene = Scene::new(&dolt, &[], &self.child.base_url());
        let database = scene.published("one", "real");
        database.commit(
            "before",
            "create table t (id int primary key, v varchar(80))",
        );
        let began = Instant::now();
        database.push(&["origin", "main"]);
        let usual = began.elapsed();
        let mut broken = 0;
        for round in 0..DOLT_KILLS {
            let values: Vec<String> = (0..50)
                .map(|row| format!("({}, 'round {round}, row {row}')", round * 50 + row))
                .collect();
            let insert = format!("insert into t values {}", values.join(", "));
            database.commit(&format!("round {round}"), &insert);
            let delay = usual.mul_f64(self.random.random_range(0.0..1.0));
            let acknowledged = self.push_cut_off(&database, delay);
            broken += u32::from(!acknowledged);
            whole::assert_whole(&self.settings).await;
            if acknowledged {
                database.fetch(&["origin"]);
                assert!(is_pushed(&database), "an acknowledged push is gone");
            }
            database.push(&["origin", "main"]);
            assert!(is_pushed(&database), "dolt pushes on");
        }
        let url = scene.url("real");
        let copy = scene.workshop().clone_from(&url, "again", &[]);
        assert_eq!(copy.log(), database.log());
        whole::assert_whole(&self.settings).await;
        say::line(format_args!(
            "{DOLT_KILLS} kills during pushes of a real dolt, {broken} of which it did not get over by itself"
        ));
    }

    /// Whether dolt says that the push succeeded.
    fn push_cut_off(&mut self, database: &Database, delay: Duration) -> bool {
        let (ended, has_ended) = sync_channel(1);
        std::thread::scope(|scope| {
            let pushing = scope.spawn(move || {
                let finished = database.run(&["push", "origin", "main"]);
                ended.send(()).ok();
                finished
            });
            // It may end before.
            has_ended.recv_timeout(delay).ok();
            self.kill();
            self.child.start_again();
            pushing.join().unwrap().success
        })
    }
}

fn is_pushed(database: &Database) -> bool {
    let same = database.sql("select hashof('main') = hashof('origin/main');");
    same.contains("true")
}

#[test]
fn what_was_acknowledged_outlives_a_kill_at_any_point_of_a_push() {
    crate::run(async {
        let mut run = Run::start(None);
        run.pushes(200).await;
        run.real_pushes().await;
    });
}

#[test]
fn what_was_acknowledged_into_a_bucket_outlives_a_kill_at_any_point_of_a_push() {
    crate::run(async {
        let bucket = Arc::new(Bucket::start().await);
        let mut run = Run::start(Some(bucket));
        run.pushes(30).await;
        run.real_pushes().await;
    });
}
