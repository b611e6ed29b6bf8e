//! Checkpoints: the lists beside older ones, and what an older version wrote.

use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::address::TableFileId;
use holdfast_chunkstore::objects::{ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::repo::log::{Appended, Deletions, Draft, Log};
use holdfast_chunkstore::repo::verify::{Damage, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{Act, FileKind, Md5, Sha256, State, StoredFile, layout};
use holdfast_chunkstore::testing::worlds::actor;

use super::world::{KEEP, World};

struct Silent;

impl VerifyProgress for Silent {
    fn done(&self, _: Stage, _: u64, _: u64) {}
}

fn draft(state: &State) -> Draft {
    Draft {
        act: Act::Add,
        actor: actor(),
        new_root: state.root,
        refs: Vec::new(),
        added: Vec::new(),
        retired: Vec::new(),
        released: Vec::new(),
        deletions: Deletions::default(),
    }
}

#[tokio::test]
async fn lists_beside_all_checkpoints_but_the_newest_two_are_deleted() {
    let world = World::new();
    let server = world.server(1).await;
    let parts = world.parts(2);
    let log = Log::new(parts.objects, parts.clock, server.id());
    let mut state = State::empty();
    let added = (0..1100_u32).map(|number| {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&number.to_be_bytes());
        StoredFile {
            upload: parts.ids.upload(),
            id: TableFileId::new(id),
            kind: FileKind::Table,
            len: 100,
            chunks: 1,
            split_offset: 0,
            sha256: Sha256([0; 32]),
            md5: Md5([0; 16]),
        }
    });
    let mut first = Some(added.collect());
    for _ in 0..1100 {
        let added = first.take().unwrap_or_default();
        let draft = Draft {
            added,
            ..draft(&state)
        };
        state = match log.append(&state, &draft, parts.ids.stamp()).await.unwrap() {
            Appended::Won(state) => state,
            Appended::Lost(_) => panic!("nobody else writes"),
        };
    }
    let side = format!("repos/{}/side/", server.id());
    // What the first record added, and four checkpoints.
    assert_eq!(world.keys(&side).await.len(), 5);
    server.release_retired(KEEP).await.unwrap();
    let left = world.keys(&side).await;
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().any(|key| key.contains("-added-")));

    let fresh = world.server(3).await;
    let loaded = fresh.state().await.unwrap();
    assert_eq!((loaded.files.len(), loaded.cleared), (1100, 512));
    assert_eq!(fresh.until_release(KEEP).await, None, "it is done");
    let report = fresh.verify(&Silent).await;
    let of_the_log = |damage| {
        matches!(
            damage,
            Damage::SideList | Damage::Checkpoint | Damage::LogChain | Damage::LogGap
        )
    };
    let mut findings = report.findings.iter();
    assert!(
        findings.all(|finding| !of_the_log(finding.damage)),
        "{report:?}"
    );
    // One that is needed is missed.
    let needed = left.iter().find(|key| key.contains("-all-files-")).unwrap();
    let needed = holdfast_chunkstore::objects::ObjectKey::parse(needed.as_str()).unwrap();
    world.objects.delete(&needed).await.unwrap();
    let report = fresh.verify(&Silent).await;
    let mut findings = report.findings.iter();
    assert!(
        findings.any(|finding| finding.damage == Damage::SideList),
        "{report:?}"
    );
}

/// Writes the checkpoint as the version before did: only which upload was retired, and when.
async fn strip_checkpoint(world: &World, key: &holdfast_chunkstore::objects::ObjectKey) {
    let body = world.objects.read(key, None, 4 << 20).await.unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&body).unwrap();
    for retired in record["checkpoint"]["retired"].as_array_mut().unwrap() {
        let retired = retired.as_object_mut().unwrap();
        retired.retain(|name, _| ["upload", "at"].contains(&name.as_str()));
    }
    let body = Bytes::from(serde_json::to_vec_pretty(&record).unwrap());
    world.objects.overwrite(key, body).await.unwrap();
}

#[tokio::test]
async fn files_that_an_older_version_retired_are_released_too() {
    let world = World::new();
    let server = world.server(1).await;
    world.push(&server, 0..32).await;
    server.merge().await.unwrap().unwrap();
    let parts = world.parts(2);
    let log = Log::new(parts.objects, parts.clock, server.id());
    let mut state = log.load().await.unwrap();
    while state.sequence < 256 {
        let appended = log.append(&state, &draft(&state), parts.ids.stamp()).await;
        state = match appended.unwrap() {
            Appended::Won(state) => state,
            Appended::Lost(_) => panic!("nobody else writes"),
        };
    }
    strip_checkpoint(&world, &layout::record(server.id(), 256)).await;
    let server = world.server(3).await;
    let state = server.state().await.unwrap();
    let mut retired = state.retired.values();
    assert!(retired.all(|file| file.file.is_none() && file.sequence == 256));
    world.pass(KEEP - Duration::from_hours(1));
    assert_eq!(server.release_retired(KEEP).await.unwrap().released, 0);
    world.pass(Duration::from_hours(2));
    let expired = server.release_retired(KEEP).await.unwrap();
    assert_eq!((expired.released, expired.deleted), (32, 32));
    let files = format!("pools/{}/files/", server.pool());
    assert_eq!(world.keys(&files).await.len(), 1);
    assert_eq!(world.keys(&layout::uploads(server.id())).await.len(), 1);
    assert_ne!(state.root, RootAddress::ZERO);
    world.assert_whole(&server, 32).await;
    world.assert_whole(&world.server(4).await, 32).await;
}
