//! What a push does, without dolt: upload locations, PUT, AddTableFiles, Commit.

use bytes::Bytes;
use data_encoding::BASE64;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::table::Writer;
use holdfast_chunkstore::objects::ObjectStoreExt as _;
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi as wire;
use md5::Digest as _;
use tonic::Code;
use tonic::transport::Channel;

use crate::rig::{REPO, Rig, metadata_request};

pub(crate) type Client = wire::chunk_store_service_client::ChunkStoreServiceClient<Channel>;

/// A table file.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) id: Bytes,
    pub(crate) bytes: Bytes,
    pub(crate) chunks: u32,
}

/// Packs chunks into a table file.
pub(crate) fn pack(chunks: &[Bytes]) -> Packed {
    let mut writer = Writer::new(Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for chunk in chunks {
        let address = address_of(chunk);
        if seen.insert(address) {
            writer.append_chunk(address, chunk).unwrap();
        }
    }
    let (bytes, written) = writer.finish().unwrap();
    Packed {
        id: Bytes::copy_from_slice(written.id.as_bytes()),
        bytes: bytes.into(),
        chunks: written.count,
    }
}

impl Packed {
    pub(crate) fn details(&self) -> wire::TableFileDetails {
        wire::TableFileDetails {
            id: self.id.clone(),
            content_length: self.bytes.len() as u64,
            content_hash: Bytes::copy_from_slice(&md5::Md5::digest(&self.bytes)),
            num_chunks: u64::from(self.chunks),
            suffix: String::new(),
            split_offset: 0,
        }
    }

    pub(crate) fn info(&self) -> wire::ChunkTableInfo {
        wire::ChunkTableInfo {
            hash: self.id.clone(),
            chunk_count: self.chunks,
        }
    }
}

pub(crate) fn upload_request(details: Vec<wire::TableFileDetails>) -> wire::GetUploadLocsRequest {
    wire::GetUploadLocsRequest {
        repo_path: REPO.to_owned(),
        table_file_details: details,
        ..Default::default()
    }
}

/// Asks where a file is to be sent; nothing if it need not be sent.
pub(crate) async fn upload_url(client: &mut Client, packed: &Packed) -> Option<String> {
    let request = upload_request(vec![packed.details()]);
    let mut locs = client
        .get_upload_locations(request)
        .await
        .unwrap()
        .into_inner()
        .locs;
    assert_eq!(locs.len(), 1);
    match locs.remove(0).location {
        Some(wire::upload_loc::Location::HttpPost(post)) => Some(post.url),
        None => None,
    }
}

pub(crate) async fn put(rig: &Rig, url: &str, bytes: &Bytes) -> reqwest::Response {
    rig.http()
        .put(url)
        .body(bytes.clone())
        .send()
        .await
        .unwrap()
}

pub(crate) async fn add(client: &mut Client, files: &[&Packed]) -> Result<(), tonic::Status> {
    let request = wire::AddTableFilesRequest {
        repo_path: REPO.to_owned(),
        chunk_table_info: files.iter().map(|file| file.info()).collect(),
        ..Default::default()
    };
    client
        .add_table_files(request)
        .await
        .map(|answer| assert!(answer.into_inner().success))
}

pub(crate) fn commit_request(current: &[u8], last: &[u8]) -> wire::CommitRequest {
    wire::CommitRequest {
        repo_path: REPO.to_owned(),
        current: Bytes::copy_from_slice(current),
        last: Bytes::copy_from_slice(last),
        ..Default::default()
    }
}

pub(crate) async fn root(client: &mut Client) -> Bytes {
    let request = wire::RootRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    client.root(request).await.unwrap().into_inner().root_hash
}

/// Uploads everything that a database holds as one file, and makes its root the root.
pub(crate) async fn push(rig: &Rig, client: &mut Client, database: &TinyDb) -> Packed {
    let chunks: Vec<Bytes> = database.chunks().values().cloned().collect();
    let packed = pack(&chunks);
    let url = upload_url(client, &packed).await.expect("the file is new");
    assert_eq!(put(rig, &url, &packed.bytes).await.status(), 200);
    add(client, &[&packed]).await.unwrap();
    let last = root(client).await;
    let request = commit_request(database.root().as_bytes(), &last);
    assert!(client.commit(request).await.unwrap().into_inner().success);
    packed
}

pub(crate) fn database() -> TinyDb {
    let mut database = TinyDb::new();
    database.commit_with("main", "first", &[("t", &[7; 50_000])]);
    database.commit("main", "second");
    database
}

async fn absent(client: &mut Client, hashes: Vec<Bytes>) -> Vec<i32> {
    let request = wire::HasChunksRequest {
        repo_path: REPO.to_owned(),
        hashes,
        ..Default::default()
    };
    client
        .has_chunks(request)
        .await
        .unwrap()
        .into_inner()
        .absent
}

fn hashes(database: &TinyDb) -> Vec<Bytes> {
    let address = |address: &ChunkAddress| Bytes::copy_from_slice(address.as_bytes());
    database.chunks().keys().map(address).collect()
}

#[tokio::test]
async fn a_push_is_there_at_once() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let database = database();
    let before = client
        .get_repo_metadata(metadata_request(REPO))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(before.storage_size, 0);
    assert_eq!(root(&mut client).await, vec![0; 20]);
    let packed = push(&rig, &mut client, &database).await;
    assert_eq!(root(&mut client).await, database.root().as_bytes()[..]);
    let after = client
        .get_repo_metadata(metadata_request(REPO))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(after.storage_size, packed.bytes.len() as u64);
    assert_eq!(after.features, [1]);
    assert_eq!(after.push_concurrency_control, 1);
    assert!(absent(&mut client, hashes(&database)).await.is_empty());
}

#[tokio::test]
async fn statement_28_a_hash_asked_for_twice_is_absent_once() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let hash = Bytes::from(vec![9; 20]);
    assert_eq!(absent(&mut client, vec![hash.clone(), hash]).await, [1]);
}

#[tokio::test]
async fn statement_30_an_uploaded_file_counts_only_once_it_was_added() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let database = database();
    let packed = pack(&database.chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut client, &packed).await.unwrap();
    assert_eq!(put(&rig, &url, &packed.bytes).await.status(), 200);
    let count = database.chunks().len();
    assert_eq!(absent(&mut client, hashes(&database)).await.len(), count);
    add(&mut client, &[&packed]).await.unwrap();
    assert!(absent(&mut client, hashes(&database)).await.is_empty());
    assert_eq!(
        root(&mut client).await,
        vec![0; 20],
        "statement 67: the root stays"
    );
}

#[tokio::test]
async fn statement_61_a_file_may_come_twice_and_is_then_skipped() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = pack(&database().chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut client, &packed).await.unwrap();
    for _ in 0..2 {
        assert_eq!(put(&rig, &url, &packed.bytes).await.status(), 200);
        // Statement 59 holds for a file that is there already as well.
        let mut other = packed.bytes.to_vec();
        other[100] ^= 1;
        assert_eq!(put(&rig, &url, &other.into()).await.status(), 400);
    }
    assert_eq!(upload_url(&mut client, &packed).await, None);
    for _ in 0..2 {
        add(&mut client, &[&packed]).await.unwrap();
    }
    assert_eq!(upload_url(&mut client, &packed).await, None);
}

#[tokio::test]
async fn statement_59_wrong_bytes_are_a_400_of_one_line_and_nothing_is_kept() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = pack(&database().chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut client, &packed).await.unwrap();
    let mut flipped = packed.bytes.to_vec();
    flipped[100] ^= 1;
    let mut longer = packed.bytes.to_vec();
    longer.push(0);
    let shorter = packed.bytes.slice(..packed.bytes.len() - 1);
    for bytes in [flipped.into(), longer.into(), shorter, Bytes::new()] {
        let response = put(&rig, &url, &bytes).await;
        assert_eq!(response.status(), 400);
        let text = response.text().await.unwrap();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        assert_eq!(
            add(&mut client, &[&packed]).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
    }
    let md5 = BASE64.encode(&[0; 16]);
    let request = rig
        .http()
        .put(&url)
        .header("content-md5", md5)
        .body(packed.bytes.clone());
    assert_eq!(request.send().await.unwrap().status(), 400);
    let response = rig
        .http()
        .post(&url)
        .body(packed.bytes.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "statement 58: POST does as well");
    add(&mut client, &[&packed]).await.unwrap();
}

#[tokio::test]
async fn a_body_without_a_length_is_counted() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = pack(&database().chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut client, &packed).await.unwrap();
    let send = async |bytes: &Bytes| {
        let pieces: Vec<_> = bytes
            .chunks(1000)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        rig.http()
            .put(&url)
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(send(&packed.bytes.slice(..500)).await, 400);
    assert_eq!(send(&packed.bytes).await, 200);
}

#[tokio::test]
async fn statement_66_a_dangling_reference_is_refused_on_the_first_push_too() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let database = database();
    let chunks: Vec<Bytes> = database.chunks().values().cloned().collect();
    let root_chunk = database
        .chunks()
        .get(&database.root().chunk().unwrap())
        .unwrap()
        .clone();
    let alone = pack(&[root_chunk]);
    assert!(chunks.len() > 1);
    let url = upload_url(&mut client, &alone).await.unwrap();
    assert_eq!(put(&rig, &url, &alone.bytes).await.status(), 200);
    let refused = add(&mut client, &[&alone]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn statements_68_to_70_a_commit_is_a_swap_and_may_be_repeated() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let mut database = database();
    push(&rig, &mut client, &database).await;
    let first = database.root();
    let more = pack(&database.commit("main", "third"));
    let url = upload_url(&mut client, &more).await.unwrap();
    assert_eq!(put(&rig, &url, &more.bytes).await.status(), 200);
    let nowhere = commit_request(&[5; 20], first.as_bytes());
    assert_eq!(
        client.commit(nowhere).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let mut request = commit_request(database.root().as_bytes(), first.as_bytes());
    request.chunk_table_info = vec![more.info()];
    for _ in 0..2 {
        assert!(
            client
                .commit(request.clone())
                .await
                .unwrap()
                .into_inner()
                .success
        );
    }
    let stale = commit_request(&[9; 20], &[8; 20]);
    assert!(!client.commit(stale).await.unwrap().into_inner().success);
    assert_eq!(root(&mut client).await, database.root().as_bytes()[..]);
}

#[tokio::test]
async fn statement_75_without_the_token_an_unknown_repository_is_not_found() {
    let token = [
        ("open", "false"),
        ("admin_token", "t0ken"),
        ("reads", "public"),
    ];
    let rig = Rig::start(&token).await;
    let mut client = rig.client().await;
    let unknown = client
        .get_repo_metadata(metadata_request(REPO))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let request = upload_request(vec![]);
    let mut details = request.clone();
    details.table_file_details = vec![pack(&[Bytes::from_static(b"x")]).details()];
    let refused = client
        .get_upload_locations(details.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let with = |request, authorization: &str| {
        let mut request = tonic::Request::new(request);
        request
            .metadata_mut()
            .insert("authorization", authorization.parse().unwrap());
        request
    };
    let basic = format!("Basic {}", BASE64.encode(b"anybody:t0ken"));
    for authorization in ["Bearer t0ken", &basic] {
        let seen = client
            .get_repo_metadata(with(metadata_request(REPO), authorization))
            .await;
        assert_eq!(
            seen.unwrap().into_inner().storage_size,
            0,
            "virtually empty"
        );
    }
    let malformed = client
        .get_repo_metadata(with(metadata_request(REPO), "Basic x"))
        .await;
    assert_eq!(malformed.unwrap_err().code(), Code::Unauthenticated);
    let elsewhere = client
        .get_repo_metadata(with(metadata_request(REPO), "Bearer other"))
        .await;
    assert_eq!(elsewhere.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn statement_15_a_read_only_server_refuses_writes_for_good() {
    let rig = Rig::start(&[("read_only", "true")]).await;
    let mut client = rig.client().await;
    let request = upload_request(vec![pack(&[Bytes::from_static(b"x")]).details()]);
    let refused = client.get_upload_locations(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        refused.message(),
        "this server only provides read-only access"
    );
}

#[tokio::test]
async fn the_name_of_a_program_is_cut_before_it_is_kept() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    let packed = pack(&database().chunks().values().cloned().collect::<Vec<_>>());
    let url = upload_url(&mut client, &packed).await.unwrap();
    let request = rig
        .http()
        .put(&url)
        .header("user-agent", "x".repeat(60_000))
        .body(packed.bytes.clone());
    assert_eq!(request.send().await.unwrap().status(), 200);
    add(&mut client, &[&packed]).await.unwrap();
    let mut kept = 0;
    for object in rig.objects.list_all("repos/").await.unwrap() {
        let bytes = rig.objects.read(&object.key, None, 1 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&"x".repeat(129)), "{}", object.key);
        kept += usize::from(text.contains(&"x".repeat(128)));
    }
    assert!(kept > 0, "the note of the upload names the program");
}

#[tokio::test]
async fn what_changes_a_repository_leaves_a_line_in_the_log_and_so_does_a_refusal() {
    let rig = Rig::start(&[]).await;
    let mut client = rig.client().await;
    push(&rig, &mut client, &database()).await;
    let nowhere = commit_request(&[5; 20], &[9; 20]);
    client.commit(nowhere).await.unwrap();
    let crooked = commit_request(&[5; 19], &[9; 20]);
    client.commit(crooked).await.unwrap_err();
    let (sender, body) = tokio::sync::mpsc::channel(1);
    let body = tokio_stream::wrappers::ReceiverStream::<std::io::Result<Bytes>>::new(body);
    let packed = pack(&[Bytes::from_static(b"some chunk")]);
    let url = upload_url(&mut client, &packed).await.unwrap();
    let put = rig.http().put(&url).header("x-request-id", "cut-short");
    let put = put.body(reqwest::Body::wrap_stream(body)).send();
    let put = tokio::spawn(put);
    sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b" ch"))).await.unwrap();
    put.abort();
    for with in [
        &[
            "/upload/acme/prod/",
            "id=\"00000007-",
            "finished",
            "status=200",
        ][..],
        &[
            "/AddTableFiles",
            "repo=acme/prod",
            "principal=\"anyone\"",
            "finished",
            "grpc=0",
        ],
        &[
            "/Commit",
            "id=\"00000007-",
            "repo=acme/prod",
            "finished",
            "grpc=0",
        ],
        &["/Commit", "repo=acme/prod", "finished", "grpc=3"],
        &["/Commit", "repo=acme/prod", "request refused", "current: "],
        &["/upload/acme/prod/", "id=\"cut-short\"", "status=503"],
    ] {
        rig.has_logged(&[&[" INFO "][..], with].concat()).await;
    }
}
