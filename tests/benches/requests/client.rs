//! As much of a client of the remotes API as is measured.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use holdfast_chunkstore::format::table::Writer;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_proto::remotesapi::{
    AddTableFilesRequest, ChunkTableInfo, ClientRepoFormat, CommitRequest, GetUploadLocsRequest,
    HasChunksRequest, ListTableFilesRequest, ListTableFilesResponse, RepoId, RootRequest,
    StreamChunkLocationsRequest, TableFileDetails, upload_loc,
};
use holdfast_tests::table::BigFile;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// A client of one repository.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    rpc: ChunkStoreServiceClient<Channel>,
    path: String,
}

/// What a clone takes.
#[derive(Debug)]
pub(crate) struct CloneCost {
    /// The root that is cloned.
    pub(crate) root: Bytes,
    /// Table files that are read.
    pub(crate) files: usize,
    /// All bytes that come: the list of files, and the files with their headers.
    pub(crate) bytes: f64,
}

impl Client {
    pub(crate) fn new(url: &str, path: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?;
        let channel = endpoint
            .user_agent("dolt_cli 2.3.1 linux amd64")?
            .connect_lazy();
        Ok(Self {
            rpc: ChunkStoreServiceClient::new(channel).max_decoding_message_size(64 << 20),
            path: path.to_owned(),
        })
    }

    fn repo_id(&self) -> Option<RepoId> {
        let (org, repo_name) = self.path.split_once('/')?;
        Some(RepoId {
            org: org.to_owned(),
            repo_name: repo_name.to_owned(),
        })
    }

    /// How many of these the server says it lacks.
    pub(crate) async fn count_absent(&self, addresses: &[ChunkAddress]) -> Result<usize> {
        let hashes = addresses.iter();
        let message = HasChunksRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            hashes: hashes
                .map(|address| Bytes::copy_from_slice(address.as_bytes()))
                .collect(),
            ..HasChunksRequest::default()
        };
        let answer = self.rpc.clone().has_chunks(message).await?;
        Ok(answer.into_inner().absent.len())
    }

    /// How many of these the server locates, all asked on one stream.
    pub(crate) async fn count_located(
        &self,
        batches: impl Iterator<Item = &[ChunkAddress]>,
    ) -> Result<usize> {
        let requests: Vec<StreamChunkLocationsRequest> = batches
            .map(|batch| StreamChunkLocationsRequest {
                repo_id: self.repo_id(),
                repo_path: self.path.clone(),
                chunk_hashes: batch
                    .iter()
                    .flat_map(|address| *address.as_bytes())
                    .collect(),
                ..StreamChunkLocationsRequest::default()
            })
            .collect();
        let asked = self.rpc.clone();
        let answers = { asked }
            .stream_chunk_locations(stream::iter(requests))
            .await?;
        let mut answers = answers.into_inner();
        let mut located = 0;
        while let Some(answer) = answers.next().await {
            located += answer?.locations.len();
        }
        Ok(located)
    }

    /// Pushes chunks as one table file and moves the root to that of `database`.
    pub(crate) async fn push(&self, database: &TinyDb, chunks: &[Bytes]) -> Result<()> {
        let last = self.root().await?;
        let mut writer = Writer::new(Vec::new());
        for chunk in chunks {
            writer.append_chunk(address_of(chunk), chunk)?;
        }
        let (file, written) = writer.finish()?;
        let id = Bytes::copy_from_slice(written.id.as_bytes());
        let details = TableFileDetails {
            id: id.clone(),
            content_length: written.len,
            content_hash: Bytes::from(written.md5.map(Vec::from).unwrap_or_default()),
            num_chunks: u64::from(written.count),
            split_offset: written.data_len,
            ..TableFileDetails::default()
        };
        let answer = send("PUT", &self.upload_url(details).await?, &file).await?;
        ensure!(answer.status.starts_with('2'), "{}", answer.status);
        self.add(id, written.count).await?;
        let commit = CommitRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            current: Bytes::copy_from_slice(database.root().as_bytes()),
            last,
            client_repo_format: Some(format()),
            ..CommitRequest::default()
        };
        let moved = self.rpc.clone().commit(commit).await?;
        ensure!(moved.into_inner().success, "the root did not move");
        Ok(())
    }

    async fn root(&self) -> Result<Bytes> {
        let message = RootRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            ..RootRequest::default()
        };
        let root = self.rpc.clone().root(message).await?.into_inner().root_hash;
        ensure!(
            root.len() == RootAddress::ZERO.as_bytes().len(),
            "a root has 20 bytes"
        );
        Ok(root)
    }

    /// Uploads a made file piece by piece and adds it.
    pub(crate) async fn upload_pieces(&self, file: &BigFile) -> Result<()> {
        let details = TableFileDetails {
            id: file.id.clone(),
            content_length: file.len,
            num_chunks: u64::from(file.chunks),
            ..TableFileDetails::default()
        };
        let url = self.upload_url(details).await?;
        let mut connection = begin("PUT", &url, file.len).await?;
        for piece in file.pieces() {
            connection.write_all(&piece).await?;
        }
        connection.flush().await?;
        let answer = end(connection).await?;
        ensure!(answer.status.starts_with('2'), "{}", answer.status);
        self.add(file.id.clone(), file.chunks).await
    }

    async fn add(&self, id: Bytes, chunk_count: u32) -> Result<()> {
        let info = ChunkTableInfo {
            hash: id,
            chunk_count,
        };
        let add = AddTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            client_repo_format: Some(format()),
            chunk_table_info: vec![info],
            ..AddTableFilesRequest::default()
        };
        let added = self.rpc.clone().add_table_files(add).await?;
        ensure!(added.into_inner().success, "the file was not added");
        Ok(())
    }

    async fn upload_url(&self, details: TableFileDetails) -> Result<String> {
        let message = GetUploadLocsRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            table_file_details: vec![details],
            ..GetUploadLocsRequest::default()
        };
        let answer = self.rpc.clone().get_upload_locations(message).await?;
        let location = answer.into_inner().locs.pop().context("one location")?;
        let Some(upload_loc::Location::HttpPost(post)) = location.location else {
            bail!("the server says that it has the file already");
        };
        Ok(post.url)
    }

    /// How many bytes the files have that a clone reads, none of which is kept.
    pub(crate) async fn clone_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for file in self.files().await?.table_file_info {
            let mut connection = begin("GET", &file.url, 0).await?;
            connection.flush().await?;
            bytes += tokio::io::copy(&mut connection, &mut tokio::io::sink()).await?;
        }
        Ok(bytes)
    }

    async fn files(&self) -> Result<ListTableFilesResponse> {
        let message = ListTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.path.clone(),
            ..ListTableFilesRequest::default()
        };
        let answer = self.rpc.clone().list_table_files(message).await?;
        Ok(answer.into_inner())
    }

    /// Reads all that a clone reads.
    pub(crate) async fn clone_cost(&self) -> Result<CloneCost> {
        let list = self.files().await?;
        let mut bytes = list.encoded_len();
        for file in &list.table_file_info {
            let answer = send("GET", &file.url, &[]).await?;
            ensure!(answer.status.starts_with('2'), "{}", answer.status);
            bytes += answer.len;
        }
        Ok(CloneCost {
            root: list.root_hash,
            files: list.table_file_info.len(),
            bytes: f64::from(u32::try_from(bytes)?),
        })
    }
}

struct Answer {
    /// Code and reason.
    status: String,
    /// Of headers and body.
    len: usize,
}

fn format() -> ClientRepoFormat {
    ClientRepoFormat {
        nbf_version: "__DOLT__".to_owned(),
        nbs_version: "5".to_owned(),
    }
}

/// One request on a connection of its own.
async fn send(method: &str, url: &str, body: &[u8]) -> Result<Answer> {
    let mut connection = begin(method, url, body.len() as u64).await?;
    connection.write_all(body).await?;
    connection.flush().await?;
    end(connection).await
}

/// Sends the head of a request whose body has `len` bytes.
async fn begin(method: &str, url: &str, len: u64) -> Result<BufStream<TcpStream>> {
    let rest = url.strip_prefix("http://").context("a plain address")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    let mut connection =
        BufStream::with_capacity(64 << 10, 64 << 10, TcpStream::connect(host).await?);
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n",
    );
    connection.write_all(head.as_bytes()).await?;
    Ok(connection)
}

/// Reads the whole answer.
async fn end(mut connection: BufStream<TcpStream>) -> Result<Answer> {
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let line = answer.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    let (_, status) = line.split_once(' ').context("a status")?;
    Ok(Answer {
        status: status.to_owned(),
        len: answer.len(),
    })
}
