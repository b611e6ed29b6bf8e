//! The calls of `ChunkStoreService`, a few lines each.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::repo::RepoName;
use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::chunk_store_service_server::ChunkStoreService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::budget::Share;
use super::convert;
use super::door::MAX_FILES;
use super::status::status;
use super::streams::{self, ChunkLocations, DownloadLocations};
use crate::forge::{Caller, Forge, ForgeError, error};
use crate::transport::ClientWait;

/// How many bytes a file of an answer takes, once as a value and once as it is sent, if its address has 1,000.
const LISTED_LEN: usize = 4 << 10;

/// Serves `ChunkStoreService`.
#[derive(Debug, Clone)]
pub struct Chunks {
    /// The domain.
    pub forge: Arc<Forge>,
    /// Set when the server is asked to stop.
    pub stopping: CancellationToken,
}

/// What is said of a call that the door did not let in.
const NO_DOOR: &str = "a call that passed no door";

/// A call, understood: its caller, its message, and what it takes in memory.
struct Call<T> {
    caller: Caller,
    message: T,
    share: Share,
    wait: ClientWait,
}

impl Chunks {
    fn call<T>(request: Request<T>) -> Result<Call<T>, Status> {
        let (_, extensions, message) = request.into_parts();
        let (caller, share) = (extensions.get::<Caller>(), extensions.get::<Share>());
        let wait = extensions.get::<ClientWait>().cloned();
        match (caller.cloned(), share.cloned()) {
            (Some(caller), Some(share)) => Ok(Call {
                caller,
                message,
                share,
                wait: wait.unwrap_or_default(),
            }),
            _ => Err(Status::internal(NO_DOOR)),
        }
    }

    async fn metadata(
        &self,
        call: Call<wire::GetRepoMetadataRequest>,
    ) -> Result<wire::GetRepoMetadataResponse, ForgeError> {
        let name = named(&call.message)?;
        let nbs_version = convert::client_format(call.message.client_repo_format.as_ref())?;
        let metadata = self.forge.metadata(&call.caller, &name).await?;
        let features = if metadata.stream_chunk_locations {
            vec![wire::Feature::StreamChunkLocations.into()]
        } else {
            Vec::new()
        };
        Ok(wire::GetRepoMetadataResponse {
            nbf_version: convert::CHUNK_FORMAT.to_owned(),
            nbs_version,
            storage_size: metadata.stored_len,
            repo_token: String::new(),
            push_concurrency_control: wire::PushConcurrencyControl::IgnoreWorkingSet.into(),
            features,
        })
    }

    async fn absent(
        &self,
        call: Call<wire::HasChunksRequest>,
    ) -> Result<wire::HasChunksResponse, ForgeError> {
        let name = named(&call.message)?;
        let addresses = convert::addresses("hashes", &call.message.hashes)?;
        let absent = self.forge.absent(&call.caller, &name, &addresses).await?;
        let absent: Vec<(i32, ChunkAddress)> = (0_i32..)
            .zip(addresses.into_iter().zip(absent))
            .filter(|(_, (_, absent))| *absent)
            .map(|(i, (address, _))| (i, address))
            .collect();
        // Of an address that is asked for twice only the last place is answered, as dolt's own server does.
        let last: HashMap<ChunkAddress, i32> =
            absent.iter().map(|(i, address)| (*address, *i)).collect();
        let absent = absent
            .into_iter()
            .filter(|(i, address)| last.get(address) == Some(i))
            .map(|(i, _)| i)
            .collect();
        Ok(wire::HasChunksResponse {
            absent,
            repo_token: String::new(),
        })
    }

    async fn download_locations(
        &self,
        call: Call<wire::GetDownloadLocsRequest>,
    ) -> Result<wire::GetDownloadLocsResponse, ForgeError> {
        let name = named(&call.message)?;
        let Call {
            caller, message, ..
        } = call;
        let response = streams::download_locations(&self.forge, &caller, &name, &message).await?;
        if streams::needs_dictionaries(&response) {
            return Err(ForgeError::Refused {
                reason:
                    "these chunks need a dictionary, which this call cannot tell: use a newer dolt"
                        .to_owned(),
            });
        }
        Ok(response)
    }

    async fn upload_locations(
        &self,
        call: Call<wire::GetUploadLocsRequest>,
    ) -> Result<wire::GetUploadLocsResponse, ForgeError> {
        let name = named(&call.message)?;
        if call.message.table_file_details.is_empty() {
            return Err(ForgeError::Refused {
                reason: "table_file_details is empty: this dolt is too old to push here".to_owned(),
            });
        }
        if call.message.table_file_details.len() > MAX_FILES {
            return Err(ForgeError::invalid(format!(
                "table_file_details names more than {MAX_FILES} files"
            )));
        }
        let details = call.message.table_file_details.iter().enumerate();
        let files: Vec<_> = details
            .map(|(i, details)| convert::declared_file(i, details))
            .collect::<Result<_, _>>()?;
        let mut locs = Vec::with_capacity(files.len());
        for file in files {
            let table_file_hash = Bytes::copy_from_slice(file.id.as_bytes());
            let url = self.forge.offer_upload(&call.caller, &name, file).await?;
            let location = url
                .map(|url| wire::upload_loc::Location::HttpPost(wire::HttpPostTableFile { url }));
            locs.push(wire::UploadLoc {
                table_file_hash,
                location,
            });
        }
        Ok(wire::GetUploadLocsResponse {
            locs,
            repo_token: String::new(),
        })
    }

    async fn list(
        &self,
        call: Call<wire::ListTableFilesRequest>,
    ) -> Result<wire::ListTableFilesResponse, ForgeError> {
        let Call {
            caller,
            message,
            share,
            ..
        } = call;
        let name = named(&message)?;
        drop(message);
        let listing = self.forge.listing(&caller, &name).await?;
        share.take_to_answer(listing.files.len() * LISTED_LEN).await;
        let mut table_file_info = Vec::with_capacity(listing.files.len());
        for file in &listing.files {
            let address = self.forge.data_url(&caller, file).await?;
            table_file_info.push(wire::TableFileInfo {
                file_id: file.file.id.to_string(),
                num_chunks: file.file.chunks,
                url: address.url,
                refresh_after: Some(convert::timestamp(address.refresh_after)),
                refresh_request: Some(streams::refresh_request(&name, file)),
                split_offset: file.file.split_offset,
            });
        }
        Ok(wire::ListTableFilesResponse {
            root_hash: Bytes::copy_from_slice(listing.root.as_bytes()),
            table_file_info,
            appendix_table_file_info: Vec::new(),
            repo_token: String::new(),
        })
    }

    /// Compares a file with what was taken in, for a client to whom wrong bytes came.
    async fn check_and_refresh(
        &self,
        call: Call<wire::RefreshTableFileUrlRequest>,
    ) -> Result<wire::RefreshTableFileUrlResponse, ForgeError> {
        let (name, file) = (named(&call.message)?, &call.message.file_id);
        self.forge.check_file(&call.caller, &name, file).await?;
        self.refresh(call).await
    }

    async fn refresh(
        &self,
        call: Call<wire::RefreshTableFileUrlRequest>,
    ) -> Result<wire::RefreshTableFileUrlResponse, ForgeError> {
        let name = named(&call.message)?;
        if call.message.file_id.is_empty() {
            return Err(ForgeError::invalid("expected file_id"));
        }
        let address = self
            .forge
            .refresh(&call.caller, &name, &call.message.file_id)
            .await?;
        Ok(wire::RefreshTableFileUrlResponse {
            url: address.url,
            refresh_after: Some(convert::timestamp(address.refresh_after)),
            repo_token: String::new(),
        })
    }
}

/// The repository that a message names; the call's span tells it from here on.
fn named(message: &impl convert::NamesRepository) -> Result<RepoName, ForgeError> {
    let name = convert::repo_name(message)?;
    tracing::Span::current().record("repo", tracing::field::display(&name));
    Ok(name)
}

fn answer<T>(result: Result<T, ForgeError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status(&error))
}

#[tonic::async_trait]
impl ChunkStoreService for Chunks {
    async fn get_repo_metadata(
        &self,
        request: Request<wire::GetRepoMetadataRequest>,
    ) -> Result<Response<wire::GetRepoMetadataResponse>, Status> {
        answer(self.metadata(Self::call(request)?).await)
    }

    async fn has_chunks(
        &self,
        request: Request<wire::HasChunksRequest>,
    ) -> Result<Response<wire::HasChunksResponse>, Status> {
        answer(self.absent(Self::call(request)?).await)
    }

    async fn get_download_locations(
        &self,
        request: Request<wire::GetDownloadLocsRequest>,
    ) -> Result<Response<wire::GetDownloadLocsResponse>, Status> {
        answer(self.download_locations(Self::call(request)?).await)
    }

    type StreamDownloadLocationsStream =
        BoxStream<'static, Result<wire::GetDownloadLocsResponse, Status>>;

    async fn stream_download_locations(
        &self,
        request: Request<Streaming<wire::GetDownloadLocsRequest>>,
    ) -> Result<Response<Self::StreamDownloadLocationsStream>, Status> {
        let Call {
            caller,
            message,
            share,
            wait,
        } = Self::call(request)?;
        let answerer = DownloadLocations::new(Arc::clone(&self.forge), caller);
        Ok(Response::new(streams::answers(
            message,
            answerer,
            share,
            wait,
            self.stopping.clone(),
        )))
    }

    type StreamChunkLocationsStream =
        BoxStream<'static, Result<wire::StreamChunkLocationsResponse, Status>>;

    async fn stream_chunk_locations(
        &self,
        request: Request<Streaming<wire::StreamChunkLocationsRequest>>,
    ) -> Result<Response<Self::StreamChunkLocationsStream>, Status> {
        let Call {
            caller,
            message,
            share,
            wait,
        } = Self::call(request)?;
        let answerer = ChunkLocations::new(Arc::clone(&self.forge), caller);
        Ok(Response::new(streams::answers(
            message,
            answerer,
            share,
            wait,
            self.stopping.clone(),
        )))
    }

    async fn get_upload_locations(
        &self,
        request: Request<wire::GetUploadLocsRequest>,
    ) -> Result<Response<wire::GetUploadLocsResponse>, Status> {
        answer(self.upload_locations(Self::call(request)?).await)
    }

    async fn rebase(
        &self,
        request: Request<wire::RebaseRequest>,
    ) -> Result<Response<wire::RebaseResponse>, Status> {
        let Call {
            caller, message, ..
        } = Self::call(request)?;
        let name = named(&message).map_err(|error| status(&error))?;
        let root = self.forge.root(&caller, &name).await;
        answer(root.map(|_| wire::RebaseResponse::default()))
    }

    async fn root(
        &self,
        request: Request<wire::RootRequest>,
    ) -> Result<Response<wire::RootResponse>, Status> {
        let Call {
            caller, message, ..
        } = Self::call(request)?;
        let name = named(&message).map_err(|error| status(&error))?;
        let root = self.forge.root(&caller, &name).await;
        answer(root.map(|root| wire::RootResponse {
            root_hash: Bytes::copy_from_slice(root.as_bytes()),
            repo_token: String::new(),
        }))
    }

    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        let Call {
            caller, message, ..
        } = Self::call(request)?;
        let understood = named(&message)
            .and_then(|name| Ok((name, convert::wish(&message)?)))
            .map_err(|error| status(&error));
        let (name, wish) = understood?;
        let success = self.forge.commit(&caller, &name, wish).await;
        answer(success.map(|success| wire::CommitResponse { success }))
    }

    async fn list_table_files(
        &self,
        request: Request<wire::ListTableFilesRequest>,
    ) -> Result<Response<wire::ListTableFilesResponse>, Status> {
        answer(self.list(Self::call(request)?).await)
    }

    async fn refresh_table_file_url(
        &self,
        request: Request<wire::RefreshTableFileUrlRequest>,
    ) -> Result<Response<wire::RefreshTableFileUrlResponse>, Status> {
        let is_doubted = request.metadata().contains_key(error::CHECK);
        let call = Self::call(request)?;
        answer(match is_doubted {
            true => self.check_and_refresh(call).await,
            false => self.refresh(call).await,
        })
    }

    async fn add_table_files(
        &self,
        request: Request<wire::AddTableFilesRequest>,
    ) -> Result<Response<wire::AddTableFilesResponse>, Status> {
        let Call {
            caller, message, ..
        } = Self::call(request)?;
        let understood = named(&message)
            .and_then(|name| Ok((name, convert::named_files(&message.chunk_table_info)?)))
            .map_err(|error| status(&error));
        let (name, files) = understood?;
        let added = self.forge.add(&caller, &name, &files).await;
        answer(added.map(|()| wire::AddTableFilesResponse {
            success: true,
            repo_token: String::new(),
        }))
    }
}
