//! Two servers on one bucket, four writers to one repository.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::peer::Peer;
use holdfast_tests::say;
use holdfast_tests::table::TableFile;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::ledger;

const WRITERS: usize = 4;
const PUSHES: usize = 8;
const NAME: &str = "acme/prod";

/// The database behind each root that somebody made, and how many commits each writer has in it.
#[derive(Clone, Default)]
struct Snapshot {
    database: TinyDb,
    commits: [usize; WRITERS],
}

type Snapshots = Arc<Mutex<HashMap<RootAddress, Snapshot>>>;

/// What one writer saw.
#[derive(Default)]
struct Written {
    acknowledged: Vec<RootAddress>,
    lost: usize,
    /// Pushes that were taken after they had lost a race.
    repaired: usize,
}

/// Pushes to a branch of its own, to the servers in turn; a lost race is pushed again on top of the winner. All
/// writers have read the same root before the first of them commits.
async fn write(
    writer: usize,
    servers: [Peer; 2],
    snapshots: Snapshots,
    start: Arc<Barrier>,
) -> Written {
    let mut written = Written::default();
    let mut has_lost = false;
    let mut turn = writer;
    while written.acknowledged.len() < PUSHES {
        let is_first = turn == writer;
        turn += 1;
        let peer = &servers[turn % 2];
        let last = peer.root().await.unwrap();
        let known = snapshots.lock().unwrap().get(&last).cloned();
        let mut next = known.expect("a root that none of the writers made");
        next.commits[writer] += 1;
        let message = format!("commit {} of {writer}", next.commits[writer]);
        let fresh = next.database.commit(&format!("branch-{writer}"), &message);
        let root = next.database.root();
        snapshots.lock().unwrap().insert(root, next);
        let file = TableFile::classic(&fresh);
        peer.store(&file).await;
        assert!(peer.add(&[&file]).await.unwrap().success);
        if is_first {
            start.wait().await;
        }
        // The other server, which has not seen the upload.
        if servers[(turn + 1) % 2]
            .commit(root, last, &[&file])
            .await
            .unwrap()
        {
            written.acknowledged.push(root);
            written.repaired += usize::from(has_lost);
            has_lost = false;
        } else {
            written.lost += 1;
            has_lost = true;
        }
    }
    written
}

#[test]
fn every_acknowledged_push_of_four_writers_to_two_servers_is_in_the_log_and_roots_move_forward() {
    let forge = Forge::start(Plan::two_servers_on_one_bucket());
    let urls = forge.server_urls();
    let snapshots = Snapshots::default();
    snapshots
        .lock()
        .unwrap()
        .insert(RootAddress::ZERO, Snapshot::default());
    let (written, roots) = crate::run(async {
        let mut writers = JoinSet::new();
        let start = Arc::new(Barrier::new(WRITERS));
        for writer in 0..WRITERS {
            let servers = [0, 1].map(|server: usize| Peer::new(&urls[server], NAME));
            let snapshots = Arc::clone(&snapshots);
            writers.spawn(write(writer, servers, snapshots, Arc::clone(&start)));
        }
        let written = writers.join_all().await;
        let settings = ledger::settings(&forge.data(), forge.bucket());
        (written, ledger::roots(&settings, NAME).await)
    });
    let sum = |count: fn(&Written) -> usize| written.iter().map(count).sum::<usize>();
    let (lost, repaired) = (sum(|one| one.lost), sum(|one| one.repaired));
    say::line(format_args!(
        "{} pushes were acknowledged, {lost} races lost, {repaired} repaired",
        WRITERS * PUSHES
    ));
    assert!(
        lost >= WRITERS - 1 && repaired >= WRITERS - 1,
        "of {WRITERS} who know the same root one wins; {lost} lost, {repaired} repaired"
    );
    let mut acknowledged: Vec<RootAddress> = written
        .into_iter()
        .flat_map(|one| one.acknowledged)
        .collect();
    let mut in_log = roots.clone();
    acknowledged.sort();
    in_log.sort();
    assert_eq!(in_log, acknowledged, "each push once, and nothing else");
    let snapshots = snapshots.lock().unwrap();
    let mut before = [0; WRITERS];
    for root in roots {
        let commits = snapshots[&root].commits;
        let forward = before
            .iter()
            .zip(&commits)
            .all(|(before, now)| before <= now);
        assert!(
            forward,
            "the root went from {before:?} to {commits:?} commits"
        );
        before = commits;
    }
    assert_eq!(
        before, [PUSHES; WRITERS],
        "a commit is not in the last root"
    );
    forge.finish();
}
