//! A server with a repository that has data, and what of it no hostile input may change.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast_chunkstore::objects::ObjectStoreExt as _;
use holdfast_chunkstore::testing::generate::{Compression, Made, archive_of};
use holdfast_doltdb::testing::TinyDb;
use holdfast_doltdb::{Message, MessageKind};
use holdfast_proto::remotesapi as wire;

use super::Wire;
use crate::pushing::{Client, Packed, database, pack, push, put, upload_url};
use crate::rig::{REPO, Rig, metadata_request};

/// A server, and a repository in it.
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) client: Client,
    pub(super) wire: Wire,
    /// What was pushed, and its only file.
    pub(super) database: TinyDb,
    pub(super) packed: Packed,
    /// A file that was uploaded and that no request can add: its only chunk refers to nothing that is there.
    pub(super) dangling: Packed,
    /// The names by which the pushed file is asked for.
    pub(super) file_ids: Vec<String>,
    before: Snapshot,
}

/// What clients and the store show.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    root: Bytes,
    storage_size: u64,
    listed: Vec<(String, u32)>,
    /// Every object but those that say which repository a name means.
    objects: BTreeSet<String>,
}

impl World {
    /// Starts a server, with these settings over the usual ones, and pushes to it.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let rig = Rig::start(settings).await;
        let mut client = rig.client().await;
        let database = database();
        let packed = push(&rig, &mut client, &database).await;
        let dangling = pack(&[store_root(&other_database())]);
        let url = upload_url(&mut client, &dangling).await.unwrap();
        assert_eq!(put(&rig, &url, &dangling.bytes).await.status(), 200);
        let listing = listing(&mut client).await;
        let info = &listing.table_file_info[0];
        let in_key = info.refresh_request.as_ref().unwrap().file_id.clone();
        Self {
            wire: Wire::open(&rig).await,
            before: Snapshot::take(&rig, &mut client).await,
            file_ids: vec![info.file_id.clone(), in_key],
            rig,
            client,
            database,
            packed,
            dangling,
        }
    }

    /// A signed address of the pushed file, without the server.
    pub(super) async fn data_path(&mut self) -> String {
        let url = listing(&mut self.client)
            .await
            .table_file_info
            .remove(0)
            .url;
        url.strip_prefix(&self.rig.url()).unwrap().to_owned()
    }

    /// A signed address for a file, without the server.
    pub(super) async fn upload_path(&mut self, details: wire::TableFileDetails) -> String {
        upload_path(&mut self.client, &self.rig, REPO, details).await
    }

    /// Checks that everything is as it was, that no upload is half kept, and that the server still answers.
    pub(super) async fn assert_unchanged(self) {
        self.assert_unchanged_but(0).await;
    }

    /// The same, where so many uploads were taken that nobody has added.
    pub(super) async fn assert_unchanged_but(mut self, uploads: usize) {
        let mut after = Snapshot::take(&self.rig, &mut self.client).await;
        for part in ["/uploads/", "/files/"] {
            let is_known = |key: &String| self.before.objects.contains(key);
            let is_new = |key: &String| key.contains(part) && !is_known(key);
            let before = after.objects.len();
            after.objects.retain(|key| !is_new(key));
            assert_eq!(
                before - after.objects.len(),
                uploads,
                "new objects under {part}"
            );
        }
        assert_eq!(after, self.before);
        let nothing_spooled = async {
            while !self.rig.spooled().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(30);
        let ended = tokio::time::timeout(limit, nothing_spooled).await;
        assert!(ended.is_ok(), "left in the spool: {:?}", self.rig.spooled());
        let live = http::Request::get(self.wire.url("/live"));
        let live = self.wire.send(live.body(Bytes::new()).unwrap()).await;
        assert_eq!(live.text(), "live\n");
    }

    /// The addresses of the pushed chunks that nobody could take for a root.
    pub(super) fn packed_addresses(&self) -> Vec<Bytes> {
        let is_root = |chunk: &Bytes| {
            Message::decode(chunk).is_ok_and(|message| message.kind() == MessageKind::StoreRoot)
        };
        let chunks = self.database.chunks().iter();
        chunks
            .filter(|(_, chunk)| !is_root(chunk))
            .map(|(address, _)| Bytes::copy_from_slice(address.as_bytes()))
            .collect()
    }

    /// The names that mean a repository.
    pub(super) async fn names(&self) -> BTreeSet<String> {
        let mut keys = keys(&self.rig).await;
        keys.retain(|key| key.starts_with(NAMES));
        keys
    }
}

const NAMES: &str = "catalog/names/";

impl Snapshot {
    async fn take(rig: &Rig, client: &mut Client) -> Self {
        let metadata = client.get_repo_metadata(metadata_request(REPO)).await;
        let listing = listing(client).await;
        let info = listing.table_file_info.iter();
        let mut objects = keys(rig).await;
        // A valid request to write gives a valid name a repository, which is not there for anybody before its
        // first record.
        objects.retain(|key| !key.starts_with(NAMES) && !key.contains("/members/"));
        Self {
            root: listing.root_hash.clone(),
            storage_size: metadata.unwrap().into_inner().storage_size,
            listed: info
                .map(|info| (info.file_id.clone(), info.num_chunks))
                .collect(),
            objects,
        }
    }
}

async fn keys(rig: &Rig) -> BTreeSet<String> {
    let all = rig.objects.list_all("").await.unwrap();
    all.iter().map(|meta| meta.key.to_string()).collect()
}

async fn listing(client: &mut Client) -> wire::ListTableFilesResponse {
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        ..Default::default()
    };
    client.list_table_files(request).await.unwrap().into_inner()
}

/// A signed address for a file of a repository, without the server.
pub(super) async fn upload_path(
    client: &mut Client,
    rig: &Rig,
    repo_path: &str,
    details: wire::TableFileDetails,
) -> String {
    let request = wire::GetUploadLocsRequest {
        repo_path: repo_path.to_owned(),
        table_file_details: vec![details],
        ..Default::default()
    };
    let answer = client.get_upload_locations(request).await.unwrap();
    match answer.into_inner().locs.remove(0).location {
        Some(wire::upload_loc::Location::HttpPost(post)) => {
            post.url.strip_prefix(&rig.url()).unwrap().to_owned()
        }
        None => panic!("the file is there already"),
    }
}

/// Another database than the one that was pushed: no chunk of it is there.
pub(super) fn other_database() -> TinyDb {
    let mut database = TinyDb::new();
    database.commit_with("other", "other", &[("o", &[9; 20_000])]);
    database
}

/// All chunks of another database as an archive.
pub(super) fn other_archive(compression: Compression) -> Made {
    let chunks = other_database();
    let chunks = chunks.chunks().values().map(|chunk| chunk.to_vec());
    archive_of(chunks.collect(), compression)
}

fn store_root(database: &TinyDb) -> Bytes {
    let address = database.root().chunk().unwrap();
    database.chunks()[&address].clone()
}
