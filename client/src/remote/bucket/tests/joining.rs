//! Small files of a bucket that are joined after a push.

use super::*;

/// Pushes files of a chunk each, one after another, and returns their names.
async fn push_many(remote: &Bucket, count: u8) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    let mut last = RootAddress::ZERO;
    for number in 0..count {
        let chunk = chunk(number);
        let file = outgoing(place.path(), &[&chunk]);
        names.push(file.id.to_string());
        remote.upload(&file).await.unwrap();
        let root = root_of(&chunk);
        let moved = remote.commit(root, last, &[listed(&file)]).await;
        assert_eq!(moved.unwrap(), Swap::Won);
        last = root;
    }
    names
}

fn chunk(number: u8) -> Vec<u8> {
    vec![number; 40]
}

async fn assert_has_all(remote: &Bucket, count: u8) {
    let chunks: Vec<_> = (0..count).map(chunk).collect();
    let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let read = remote.read(&addresses, Reach::Near).await.unwrap();
    for (chunk, read) in chunks.iter().zip(read) {
        assert_eq!(read.unwrap().chunk, *chunk);
    }
}

async fn count_of(remote: &Bucket) -> usize {
    remote.list_files().await.unwrap().files.len()
}

#[tokio::test]
async fn a_bucket_of_many_pushes_lists_few_files_and_keeps_all() {
    let server = Server::new(Ignored::Nothing);
    let (early, mine) = (remote(&server), remote(&server));
    // Others read the manifest that was there before.
    push_many(&mine, 30).await;
    assert_eq!(count_of(&early).await, 30);
    let server_names = server.names().await;
    let parts = push_many_more(&mine, 30, 100).await;
    let most = count_of(&mine).await;
    assert!(most <= 33, "{most} files");
    let names = server.names().await;
    assert!(
        server_names
            .iter()
            .chain(&parts)
            .all(|name| names.contains(name))
    );
    assert_has_all(&mine, 100).await;
    assert_has_all(&remote(&server), 100).await;
    // With the files that it knows, though none of them is listed any more.
    let known = early.known_manifest().await.unwrap();
    let old: Vec<_> = (0..30).map(|number| hash_chunk(&chunk(number))).collect();
    let read = early.read_from(&known, &old, Reach::Exact).await.unwrap();
    assert!(read.iter().all(Option::is_some));
}

async fn push_many_more(remote: &Bucket, from: u8, to: u8) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for number in from..to {
        let file = outgoing(place.path(), &[&chunk(number)]);
        names.push(file.id.to_string());
        remote.upload(&file).await.unwrap();
        remote.add_files(&[listed(&file)]).await.unwrap();
    }
    names
}

#[tokio::test]
async fn those_who_join_at_once_lose_nothing() {
    let server = Server::new(Ignored::Nothing);
    let first = remote(&server);
    push_many(&first, 32).await;
    let place = tempfile::tempdir().unwrap();
    let pushes = (32..40_u8).map(|number| {
        let file = outgoing(place.path(), &[&chunk(number)]);
        let remote = remote(&server);
        async move {
            remote.upload(&file).await.unwrap();
            // Each round of the race has one winner, and there are more of them than a caller tries.
            loop {
                match remote.add_files(&[listed(&file)]).await {
                    Err(RemoteError::Contended) => {}
                    added => break added.unwrap(),
                }
            }
        }
    });
    futures::future::join_all(pushes).await;
    let after = remote(&server);
    assert_has_all(&after, 40).await;
    let count = count_of(&after).await;
    assert!(count <= 33, "{count} files");
    let mut ids: Vec<_> = after.list_files().await.unwrap().files;
    ids.sort_by_key(|file| file.id);
    ids.dedup_by_key(|file| file.id);
    assert_eq!(ids.len(), count);
    assert_eq!(after.root().await.unwrap(), root_of(&chunk(31)));
}

#[tokio::test]
async fn an_answer_that_is_lost_while_files_are_joined_is_no_failure() {
    let server = Server::new(Ignored::Nothing);
    let mine = remote(&server);
    push_many(&mine, 32).await;
    server.lost_answers.store(1, Ordering::SeqCst);
    push_many_more(&mine, 32, 33).await;
    assert_eq!(
        count_of(&mine).await,
        33,
        "whoever lost the answer leaves it to others"
    );
    server.lost_answers.store(1, Ordering::SeqCst);
    mine.join_small().await;
    assert_eq!(server.lost_answers.load(Ordering::SeqCst), 0);
    assert_eq!(count_of(&mine).await, 1);
    assert_has_all(&remote(&server), 33).await;
}

#[tokio::test]
async fn a_damaged_part_stays_listed_and_stops_no_push() {
    let server = Server::new(Ignored::Nothing);
    let mine = remote(&server);
    let names = push_many(&mine, 32).await;
    let key = ObjectKey::parse(names[7].clone()).unwrap();
    let mut bytes = server
        .objects
        .read(&key, None, 1 << 20)
        .await
        .unwrap()
        .to_vec();
    bytes[2] ^= 1;
    server.overwrite(&key, Bytes::from(bytes)).await.unwrap();
    let fresh = remote(&server);
    push_many_more(&fresh, 32, 40).await;
    let files = fresh.list_files().await.unwrap().files;
    assert!(files.iter().any(|file| file.id.to_string() == names[7]));
    assert!(files.len() < 32, "{} files", files.len());
}
