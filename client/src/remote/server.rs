//! A repository on a server that speaks Dolt's remotes API.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::{CHUNK_FORMAT, ListedFile};
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_proto::remotesapi::{
    ClientRepoFormat, GetRepoMetadataRequest, ListTableFilesRequest, RepoId, RootRequest,
    TableFileInfo,
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use super::credentials::Credentials;
use super::error::{RemoteError, may_pass};
use super::retry::Budget;
use super::url::ServerUrl;
use super::{
    FileBody, ListedFiles, Metadata, OutgoingFile, Reach, Remote, RemoteChunk, RemoteFile, Swap,
    Uploaded,
};

/// The largest message that is taken, as Dolt's own client.
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// The storage version that we say we write.
const STORAGE_VERSION: &str = "5";

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of what a server says with a refusal is read.
const MAX_TOLD_BYTES: usize = 1024;

/// A repository on a server.
#[derive(Debug, Clone)]
pub struct Server {
    url: ServerUrl,
    calls: ChunkStoreServiceClient<Channel>,
    data: reqwest::Client,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Prepares to speak to a server; nothing is sent yet.
    pub fn new(
        url: ServerUrl,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RemoteError> {
        let connect = |source| RemoteError::Connect {
            endpoint: url.endpoint(),
            source,
        };
        let mut endpoint = Endpoint::from_shared(url.endpoint())
            .and_then(|endpoint| endpoint.user_agent(user_agent()))
            .map_err(connect)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_adaptive_window(true)
            .tcp_nodelay(true);
        if url.is_secure {
            // Older servers of dolt choose no protocol and speak HTTP/2 all the same.
            let tls = ClientTlsConfig::new()
                .with_native_roots()
                .assume_http2(true);
            endpoint = endpoint.tls_config(tls).map_err(connect)?;
        }
        let data = reqwest::Client::builder()
            .user_agent(user_agent())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(http("prepare to read data"))?;
        Ok(Self {
            calls: ChunkStoreServiceClient::new(endpoint.connect_lazy())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            url,
            data,
            credentials,
            clock,
        })
    }

    fn repo_id(&self) -> Option<RepoId> {
        let (org, repo_name) = self.url.owner_and_name()?;
        Some(RepoId {
            org: org.to_owned(),
            repo_name: repo_name.to_owned(),
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let now = self.clock.now().seconds();
        if let Some(value) = self.credentials.authorization(&self.url.host, now)
            && let Ok(mut value) = tonic::metadata::AsciiMetadataValue::try_from(value)
        {
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Makes a call, again where its failure may pass.
    async fn call<T, F>(
        &self,
        action: &'static str,
        attempt: impl Fn(ChunkStoreServiceClient<Channel>) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut budget = Budget::new();
        loop {
            let status = match attempt(self.calls.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if !may_pass(status.code()) || !budget.wait(&*self.clock).await {
                let status = Box::new(status);
                return Err(RemoteError::Call { action, status });
            }
        }
    }
}

#[async_trait]
impl Remote for Server {
    fn address(&self) -> String {
        self.url.to_string()
    }

    async fn metadata(&self) -> Result<Metadata, RemoteError> {
        let message = GetRepoMetadataRequest {
            repo_id: self.repo_id(),
            repo_path: self.url.repo_path.clone(),
            client_repo_format: Some(ClientRepoFormat {
                nbf_version: CHUNK_FORMAT.to_owned(),
                nbs_version: STORAGE_VERSION.to_owned(),
            }),
            ..GetRepoMetadataRequest::default()
        };
        let answer = self
            .call("ask for the repository's metadata", |mut calls| {
                let request = self.request(message.clone());
                async move { calls.get_repo_metadata(request).await }
            })
            .await?;
        if answer.nbf_version != CHUNK_FORMAT {
            return Err(RemoteError::Format {
                format: answer.nbf_version.chars().take(32).collect(),
            });
        }
        Ok(Metadata {
            size: answer.storage_size,
            working_sets: super::WorkingSets::Ignored,
            takes_archives: false,
        })
    }

    async fn root(&self) -> Result<RootAddress, RemoteError> {
        let action = "ask for the root";
        let message = RootRequest {
            repo_id: self.repo_id(),
            repo_path: self.url.repo_path.clone(),
            ..RootRequest::default()
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.root(request).await }
            })
            .await?;
        root_of(action, &answer.root_hash)
    }

    async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        let action = "list the table files";
        let message = ListTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.url.repo_path.clone(),
            ..ListTableFilesRequest::default()
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.list_table_files(request).await }
            })
            .await?;
        // What the appendix names lies in the other files as well.
        let appendix: Vec<_> = answer
            .appendix_table_file_info
            .iter()
            .map(|file| &file.file_id)
            .collect();
        let listed = answer.table_file_info.iter();
        let listed = listed.filter(|file| !appendix.contains(&&file.file_id));
        Ok(ListedFiles {
            root: root_of(action, &answer.root_hash)?,
            files: listed
                .map(|file| remote_file(action, file))
                .collect::<Result<_, _>>()?,
        })
    }

    async fn read_file(&self, file: &RemoteFile, offset: u64) -> Result<FileBody, RemoteError> {
        let action = "read a table file";
        let mut request = self.data.get(&file.place);
        if offset > 0 {
            request = request.header(reqwest::header::RANGE, format!("bytes={offset}-"));
        }
        let response = request.send().await.map_err(http(action))?;
        let status = response.status().as_u16();
        match (status, offset) {
            (200, _) => {}
            (206, 1..) => check_range(action, &response, offset)?,
            _ => return Err(refusal(action, response).await),
        }
        let begins_at = if status == 206 { offset } else { 0 };
        let rest = response.content_length();
        Ok(FileBody {
            begins_at,
            len: rest.map(|rest| begins_at + rest),
            bytes: Box::pin(futures::TryStreamExt::map_err(
                response.bytes_stream(),
                http(action),
            )),
        })
    }

    async fn absent(&self, _addresses: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError> {
        todo!()
    }

    async fn read(
        &self,
        _addresses: &[ChunkAddress],
        _reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        todo!()
    }

    async fn upload(&self, _file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        todo!()
    }

    async fn add_files(&self, _files: &[ListedFile]) -> Result<(), RemoteError> {
        todo!()
    }

    async fn commit(
        &self,
        _root: RootAddress,
        _last: RootAddress,
        _files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        todo!()
    }
}

fn user_agent() -> String {
    format!("holdfast/{}", env!("CARGO_PKG_VERSION"))
}

/// The error of a request for data, without its address.
fn http(action: &'static str) -> impl Fn(reqwest::Error) -> RemoteError {
    move |source| RemoteError::Http {
        action,
        source: source.without_url(),
    }
}

async fn refusal(action: &'static str, response: reqwest::Response) -> RemoteError {
    let status = response.status().as_u16();
    let text = match futures::StreamExt::next(&mut response.bytes_stream()).await {
        Some(Ok(bytes)) => {
            let told = &bytes[..bytes.len().min(MAX_TOLD_BYTES)];
            String::from_utf8_lossy(told).into_owned()
        }
        _ => String::new(),
    };
    RemoteError::Status {
        action,
        status,
        text,
    }
}

/// Checks that an answer to a range is that range.
fn check_range(
    action: &'static str,
    response: &reqwest::Response,
    offset: u64,
) -> Result<(), RemoteError> {
    let range = response.headers().get(reqwest::header::CONTENT_RANGE);
    let range = range
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    let begins = range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'));
    let begins = begins.and_then(|(begins, _)| begins.trim().parse::<u64>().ok());
    if begins == Some(offset) {
        return Ok(());
    }
    Err(RemoteError::Answer {
        action,
        what: format!("another range than from {offset} on"),
    })
}

fn root_of(action: &'static str, hash: &[u8]) -> Result<RootAddress, RemoteError> {
    RootAddress::try_from(hash).map_err(|_| RemoteError::Answer {
        action,
        what: format!("a root of {} bytes", hash.len()),
    })
}

fn remote_file(action: &'static str, file: &TableFileInfo) -> Result<RemoteFile, RemoteError> {
    // Very old servers name the generation too.
    let name = file
        .file_id
        .strip_prefix("oldgen/")
        .unwrap_or(&file.file_id);
    let id: TableFileId = name.parse().map_err(|_| RemoteError::Answer {
        action,
        what: format!(
            "a file of the name {:?}",
            name.chars().take(64).collect::<String>()
        ),
    })?;
    let path = file.url.split(['?', '#']).next().unwrap_or_default();
    Ok(RemoteFile {
        id,
        chunks: file.num_chunks,
        // Dolt tells by nothing else.
        kind: match path.ends_with(".darc") {
            true => FileKind::Archive,
            false => FileKind::Table,
        },
        place: file.url.clone(),
    })
}
