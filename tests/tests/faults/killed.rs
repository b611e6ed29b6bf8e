//! `kill -9` at random points of pushes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::Dolt;
use holdfast_tests::forge::ChildForge;
use holdfast_tests::peer::Peer;
use holdfast_tests::scenario::Scene;
use holdfast_tests::table::TableFile;
use holdfast_tests::whole;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tonic::Status;

use crate::ledger;

const SEED: u64 = 3;
const PUSHES: u32 = 200;
/// One of so many pushes is hit.
const ONE_IN: u32 = 8;
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

struct Run {
    forge: ChildForge,
    random: StdRng,
    /// How long a push takes that is left alone.
    usual: Duration,
    kills: u32,
    lost_replies: u32,
    acknowledged: Vec<RootAddress>,
}

impl Run {
    /// Pushes, and in one of eight cases kills the server meanwhile. Whether the push was acknowledged.
    async fn attempt(&mut self, fresh: &[Bytes], root: RootAddress, last: RootAddress) -> bool {
        let is_hit = self.random.random_range(0..ONE_IN) == 0;
        let part = self.random.random_range(0.0..1.2);
        let began = Instant::now();
        let mut pushing = tokio::spawn(push(self.forge.peer(NAME), fresh.to_vec(), root, last));
        let in_time = match is_hit {
            true => tokio::time::timeout(self.usual.mul_f64(part), &mut pushing).await,
            false => Ok((&mut pushing).await),
        };
        if is_hit {
            self.forge.kill();
            self.kills += 1;
        } else {
            self.usual = (self.usual + began.elapsed()) / 2;
        }
        let ended = match in_time {
            Ok(ended) => ended,
            Err(_) => pushing.await,
        };
        let answer = ended.expect("a push does not panic");
        assert!(
            is_hit || answer.is_ok(),
            "nothing happened, and a push failed: {answer:?}"
        );
        assert_ne!(answer.as_ref().ok(), Some(&false), "a push was stale");
        if is_hit {
            self.forge.start_again();
        }
        answer.is_ok()
    }

    /// Looks at what a killed server left. Whether the root is `tried`, and not the one before.
    async fn check(&mut self, database: &TinyDb, tried: RootAddress, last: RootAddress) -> bool {
        let settings = ledger::settings(&self.forge.data(), None);
        whole::assert_whole(&settings).await;
        let roots = ledger::roots(&settings, NAME).await;
        let missing = self.acknowledged.iter().find(|root| !roots.contains(root));
        assert_eq!(missing, None, "an acknowledged push is gone");
        let root = self.forge.peer(NAME).root().await.unwrap();
        assert!(root == tried || root == last, "{root} was never pushed");
        if root == tried {
            let head = database.head("main").unwrap();
            assert_eq!(self.forge.peer(NAME).has(&[head]).await, [true]);
        }
        root == tried
    }
}

#[test]
fn what_was_acknowledged_outlives_a_kill_at_any_point_of_a_push() {
    let forge = crate::run(async {
        let mut run = Run {
            forge: ChildForge::start(),
            random: StdRng::seed_from_u64(SEED),
            usual: Duration::from_millis(50),
            kills: 0,
            lost_replies: 0,
            acknowledged: Vec::new(),
        };
        let mut database = TinyDb::new();
        for number in 0..PUSHES {
            let last = database.root();
            let content = vec![b'x'; usize::try_from(number).unwrap() * 97];
            let message = format!("push {number}");
            let fresh = database.commit_with("main", &message, &[("table", &content)]);
            let tried = database.root();
            loop {
                let kills = run.kills;
                let acknowledged = run.attempt(&fresh, tried, last).await;
                if acknowledged {
                    run.acknowledged.push(tried);
                }
                let arrived = run.kills == kills || run.check(&database, tried, last).await;
                run.lost_replies += u32::from(arrived && !acknowledged);
                // What arrived without an answer is pushed again, as a client does: that must succeed.
                if acknowledged {
                    break;
                }
            }
        }
        let settings = ledger::settings(&run.forge.data(), None);
        let roots = ledger::roots(&settings, NAME).await;
        assert_eq!(roots, run.acknowledged, "each root once, in its order");
        eprintln!(
            "seed {SEED}: {PUSHES} pushes, {} kills, {} replies lost behind the effect",
            run.kills, run.lost_replies
        );
        assert!(run.kills > 10, "the server was hardly killed");
        run.forge
    });
    a_real_dolt_pushes_on(forge);
}

fn a_real_dolt_pushes_on(mut forge: ChildForge) {
    let Some(dolt) = Dolt::find() else { return };
    let scene = Scene::new(&dolt, &[], &forge.base_url());
    let database = scene.published("one", "real");
    for round in 0..2 {
        forge.kill();
        forge.start_again();
        database.sql(&format!("create table after_{round} (id int primary key)"));
        database.commit(
            &format!("after {round}"),
            &format!("insert into after_{round} values (1), (2)"),
        );
        database.push(&["origin", "main"]);
    }
    let url = scene.url("real");
    scene
        .workshop()
        .command(scene.workshop().folder(), &["clone", &url, "again"])
        .expect_success();
    let settings = ledger::settings(&forge.data(), None);
    crate::run(whole::assert_whole(&settings));
}
