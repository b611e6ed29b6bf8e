//! Every call of the service once, as a message names the repository.

use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{
    AddTableFilesRequest, CommitRequest, GetDownloadLocsRequest, GetRepoMetadataRequest,
    GetUploadLocsRequest, HasChunksRequest, ListTableFilesRequest, RebaseRequest,
    RefreshTableFileUrlRequest, RepoId, RootRequest, StreamChunkLocationsRequest,
};
use holdfast_tests::peer::{Peer, details, format, info};
use holdfast_tests::table::TableFile;
use tonic::{Response, Status, Streaming};

/// What each call came to.
pub(crate) type Calls = Vec<(&'static str, Result<(), Status>)>;

/// How messages name a repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming {
    pub(crate) repo_id: Option<RepoId>,
    pub(crate) repo_path: String,
}

impl Naming {
    /// As dolt does: by both.
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            repo_id: peer.repo_id(),
            repo_path: peer.path(),
        }
    }
}

/// A message that begins with the repository's name in its two forms.
macro_rules! named {
    ($message:ident, $naming:expr $(, $field:ident: $value:expr)*) => {
        $message {
            repo_id: $naming.repo_id.clone(),
            repo_path: $naming.repo_path.clone(),
            $($field: $value,)*
            ..$message::default()
        }
    };
}

/// The nine calls that read. `file` is the name of a table file to ask a new address for.
pub(crate) async fn reads(peer: &Peer, naming: &Naming, file: &str) -> Calls {
    let some_chunk = || vec![Bytes::from_static(&[7; 20])];
    let metadata = named!(GetRepoMetadataRequest, naming,
        client_repo_format: Some(format("__DOLT__", "5")));
    let has = named!(HasChunksRequest, naming, hashes: some_chunk());
    let download = named!(GetDownloadLocsRequest, naming, chunk_hashes: some_chunk());
    let legacy = futures::stream::iter([download.clone()]);
    let newer = futures::stream::iter([named!(StreamChunkLocationsRequest, naming,
        chunk_hashes: Bytes::from_static(&[7; 20]))]);
    let refresh = named!(RefreshTableFileUrlRequest, naming, file_id: file.to_owned());
    let mut rpc = peer.rpc();
    vec![
        (
            "GetRepoMetadata",
            outcome(rpc.get_repo_metadata(peer.request(metadata)).await),
        ),
        (
            "Root",
            outcome(rpc.root(peer.request(named!(RootRequest, naming))).await),
        ),
        (
            "HasChunks",
            outcome(rpc.has_chunks(peer.request(has)).await),
        ),
        (
            "GetDownloadLocations",
            outcome(rpc.get_download_locations(peer.request(download)).await),
        ),
        (
            "StreamDownloadLocations",
            drained(rpc.stream_download_locations(peer.request(legacy)).await).await,
        ),
        (
            "StreamChunkLocations",
            drained(rpc.stream_chunk_locations(peer.request(newer)).await).await,
        ),
        (
            "ListTableFiles",
            outcome(
                rpc.list_table_files(peer.request(named!(ListTableFilesRequest, naming)))
                    .await,
            ),
        ),
        (
            "RefreshTableFileUrl",
            outcome(rpc.refresh_table_file_url(peer.request(refresh)).await),
        ),
        (
            "Rebase",
            outcome(
                rpc.rebase(peer.request(named!(RebaseRequest, naming)))
                    .await,
            ),
        ),
    ]
}

/// The three calls that write; what they name was never stored.
pub(crate) async fn writes(peer: &Peer, naming: &Naming) -> Calls {
    let mut database = TinyDb::new();
    let file = TableFile::classic(&database.commit("main", "never stored"));
    let root = Bytes::copy_from_slice(database.root().as_bytes());
    let upload = named!(GetUploadLocsRequest, naming, table_file_details: vec![details(&file)]);
    let add = named!(AddTableFilesRequest, naming,
        client_repo_format: Some(format("__DOLT__", "5")),
        chunk_table_info: vec![info(&file)]);
    let commit = named!(CommitRequest, naming,
        current: root.clone(),
        last: root,
        client_repo_format: Some(format("__DOLT__", "5")));
    let mut rpc = peer.rpc();
    vec![
        (
            "GetUploadLocations",
            outcome(rpc.get_upload_locations(peer.request(upload)).await),
        ),
        (
            "AddTableFiles",
            outcome(rpc.add_table_files(peer.request(add)).await),
        ),
        ("Commit", outcome(rpc.commit(peer.request(commit)).await)),
    ]
}

fn outcome<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
    answer.map(|_| ())
}

async fn drained<T>(answer: Result<Response<Streaming<T>>, Status>) -> Result<(), Status> {
    let mut answers = answer?.into_inner();
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}
