//! A data file that is lost or cut short under a running server.

use std::time::Duration;

use holdfast_chunkstore::clock::Clock as _;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::repo::{Parts, Repositories};
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi as wire;
use holdfast_server::commands::Form;
use holdfast_server::commands::verify::verify;
use tonic::Code;

use crate::clock::Standing;
use crate::pushing::{
    Client, Packed, add, commit_request, database, pack, push, put, root, upload_url,
};
use crate::rig::{REPO, Rig};

/// What the log says once of a damaged file.
const NOTICED: &str = "a data file is damaged";

async fn list(client: &mut Client) -> Result<wire::ListTableFilesResponse, tonic::Status> {
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    let listed = client.list_table_files(request).await;
    listed.map(tonic::Response::into_inner)
}

async fn absent(client: &mut Client) -> usize {
    let database = database();
    let addresses = database.chunks().keys();
    let request = wire::HasChunksRequest {
        repo_path: REPO.to_owned(),
        hashes: addresses
            .map(|address| bytes::Bytes::copy_from_slice(address.as_bytes()))
            .collect(),
        ..Default::default()
    };
    let answer = client.has_chunks(request).await.unwrap().into_inner();
    answer.absent.len()
}

/// A server with one data file.
struct One {
    rig: Rig,
    client: Client,
    packed: Packed,
    key: ObjectKey,
    url: String,
}

impl One {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Parts)) -> Self {
        let rig = Rig::start_with(&[], change).await;
        rig.logs.expect(NOTICED);
        let mut client = rig.client().await;
        let packed = push(&rig, &mut client, &database()).await;
        let url = list(&mut client).await.unwrap().table_file_info[0]
            .url
            .clone();
        let files = rig.objects.list_all("pools/").await.unwrap();
        let mut keys = files.into_iter().map(|meta| meta.key);
        let key = keys.find(|key| key.as_str().contains("/files/")).unwrap();
        Self {
            rig,
            client,
            packed,
            key,
            url,
        }
    }

    async fn ready(&self) -> String {
        let url = format!("{}/ready", self.rig.url());
        let response = self.rig.http().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Reads the file, and is told that it is damaged.
    async fn assert_damaged(&mut self) {
        let response = self.rig.http().get(&self.url).send().await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["holdfast-error"], "damaged");
        let told = response.text().await.unwrap();
        assert!(told.contains("holdfast push --repair"), "{told}");

        let refused = list(&mut self.client).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let mark = refused.metadata().get("holdfast-error");
        assert_eq!(mark.unwrap(), "damaged");
        assert!(refused.message().contains("holdfast push --repair"));
        assert_eq!(absent(&mut self.client).await, database().chunks().len());
        let told = self.ready().await;
        assert!(told.starts_with("ready\n1 data file is damaged"), "{told}");
        assert!(told.contains(self.key.name()), "{told}");
    }

    /// Sends the file again.
    async fn assert_mended(mut self) {
        let url = upload_url(&mut self.client, &self.packed).await;
        let url = url.expect("the file is not there any more");
        let response = put(&self.rig, &url, &self.packed.bytes).await;
        assert_eq!(response.status(), 200);
        add(&mut self.client, &[&self.packed]).await.unwrap();
        assert_eq!(absent(&mut self.client).await, 0);
        let listed = list(&mut self.client).await.unwrap();
        assert_eq!(listed.table_file_info.len(), 1);
        let url = &listed.table_file_info[0].url;
        let response = self.rig.http().get(url).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), self.packed.bytes);
        let settled = async {
            while self.ready().await != "ready\n" {
                tokio::task::yield_now().await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(30), settled).await;
        settled.expect("the damaged file is forgotten");
        // Answers repeat the words, each as an event of its own level.
        let text = self.rig.logs.text();
        let is_notice = |line: &&str| line.contains("ERROR") && line.contains(NOTICED);
        let noticed = text.lines().filter(is_notice).count();
        assert_eq!(
            noticed, 1,
            "once for a file, and not for every request: {text}"
        );
    }
}

#[tokio::test]
async fn a_lost_file_is_told_as_damage_until_it_comes_again() {
    let mut one = One::start().await;
    assert_eq!(one.ready().await, "ready\n");
    one.rig.objects.delete(&one.key).await.unwrap();
    one.assert_damaged().await;
    one.assert_mended().await;
}

#[tokio::test]
async fn a_file_cut_short_is_told_as_damage_and_not_served_as_if_it_were_whole() {
    let mut one = One::start().await;
    let short = one.packed.bytes.slice(..one.packed.bytes.len() - 1);
    one.rig.objects.overwrite(&one.key, short).await.unwrap();
    one.assert_damaged().await;
    one.assert_mended().await;
}

#[tokio::test]
async fn what_a_server_is_started_on_is_looked_at_once() {
    let one = One::start().await;
    let objects = std::sync::Arc::clone(&one.rig.objects);
    objects.delete(&one.key).await.unwrap();
    let second = Rig::start_with(&[], |parts| parts.objects = objects).await;
    second.logs.expect(NOTICED);
    second
        .has_logged(&["ERROR", NOTICED, REPO, one.key.as_str(), "it is missing"])
        .await;
    let mut client = second.client().await;
    assert_eq!(absent(&mut client).await, database().chunks().len());
}

#[tokio::test]
async fn changed_bytes_are_noticed_when_a_client_asks_to_look() {
    let mut one = One::start().await;
    let refresh = wire::RefreshTableFileUrlRequest {
        repo_path: REPO.to_owned(),
        file_id: one.key.name().to_owned(),
        ..Default::default()
    };
    let doubted = || {
        let mut request = tonic::Request::new(refresh.clone());
        let wanted = tonic::metadata::AsciiMetadataValue::from_static("bytes");
        request.metadata_mut().insert("holdfast-check", wanted);
        request
    };
    let found = one.client.refresh_table_file_url(doubted()).await;
    found.expect("the file is as it was");
    let mut bytes = one.packed.bytes.to_vec();
    bytes[5] ^= 1;
    let changed = one.rig.objects.overwrite(&one.key, bytes.into()).await;
    changed.unwrap();
    // Who asks for an address and nothing more is given one.
    let refreshed = one.client.refresh_table_file_url(refresh.clone()).await;
    refreshed.unwrap();
    assert_eq!(absent(&mut one.client).await, 0);
    let refused = one.client.refresh_table_file_url(doubted()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("SHA-256"), "{refused:?}");
    one.assert_damaged().await;
    one.assert_mended().await;
}

#[tokio::test]
async fn a_file_that_is_put_right_counts_again_when_it_is_asked_for() {
    let mut one = One::start().await;
    one.rig.objects.delete(&one.key).await.unwrap();
    one.assert_damaged().await;
    // Another file of the same length is not the one that was taken in.
    let other = vec![7; one.packed.bytes.len()];
    let put = one.rig.objects.overwrite(&one.key, other.into()).await;
    put.unwrap();
    let refused = list(&mut one.client).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let put = one
        .rig
        .objects
        .overwrite(&one.key, one.packed.bytes.clone());
    put.await.unwrap();
    let listed = list(&mut one.client).await.unwrap();
    assert_eq!(listed.table_file_info.len(), 1);
    assert_eq!(absent(&mut one.client).await, 0);
    assert_eq!(one.ready().await, "ready\n");
    let text = one.rig.logs.text();
    let told = text.lines().filter(|line| line.contains("is whole again"));
    assert_eq!(told.count(), 1, "{text}");
}

#[tokio::test]
async fn a_watch_finds_what_nobody_reads_and_what_was_put_right() {
    let clock = Standing::new();
    let shared = std::sync::Arc::clone(&clock);
    let one = One::start_with(|parts| parts.clock = shared).await;
    one.rig.objects.delete(&one.key).await.unwrap();
    // Once an hour the store is listed, and each minute what is damaged is looked at.
    until(&clock, || async {
        one.ready().await.contains("it is missing")
    })
    .await;
    assert!(
        clock.monotonic() >= Duration::from_secs(3600),
        "nobody read it"
    );
    let put = one
        .rig
        .objects
        .overwrite(&one.key, one.packed.bytes.clone());
    put.await.unwrap();
    let put_right = clock.monotonic();
    until(&clock, || async { one.ready().await == "ready\n" }).await;
    assert!(clock.monotonic() < put_right + Duration::from_secs(3600));
}

/// Lets minutes pass until something is so.
async fn until<F: Future<Output = bool>>(clock: &Standing, is_so: impl Fn() -> F) {
    let found = async {
        while !is_so().await {
            clock.is_waited_for_by(1).await;
            clock.pass(Duration::from_secs(60));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    found.expect("it comes to be so");
}

#[tokio::test]
async fn verify_names_the_refs_that_need_a_damaged_file() {
    let mut used = None;
    let rig = Rig::start_with(&[], |parts| used = Some(parts.clone())).await;
    rig.logs.expect(NOTICED);
    let mut client = rig.client().await;
    let mut database = TinyDb::new();
    database.commit_with("main", "first", &[("a", b"of main")]);
    let main = database.head("main").unwrap();
    // The list of the ancestors of what follows from the first commit is one chunk, which is here already.
    database.commit_with("main", "next", &[("a", b"of main")]);
    push(&rig, &mut client, &database).await;
    let before = keys(&rig.objects).await;
    let fresh = database.commit_on("side", "aside", &[("a", b"of side")], &[main]);
    let side = database.head("side").unwrap();
    send(&rig, &mut client, &database, &fresh).await;
    let of_side = keys(&rig.objects).await;
    let of_side = of_side.into_iter().find(|key| !before.contains(key));
    // The root and the list of refs come again with what follows.
    let fresh = database.commit_with("main", "second", &[("a", b"of main too")]);
    send(&rig, &mut client, &database, &fresh).await;
    rig.objects.delete(&of_side.unwrap()).await.unwrap();

    let repositories = Repositories::open(used.unwrap()).await.unwrap();
    let mut told = Vec::new();
    let is_whole = verify(&repositories, None, Form::Text, &mut told).await;
    assert!(!is_whole.unwrap());
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("    file-missing  "), "{told}");
    let needed: Vec<_> = (told.lines())
        .filter_map(|line| line.trim().strip_prefix("needed-by  "))
        .collect();
    assert_eq!(needed, ["refs/heads/side"], "{told}");
    assert!(
        !told.contains(&side.to_string()) || told.contains("dangling"),
        "{told}"
    );
}

async fn keys(objects: &MemoryStore) -> Vec<ObjectKey> {
    let files = objects.list_all("pools/").await.unwrap();
    let keys = files.into_iter().map(|meta| meta.key);
    keys.filter(|key| key.as_str().contains("/files/"))
        .collect()
}

/// Sends new chunks, and moves the root.
async fn send(rig: &Rig, client: &mut Client, database: &TinyDb, fresh: &[bytes::Bytes]) {
    let packed = pack(fresh);
    let url = upload_url(client, &packed).await.unwrap();
    assert_eq!(put(rig, &url, &packed.bytes).await.status(), 200);
    add(client, &[&packed]).await.unwrap();
    let last = root(client).await;
    let request = commit_request(database.root().as_bytes(), &last);
    let answer = client.commit(request).await.unwrap();
    assert!(answer.into_inner().success);
}
