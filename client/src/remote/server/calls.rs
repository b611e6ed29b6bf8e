//! The calls with one answer: what is asked, and what of an answer is believed.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::{CHUNK_FORMAT, ListedFile};
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_proto::remotesapi::{
    AddTableFilesRequest, ChunkTableInfo, ClientRepoFormat, CommitRequest, Feature,
    GetRepoMetadataRequest, GetUploadLocsRequest, HasChunksRequest, ListTableFilesRequest,
    PushConcurrencyControl, RootRequest, TableFileDetails, TableFileInfo, upload_loc,
};

use super::CAPABILITIES;
use super::connection::{Abilities, Connection, LONG_PATIENCE};
use crate::remote::credentials::Credentials;
use crate::remote::{ListedFiles, Metadata, RemoteError, RemoteFile, Swap, WorkingSets};

/// The storage version that we say we write.
const STORAGE_VERSION: &str = "5";

/// How many chunks are asked for by one call.
const MAX_ASKED: usize = 16_384;

/// How many calls about the presence of chunks run at once, as Dolt's own client.
const CALLS_AT_ONCE: usize = 3;

impl Connection {
    /// Asks what the repository is, and keeps what the server can do.
    pub(super) async fn metadata(&self) -> Result<Metadata, RemoteError> {
        let message = GetRepoMetadataRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            client_repo_format: Some(repo_format()),
            ..GetRepoMetadataRequest::default()
        };
        let answer = self
            .call("read what the remote says of itself", |mut calls| {
                let request = self.request(message.clone());
                async move { calls.get_repo_metadata(request).await }
            })
            .await?;
        if answer.nbf_version != CHUNK_FORMAT {
            return Err(RemoteError::Format {
                format: answer.nbf_version.chars().take(32).collect(),
            });
        }
        let working_sets = match answer.push_concurrency_control() {
            PushConcurrencyControl::IgnoreWorkingSet => WorkingSets::Ignored,
            PushConcurrencyControl::AssertWorkingSet => WorkingSets::Asserted,
            // Who gives a user name speaks to a server that people work on: Dolt's own rule.
            PushConcurrencyControl::Unspecified => match self.credentials {
                Credentials::Password { .. } => WorkingSets::Asserted,
                Credentials::Nobody | Credentials::Key(_) => WorkingSets::Ignored,
            },
        };
        let is_of_today = answer
            .features()
            .any(|feature| feature == Feature::StreamChunkLocations);
        self.keep_token(answer.repo_token);
        self.keep_abilities(Abilities {
            has_location_records: is_of_today,
        });
        Ok(Metadata {
            size: answer.storage_size,
            working_sets,
            // No feature says so; all servers that have this one do.
            takes_archives: is_of_today,
        })
    }

    /// Asks for the root.
    pub(super) async fn root(&self) -> Result<RootAddress, RemoteError> {
        let action = "read the root of the remote";
        let message = RootRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.root(request).await }
            })
            .await?;
        self.keep_token(answer.repo_token);
        root_of(action, &answer.root_hash)
    }

    /// Asks which chunks are not there.
    pub(super) async fn absent(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        let parts: Vec<_> = addresses.chunks(MAX_ASKED).map(<[_]>::to_vec).collect();
        let calls = parts.into_iter().map(|part| self.absent_of(part));
        let absent: Vec<_> = stream::iter(calls)
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        // An address that stands there twice is told of once.
        let absent: HashSet<ChunkAddress> = absent.into_iter().flatten().collect();
        let addresses = addresses.iter().copied();
        Ok(addresses
            .filter(|address| absent.contains(address))
            .collect())
    }

    async fn absent_of(&self, part: Vec<ChunkAddress>) -> Result<Vec<ChunkAddress>, RemoteError> {
        let action = "ask which chunks the remote has";
        let message = HasChunksRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
            hashes: part
                .iter()
                .map(|address| hash(address.as_bytes()))
                .collect(),
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.has_chunks(request).await }
            })
            .await?;
        self.keep_token(answer.repo_token);
        let mut told = HashSet::new();
        let mut absent = Vec::with_capacity(answer.absent.len().min(part.len()));
        for index in answer.absent {
            let address = usize::try_from(index).ok().and_then(|at| part.get(at));
            match address {
                Some(&address) if told.insert(index) => absent.push(address),
                _ => {
                    let what = format!("chunk number {index} of {}, or with it twice", part.len());
                    return Err(RemoteError::Answer { action, what });
                }
            }
        }
        Ok(absent)
    }

    /// Asks for the files.
    pub(super) async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        let action = "list the table files of the remote";
        let message = ListTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
            client_capabilities: CAPABILITIES.to_vec(),
            ..ListTableFilesRequest::default()
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.list_table_files(request).await }
            })
            .await?;
        self.keep_token(answer.repo_token);
        // What the appendix names lies in the other files as well.
        let appendix: HashSet<_> = (answer.appendix_table_file_info.iter())
            .map(|file| &file.file_id)
            .collect();
        let listed = answer.table_file_info.iter();
        let listed = listed.filter(|file| !appendix.contains(&file.file_id));
        Ok(ListedFiles {
            root: root_of(action, &answer.root_hash)?,
            files: listed
                .map(|file| remote_file(action, file))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Asks where a file is to be sent; nothing for one that the server has.
    pub(super) async fn upload_url(
        &self,
        action: &'static str,
        details: TableFileDetails,
    ) -> Result<Option<String>, RemoteError> {
        let message = GetUploadLocsRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
            table_file_details: vec![details],
            ..GetUploadLocsRequest::default()
        };
        let answer = self
            .call(action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.get_upload_locations(request).await }
            })
            .await?;
        self.keep_token(answer.repo_token);
        match <[_; 1]>::try_from(answer.locs) {
            Ok([place]) => Ok(place.location.map(|location| match location {
                upload_loc::Location::HttpPost(post) => post.url,
            })),
            Err(places) => {
                let what = format!("{} places for one file", places.len());
                Err(RemoteError::Answer { action, what })
            }
        }
    }

    /// Makes files that were sent part of the repository.
    pub(super) async fn add_files(&self, files: &[ListedFile]) -> Result<(), RemoteError> {
        let action = "add the files that were sent";
        let message = AddTableFilesRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
            client_repo_format: Some(repo_format()),
            chunk_table_info: files.iter().map(table_info).collect(),
            ..AddTableFilesRequest::default()
        };
        let answer = self
            .call_within(LONG_PATIENCE, action, |mut calls| {
                let request = self.request(message.clone());
                async move { calls.add_table_files(request).await }
            })
            .await?;
        self.keep_token(answer.repo_token);
        match answer.success {
            true => Ok(()),
            false => Err(RemoteError::Refused { action }),
        }
    }

    /// Moves the root.
    pub(super) async fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        let message = CommitRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            current: hash(root.as_bytes()),
            last: hash(last.as_bytes()),
            chunk_table_info: files.iter().map(table_info).collect(),
            client_repo_format: Some(repo_format()),
        };
        self.drop_token();
        let answer = self
            .call_within(LONG_PATIENCE, "move the root of the remote", |mut calls| {
                let request = self.request(message.clone());
                async move { calls.commit(request).await }
            })
            .await?;
        // A call whose answer was lost is made again, and Dolt's server then says that the root had moved before: to
        // where this very call moved it.
        match answer.success || self.root().await? == root {
            true => Ok(Swap::Won),
            false => Ok(Swap::Lost),
        }
    }
}

fn repo_format() -> ClientRepoFormat {
    ClientRepoFormat {
        nbf_version: CHUNK_FORMAT.to_owned(),
        nbs_version: STORAGE_VERSION.to_owned(),
    }
}

fn hash(bytes: &[u8; 20]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn table_info(file: &ListedFile) -> ChunkTableInfo {
    ChunkTableInfo {
        hash: hash(file.id.as_bytes()),
        chunk_count: file.chunks,
    }
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
