//! Merged files under a running server: read under the addresses that were given out, and deleted when none is good.

use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectStore, ObjectStoreExt as _};
use holdfast_proto::remotesapi as wire;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin};

use crate::clock::Standing;
use crate::pushing::{Client, database, push};
use crate::rig::{REPO, Rig};

async fn urls(client: &mut Client) -> Vec<String> {
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    let listed = client.list_table_files(request).await.unwrap().into_inner();
    let files = listed.table_file_info.into_iter();
    files.map(|file| file.url).collect()
}

async fn status(rig: &Rig, url: &str) -> u16 {
    let response = rig.http().get(url).send().await.unwrap();
    response.status().as_u16()
}

async fn files(objects: &MemoryStore) -> usize {
    let listed = objects.list_all("pools/").await.unwrap();
    let keys = listed.iter().map(|meta| meta.key.as_str());
    keys.filter(|key| key.contains("/files/")).count()
}

#[tokio::test]
async fn a_clone_reads_merged_files_to_the_end_and_then_they_are_deleted() {
    let clock = Standing::new();
    let shared: Arc<dyn Clock> = Arc::<Standing>::clone(&clock);
    let objects = Arc::new(MemoryStore::new(Arc::clone(&shared)));
    let store: Arc<dyn ObjectStore> = Arc::<MemoryStore>::clone(&objects);
    let rig = Rig::start_with(&[("retired.keep", "56h")], |parts| {
        parts.clock = shared;
        parts.objects = store;
    })
    .await;
    let mut client = rig.client().await;
    let mut database = database();
    push(&rig, &mut client, &database).await;
    let old = urls(&mut client).await;
    for number in 1..32 {
        database.commit("main", &format!("commit {number}"));
        push(&rig, &mut client, &database).await;
    }
    rig.has_logged(&["small files merged"]).await;
    assert_eq!(urls(&mut client).await.len(), 1);
    assert_eq!(files(&objects).await, 33);

    clock.pass(Duration::from_hours(23));
    assert_eq!(
        status(&rig, &old[0]).await,
        200,
        "a clone holds its address"
    );
    clock.pass(Duration::from_hours(8));
    assert_ne!(status(&rig, &old[0]).await, 200, "it has ended");
    assert_eq!(files(&objects).await, 33);

    // Nobody does anything with the repository.
    clock.pass(Duration::from_hours(26));
    rig.has_logged(&[
        "files that count no more are released and deleted",
        "deleted=32",
    ])
    .await;
    assert_eq!(files(&objects).await, 1);
    let new = urls(&mut client).await;
    assert_eq!((new.len(), status(&rig, &new[0]).await), (1, 200));
}

#[test]
fn files_cannot_be_deleted_while_addresses_of_them_are_good() {
    let complaints = |keep: &str| {
        let mut gathered = Gathered::new();
        for (key, value) in [("data", "/tmp"), ("open", "true"), ("retired.keep", keep)] {
            gathered.set(key, value, Origin::Flag);
        }
        match check(gathered, Purpose::Serve) {
            Ok(settings) => Ok(settings.retired_keep),
            Err(complaints) => Err(format!("{complaints:?}")),
        }
    };
    assert_eq!(complaints("56h"), Ok(Duration::from_hours(56)));
    assert_eq!(complaints("30d"), Ok(Duration::from_hours(720)));
    let told = complaints("55h").unwrap_err();
    assert!(
        told.contains("retired.keep") && told.contains("56h"),
        "{told}"
    );
}
