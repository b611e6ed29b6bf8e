//! A client of the remotes API that does one call at a time, right or wrong, as the test wants.

use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_proto::remotesapi::stream_chunk_locations_response::{ChunkLocation, TableFileRecord};
use holdfast_proto::remotesapi::{
    AddTableFilesRequest, AddTableFilesResponse, ChunkTableInfo, ClientRepoFormat, CommitRequest,
    GetRepoMetadataRequest, GetRepoMetadataResponse, GetUploadLocsRequest, HasChunksRequest,
    ListTableFilesRequest, ListTableFilesResponse, RangeChunk, RepoId, RootRequest,
    StreamChunkLocationsRequest, StreamChunkLocationsResponse, TableFileDetails, UploadLoc,
    upload_loc,
};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::table::{self, TableFile};
use crate::web::{self, Answer};

/// What today's dolt calls itself.
pub const TODAYS_DOLT: &str = "dolt_cli 2.3.1 linux amd64";

/// The longest answer that a client takes.
pub const MAX_MESSAGE: usize = 128 << 20;

/// A client of one repository.
#[derive(Debug, Clone)]
pub struct Peer {
    rpc: ChunkStoreServiceClient<Channel>,
    path: String,
    metadata: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
}

impl Peer {
    /// A client of the repository `path` at a server, such as `http://localhost:1234`.
    pub fn new(base_url: &str, path: &str) -> Self {
        Self::calling_itself(TODAYS_DOLT, base_url, path)
    }

    /// The same, with another user agent.
    pub fn calling_itself(user_agent: &str, base_url: &str, path: &str) -> Self {
        let endpoint = Endpoint::from_shared(base_url.to_owned()).unwrap();
        let channel = endpoint.user_agent(user_agent).unwrap().connect_lazy();
        let rpc = ChunkStoreServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(2 * MAX_MESSAGE);
        Self {
            rpc,
            path: path.to_owned(),
            metadata: Vec::new(),
        }
    }

    /// The same server, another repository.
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// The same, with a header on every call.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut peer = self.clone();
        peer.metadata
            .push((name.parse().unwrap(), value.parse().unwrap()));
        peer
    }

    /// The same, with a user name and a password.
    pub fn with_password(&self, user: &str, password: &str) -> Self {
        let encoded = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        self.with("authorization", &format!("Basic {encoded}"))
    }

    /// The same, with a Bearer.
    pub fn with_bearer(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The repository's path.
    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// The repository's name in two parts.
    pub fn repo_id(&self) -> Option<RepoId> {
        let (org, repo_name) = self.path.split_once('/')?;
        Some(RepoId {
            org: org.to_owned(),
            repo_name: repo_name.to_owned(),
        })
    }

    /// The generated client, for calls that have no method here.
    pub fn rpc(&self) -> ChunkStoreServiceClient<Channel> {
        self.rpc.clone()
    }

    /// Puts this peer's headers on a message.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.metadata {
            request.metadata_mut().append(name.clone(), value.clone());
        }
        request
    }

    /// GetRepoMetadata, as dolt sends it.
    pub async fn metadata(&self) -> Result<GetRepoMetadataResponse, Status> {
        self.metadata_for(Some(format("__DOLT__", "5"))).await
    }

    /// GetRepoMetadata with any format.
    pub async fn metadata_for(
        &self,
        client_repo_format: Option<ClientRepoFormat>,
    ) -> Result<GetRepoMetadataResponse, Status> {
        let message = GetRepoMetadataRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            client_repo_format,
            ..GetRepoMetadataRequest::default()
        };
        let answer = self.rpc().get_repo_metadata(self.request(message)).await?;
        Ok(answer.into_inner())
    }

    /// Root.
    pub async fn root(&self) -> Result<RootAddress, Status> {
        let message = RootRequest {
            repo_path: self.path(),
            repo_id: self.repo_id(),
            ..RootRequest::default()
        };
        let answer = self.rpc().root(self.request(message)).await?.into_inner();
        Ok(RootAddress::try_from(&answer.root_hash[..]).expect("a root has 20 bytes"))
    }

    /// HasChunks of any byte strings; returns the absent indexes.
    pub async fn absent(&self, hashes: Vec<Bytes>) -> Result<Vec<i32>, Status> {
        let message = HasChunksRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            hashes,
            ..HasChunksRequest::default()
        };
        Ok(self
            .rpc()
            .has_chunks(self.request(message))
            .await?
            .into_inner()
            .absent)
    }

    /// Whether each of these chunks is present.
    pub async fn has(&self, addresses: &[ChunkAddress]) -> Vec<bool> {
        let absent = self.absent(hashes(addresses)).await.unwrap();
        let mut present = vec![true; addresses.len()];
        for index in absent {
            present[usize::try_from(index).unwrap()] = false;
        }
        present
    }

    /// GetUploadLocations of these files.
    pub async fn upload_locations(
        &self,
        details: Vec<TableFileDetails>,
    ) -> Result<Vec<UploadLoc>, Status> {
        let message = GetUploadLocsRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            table_file_details: details,
            ..GetUploadLocsRequest::default()
        };
        Ok(self
            .rpc()
            .get_upload_locations(self.request(message))
            .await?
            .into_inner()
            .locs)
    }

    /// The address to put a file to; `None` where the server has it already.
    pub async fn upload_url(&self, file: &TableFile) -> Result<Option<String>, Status> {
        let mut locations = self.upload_locations(vec![details(file)]).await?;
        assert_eq!(locations.len(), 1, "one file, one location");
        Ok(url_of(&locations.remove(0)))
    }

    /// Uploads a file like dolt does; a server that has it already gets nothing.
    pub async fn upload(&self, file: &TableFile) -> Option<Answer> {
        let url = self.upload_url(file).await.unwrap()?;
        let md5 = data_encoding::BASE64.encode(&file.md5());
        Some(
            web::send(
                http::Method::PUT,
                &url,
                &[("content-md5", &md5)],
                file.bytes.clone(),
            )
            .await,
        )
    }

    /// Uploads a file that must be taken.
    pub async fn store(&self, file: &TableFile) {
        if let Some(answer) = self.upload(file).await {
            assert!(
                answer.status.is_success(),
                "{}: {}",
                answer.status,
                answer.text()
            );
        }
    }

    /// AddTableFiles.
    pub async fn add(&self, files: &[&TableFile]) -> Result<AddTableFilesResponse, Status> {
        self.add_infos(files.iter().map(|file| info(file)).collect())
            .await
    }

    /// AddTableFiles of anything.
    pub async fn add_infos(
        &self,
        chunk_table_info: Vec<ChunkTableInfo>,
    ) -> Result<AddTableFilesResponse, Status> {
        let message = AddTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            client_repo_format: Some(format("__DOLT__", "5")),
            chunk_table_info,
            ..AddTableFilesRequest::default()
        };
        Ok(self
            .rpc()
            .add_table_files(self.request(message))
            .await?
            .into_inner())
    }

    /// Commit.
    pub async fn commit(
        &self,
        current: RootAddress,
        last: RootAddress,
        files: &[&TableFile],
    ) -> Result<bool, Status> {
        let message = CommitRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            current: Bytes::copy_from_slice(current.as_bytes()),
            last: Bytes::copy_from_slice(last.as_bytes()),
            chunk_table_info: files.iter().map(|file| info(file)).collect(),
            client_repo_format: Some(format("__DOLT__", "5")),
        };
        Ok(self
            .rpc()
            .commit(self.request(message))
            .await?
            .into_inner()
            .success)
    }

    /// Pushes new chunks of a database as one file and moves the root to the database's; it must succeed.
    pub async fn push(&self, database: &TinyDb, fresh: &[Bytes]) -> TableFile {
        let last = self.root().await.unwrap();
        let file = TableFile::classic(fresh);
        self.store(&file).await;
        assert!(self.add(&[&file]).await.unwrap().success);
        assert!(
            self.commit(database.root(), last, &[]).await.unwrap(),
            "the root moves"
        );
        file
    }

    /// ListTableFiles.
    pub async fn files(&self) -> Result<ListTableFilesResponse, Status> {
        let message = ListTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            ..ListTableFilesRequest::default()
        };
        Ok(self
            .rpc()
            .list_table_files(self.request(message))
            .await?
            .into_inner())
    }

    /// One request on the newer stream, for this repository.
    pub fn locations_request(&self, addresses: &[ChunkAddress]) -> StreamChunkLocationsRequest {
        StreamChunkLocationsRequest {
            repo_id: self.repo_id(),
            repo_path: self.path(),
            chunk_hashes: flat(addresses),
            ..StreamChunkLocationsRequest::default()
        }
    }

    /// Sends all requests on one newer stream and returns all answers.
    pub async fn locations(
        &self,
        requests: Vec<StreamChunkLocationsRequest>,
    ) -> Result<Vec<StreamChunkLocationsResponse>, Status> {
        let stream = self.request(futures::stream::iter(requests));
        let mut answers = self
            .rpc()
            .stream_chunk_locations(stream)
            .await?
            .into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.next().await {
            all.push(answer?);
        }
        Ok(all)
    }

    /// Where one chunk lies; `None` where it is missing.
    pub async fn locate(&self, address: ChunkAddress) -> Option<(TableFileRecord, ChunkLocation)> {
        let mut answers = self
            .locations(vec![self.locations_request(&[address])])
            .await
            .unwrap();
        assert_eq!(answers.len(), 1, "one request, one answer");
        let answer = answers.remove(0);
        let Some(location) = answer.locations.into_iter().next() else {
            assert_eq!(answer.missing_indexes, [0]);
            return None;
        };
        let file = answer
            .table_files
            .into_iter()
            .find(|file| file.table_file_id == location.table_file_id);
        Some((file.expect("the file is introduced"), location))
    }

    /// Reads a chunk as dolt does: locate it, get its range, decode it. Its address is checked.
    pub async fn read(&self, address: ChunkAddress) -> Option<Bytes> {
        let (file, location) = self.locate(address).await?;
        let chunk = chunk_at(&file.url, &Span::from(&location)).await;
        assert_eq!(address_of(&chunk), address, "the bytes of another chunk");
        Some(chunk)
    }
}

/// Where a stored chunk lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub len: u32,
    /// The first byte of its dictionary.
    pub dictionary_offset: u64,
    /// The length of its dictionary; 0 for none.
    pub dictionary_len: u32,
}

impl From<&ChunkLocation> for Span {
    fn from(location: &ChunkLocation) -> Self {
        Self {
            offset: location.offset,
            len: location.length,
            dictionary_offset: location.dictionary_offset,
            dictionary_len: location.dictionary_length,
        }
    }
}

impl From<&RangeChunk> for Span {
    fn from(range: &RangeChunk) -> Self {
        Self {
            offset: range.offset,
            len: range.length,
            dictionary_offset: range.dictionary_offset,
            dictionary_len: range.dictionary_length,
        }
    }
}

/// Gets and decodes the chunk at a place of a file.
pub async fn chunk_at(url: &str, span: &Span) -> Bytes {
    let stored = exact_range(url, span.offset, span.len).await;
    if span.dictionary_len == 0 {
        return table::read_record(&stored);
    }
    let dictionary = exact_range(url, span.dictionary_offset, span.dictionary_len).await;
    table::read_frame(&stored, &dictionary)
}

async fn exact_range(url: &str, offset: u64, len: u32) -> Bytes {
    let answer = web::get_range(url, offset, offset + u64::from(len) - 1).await;
    assert_eq!(
        answer.status,
        http::StatusCode::PARTIAL_CONTENT,
        "{}",
        answer.text()
    );
    assert_eq!(answer.body.len(), usize::try_from(len).unwrap());
    answer.body
}

/// A format as clients send it.
pub fn format(nbf: &str, nbs: &str) -> ClientRepoFormat {
    ClientRepoFormat {
        nbf_version: nbf.to_owned(),
        nbs_version: nbs.to_owned(),
    }
}

/// What a client says of a file before it uploads it.
pub fn details(file: &TableFile) -> TableFileDetails {
    TableFileDetails {
        id: file.id.clone(),
        content_length: u64::try_from(file.bytes.len()).unwrap(),
        content_hash: file.md5(),
        num_chunks: u64::from(file.chunks),
        suffix: file.suffix.to_owned(),
        split_offset: file.split_offset,
    }
}

/// How AddTableFiles and Commit name a file.
pub fn info(file: &TableFile) -> ChunkTableInfo {
    ChunkTableInfo {
        hash: file.id.clone(),
        chunk_count: file.chunks,
    }
}

/// The address in an upload location.
pub fn url_of(location: &UploadLoc) -> Option<String> {
    location
        .location
        .as_ref()
        .map(|upload_loc::Location::HttpPost(post)| post.url.clone())
}

/// Addresses as messages have them.
pub fn hashes(addresses: &[ChunkAddress]) -> Vec<Bytes> {
    addresses
        .iter()
        .map(|address| Bytes::copy_from_slice(address.as_bytes()))
        .collect()
}

/// Addresses one behind the other.
pub fn flat(addresses: &[ChunkAddress]) -> Bytes {
    addresses
        .iter()
        .flat_map(|address| address.as_bytes())
        .copied()
        .collect()
}
