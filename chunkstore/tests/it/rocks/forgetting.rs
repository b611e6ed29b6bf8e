//! Files leave the index: what is on disk gets smaller, and a crash at any moment loses nothing that is kept.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::index::{ChunkIndex as _, FileSet, Located};

use super::{Files, copy_of_a_moment, files_under, open, temporary};

holdfast_chunkstore::forgetting_contract!(in_rocks, super::super::plain);
holdfast_chunkstore::forgetting_contract!(healing_in_rocks, super::super::healing);

fn bytes_below(path: &Path) -> u64 {
    let files = files_under(path);
    files
        .iter()
        .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()))
        .sum()
}

#[tokio::test]
async fn an_index_that_forgets_gives_its_room_back() {
    let directory = temporary();
    let index = open(directory.path()).await;
    let files = Files::new(71, &[20_000; 10]);
    files.add_to(&index).await;
    index.settle().await.unwrap();
    let before = bytes_below(&directory.path().join("db"));
    let kept: FileSet = [files.ids()[3]].into_iter().collect();
    let forgotten = index.forget_others(files.pool, &kept, 1).await.unwrap();
    assert_eq!(forgotten, 180_000);
    index.settle().await.unwrap();
    let after = bytes_below(&directory.path().join("db"));
    assert!(after * 5 < before, "{after} of {before} bytes are left");
    index.close().await;
    let index = open(directory.path()).await;
    assert_eq!(files.ask(&index).await, 9, "the others are read in again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_files_are_forgotten_loses_nothing_that_is_kept() {
    let directory = temporary();
    let running = directory.path().join("running");
    let index = Arc::new(open(&running).await);
    let files = Files::new(72, &[20_000, 700, 20_000, 700, 700, 20_000]);
    files.add_to(&*index).await;
    let ids = files.ids();
    let kept: FileSet = [ids[0], ids[3]].into_iter().collect();
    let forgetting = {
        let (index, pool, kept) = (Arc::clone(&index), files.pool, kept.clone());
        tokio::spawn(async move { index.forget_others(pool, &kept, 1).await })
    };
    let mut crashes = 0;
    while !forgetting.is_finished() || crashes == 0 {
        let crashed = directory.path().join(format!("crashed-{crashes}"));
        copy_of_a_moment(&running, &crashed);
        let reopened = open(&crashed).await;
        // Right answers, whatever must be read in again; and it forgets the rest.
        files.ask(&reopened).await;
        reopened.forget_others(files.pool, &kept, 0).await.unwrap();
        let none = reopened.has_files(files.pool, &ids[4..5]).await.unwrap();
        assert_eq!(none, [false]);
        let answer = reopened
            .locate_in_files(files.pool, &kept, &files.absent)
            .await;
        assert!(
            matches!(answer.unwrap(), Located::Found(found) if found.iter().all(|it| it.is_empty()))
        );
        files.ask(&reopened).await;
        reopened.close().await;
        std::fs::remove_dir_all(crashed).unwrap();
        crashes += 1;
    }
    assert_eq!(forgetting.await.unwrap().unwrap(), 41_400);
}
