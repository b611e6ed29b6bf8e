//! The two streams of chunk locations.
//!
//! Each request is answered by exactly one response, in order: dolt counts them. A stream ends when the client
//! has closed its half and everything is answered, or with an error; it never ends well before that. Every
//! message is authorised by itself and interpreted without the ones before it. When the server is asked to
//! stop, a stream goes on as long as requests come; one that stays silent longer than dolt lets its own be
//! idle is ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::objects::ObjectKey;
use holdfast_chunkstore::repo::{Located, Place, RepoName, ServedFile};
use holdfast_proto::remotesapi as wire;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::convert;
use super::door::MAX_LOCATIONS;
use super::status::status;
use crate::forge::{Caller, Forge, ForgeError};

/// How long a stream may be silent while the server stops. Dolt closes its half after 15 seconds.
const SILENCE_WHILE_STOPPING: Duration = Duration::from_secs(20);
/// How many files one stream remembers to have introduced; behind that it introduces them again.
const INTRODUCED: usize = 4096;

/// Answers the messages of one stream, one by one.
#[async_trait]
pub trait Answerer: Send + 'static {
    /// What comes in.
    type Request: Send + 'static;
    /// What goes out.
    type Response: Send + 'static;
    /// Answers one message.
    async fn answer(&mut self, request: Self::Request) -> Result<Self::Response, ForgeError>;
}

/// The answers to a stream of messages.
pub fn answers<A: Answerer>(
    incoming: Streaming<A::Request>,
    answerer: A,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<A::Response, Status>> {
    let start = Some((incoming, answerer, stopping));
    stream::unfold(start, async |state| {
        let (mut incoming, mut answerer, stopping) = state?;
        let answer = match next(&mut incoming, &stopping).await {
            Ok(None) => return None,
            Ok(Some(request)) => answerer
                .answer(request)
                .await
                .map_err(|error| status(&error)),
            Err(ended) => Err(ended),
        };
        let state = answer.is_ok().then_some((incoming, answerer, stopping));
        Some((answer, state))
    })
    .boxed()
}

async fn next<T>(
    incoming: &mut Streaming<T>,
    stopping: &CancellationToken,
) -> Result<Option<T>, Status> {
    tokio::select! {
        biased;
        message = incoming.message() => return message,
        () = stopping.cancelled() => {}
    }
    match tokio::time::timeout(SILENCE_WHILE_STOPPING, incoming.message()).await {
        Ok(message) => message,
        Err(_) => Err(Status::unavailable("the server is stopping")),
    }
}

/// Answers `StreamChunkLocations`.
#[derive(Debug)]
pub struct ChunkLocations {
    forge: Arc<Forge>,
    caller: Caller,
    introduced: HashMap<ObjectKey, u32>,
    next_id: u32,
    is_named: bool,
}

impl ChunkLocations {
    /// Begins a stream.
    pub fn new(forge: Arc<Forge>, caller: Caller) -> Self {
        Self {
            forge,
            caller,
            introduced: HashMap::new(),
            next_id: 0,
            is_named: false,
        }
    }

    /// The number of a file in this stream, and its introduction where it has none yet.
    async fn introduce(
        &mut self,
        file: &ServedFile,
    ) -> Result<
        (
            u32,
            Option<wire::stream_chunk_locations_response::TableFileRecord>,
        ),
        ForgeError,
    > {
        if let Some(id) = self.introduced.get(&file.key) {
            return Ok((*id, None));
        }
        let address = self.forge.data_url(&self.caller, file).await?;
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.introduced.insert(file.key.clone(), id);
        let record = wire::stream_chunk_locations_response::TableFileRecord {
            table_file_id: id,
            url: address.url,
            refresh_after: Some(convert::timestamp(address.refresh_after)),
            file_id: file.key.name().to_owned(),
        };
        Ok((id, Some(record)))
    }
}

#[async_trait]
impl Answerer for ChunkLocations {
    type Request = wire::StreamChunkLocationsRequest;
    type Response = wire::StreamChunkLocationsResponse;

    async fn answer(&mut self, request: Self::Request) -> Result<Self::Response, ForgeError> {
        let name = convert::repo_name(&request)?;
        name_once(&mut self.is_named, &name);
        let most_bytes = MAX_LOCATIONS * ChunkAddress::LEN;
        if request.chunk_hashes.len() > most_bytes {
            return Err(ForgeError::invalid(format!(
                "chunk_hashes holds more than {MAX_LOCATIONS} hashes"
            )));
        }
        let addresses = convert::flat_addresses("chunk_hashes", &request.chunk_hashes)?;
        let located = self.forge.locate(&self.caller, &name, &addresses).await?;
        if self.introduced.len() + located.files.len() > INTRODUCED {
            self.introduced.clear();
        }
        let mut ids = Vec::with_capacity(located.files.len());
        let mut table_files = Vec::new();
        for file in &located.files {
            let (id, introduction) = self.introduce(file).await?;
            ids.push(id);
            table_files.extend(introduction);
        }
        let mut locations = Vec::with_capacity(addresses.len());
        let mut missing_indexes = Vec::new();
        for (request_index, place) in once_each(&addresses, &located) {
            match place {
                None => missing_indexes.push(request_index),
                Some(Place { file, span }) => {
                    let (dictionary_offset, dictionary_length) = dictionary(span.dictionary);
                    locations.push(wire::stream_chunk_locations_response::ChunkLocation {
                        table_file_id: ids[file],
                        request_index,
                        offset: span.data.offset,
                        length: span.data.len,
                        dictionary_offset,
                        dictionary_length,
                    });
                }
            }
        }
        Ok(wire::StreamChunkLocationsResponse {
            repo_token: String::new(),
            table_files,
            locations,
            missing_indexes,
        })
    }
}

/// The places of different addresses with their index in the request; of one that is asked for twice the
/// last, as dolt's own server does.
fn once_each<'a>(
    addresses: &'a [ChunkAddress],
    located: &'a Located,
) -> impl Iterator<Item = (u32, Option<Place>)> + 'a {
    let last: HashMap<ChunkAddress, u32> = addresses.iter().copied().zip(0..).collect();
    (0..)
        .zip(addresses.iter().zip(&located.places))
        .filter(move |(i, (address, _))| last.get(address) == Some(i))
        .map(|(i, (_, place))| (i, *place))
}

fn dictionary(span: Option<ByteSpan>) -> (u64, u32) {
    span.map_or((0, 0), |span| (span.offset, span.len))
}

/// Answers `StreamDownloadLocations`, the older stream.
#[derive(Debug)]
pub struct DownloadLocations {
    forge: Arc<Forge>,
    caller: Caller,
    is_named: bool,
}

impl DownloadLocations {
    /// Begins a stream.
    pub fn new(forge: Arc<Forge>, caller: Caller) -> Self {
        Self {
            forge,
            caller,
            is_named: false,
        }
    }
}

#[async_trait]
impl Answerer for DownloadLocations {
    type Request = wire::GetDownloadLocsRequest;
    type Response = wire::GetDownloadLocsResponse;

    async fn answer(&mut self, request: Self::Request) -> Result<Self::Response, ForgeError> {
        let name = convert::repo_name(&request)?;
        name_once(&mut self.is_named, &name);
        download_locations(&self.forge, &self.caller, &name, &request).await
    }
}

/// Tells the span of a stream the first repository that is asked for: all that any dolt asks for. A span keeps
/// whatever it is told.
fn name_once(is_named: &mut bool, name: &RepoName) {
    if !std::mem::replace(is_named, true) {
        tracing::Span::current().record("repo", tracing::field::display(name));
    }
}

/// One step of the older stream: a range of each chunk that is there, by file.
pub(super) async fn download_locations(
    forge: &Forge,
    caller: &Caller,
    name: &RepoName,
    request: &wire::GetDownloadLocsRequest,
) -> Result<wire::GetDownloadLocsResponse, ForgeError> {
    if request.chunk_hashes.len() > MAX_LOCATIONS {
        return Err(ForgeError::invalid(format!(
            "chunk_hashes holds more than {MAX_LOCATIONS} hashes"
        )));
    }
    let addresses = convert::addresses("chunk_hashes", &request.chunk_hashes)?;
    let located = forge.locate(caller, name, &addresses).await?;
    let mut ranges: Vec<Vec<wire::RangeChunk>> = vec![Vec::new(); located.files.len()];
    for (i, place) in once_each(&addresses, &located) {
        let Some(Place { file, span }) = place else {
            continue;
        };
        let (dictionary_offset, dictionary_length) = dictionary(span.dictionary);
        let hash = request
            .chunk_hashes
            .get(i as usize)
            .cloned()
            .unwrap_or_default();
        ranges[file].push(wire::RangeChunk {
            hash,
            offset: span.data.offset,
            length: span.data.len,
            dictionary_offset,
            dictionary_length,
        });
    }
    let mut locs = Vec::with_capacity(located.files.len());
    for (file, ranges) in located.files.iter().zip(ranges) {
        if ranges.is_empty() {
            continue;
        }
        let address = forge.data_url(caller, file).await?;
        let range = wire::HttpGetRange {
            url: address.url,
            ranges,
        };
        locs.push(wire::DownloadLoc {
            location: Some(wire::download_loc::Location::HttpGetRange(range)),
            refresh_after: Some(convert::timestamp(address.refresh_after)),
            refresh_request: Some(refresh_request(name, file)),
        });
    }
    Ok(wire::GetDownloadLocsResponse {
        locs,
        repo_token: String::new(),
    })
}

/// Whether some chunk of an answer cannot be read without a dictionary.
pub(super) fn needs_dictionaries(response: &wire::GetDownloadLocsResponse) -> bool {
    response.locs.iter().any(|loc| match &loc.location {
        Some(wire::download_loc::Location::HttpGetRange(range)) => range
            .ranges
            .iter()
            .any(|range| range.dictionary_length != 0),
        Some(wire::download_loc::Location::HttpGet(_)) | None => false,
    })
}

/// The request by which a client gets a new address of a file. It says the name as we understood it: what the client
/// said may be as long as a message, and there is one of these for every file.
pub(super) fn refresh_request(
    name: &RepoName,
    file: &ServedFile,
) -> wire::RefreshTableFileUrlRequest {
    wire::RefreshTableFileUrlRequest {
        repo_id: Some(wire::RepoId {
            org: name.owner().to_owned(),
            repo_name: name.name().to_owned(),
        }),
        file_id: file.key.name().to_owned(),
        repo_token: String::new(),
        repo_path: name.to_string(),
        client_capabilities: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_asked_for_twice_is_answered_once() {
        let [one, two] = [1, 2].map(|byte| ChunkAddress::new([byte; 20]));
        let addresses = [one, two, one];
        let located = Located {
            files: Vec::new(),
            places: vec![None; 3],
        };
        let answered: Vec<u32> = once_each(&addresses, &located).map(|(i, _)| i).collect();
        assert_eq!(answered, [1, 2]);
    }
}
