//! The two streams of chunk locations.
//!
//! Each request is answered by exactly one response, in order: dolt counts them. A stream ends when the client has
//! closed its half and everything is answered, or with an error; it never ends well before that. Every message is
//! interpreted without the ones before it, and those that wait are authorised at the moment they are answered. What
//! they take in memory is given back when their answers were taken off. When the server is asked to stop, a stream goes
//! on as long as requests come; one that stays silent longer than dolt lets its own be idle is ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::objects::ObjectKey;
use holdfast_chunkstore::repo::{Located, Place, RepoName, ServedFile};
use holdfast_proto::remotesapi as wire;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::budget::Share;
use super::convert;
use super::door::MAX_LOCATIONS;
use super::status::status;
use crate::forge::{Caller, Forge, ForgeError};
use crate::transport::ClientWait;

/// How long a stream may be silent while the server stops. Dolt closes its half after 15 seconds.
const SILENCE_WHILE_STOPPING: Duration = Duration::from_secs(20);
/// How many files one stream remembers to have introduced; behind that it introduces them again.
const INTRODUCED: usize = 4096;

/// So many messages that wait are answered together …
const TOGETHER: usize = 64;
/// … unless they ask for more hashes than this.
const TOGETHER_HASHES: usize = 16_384;

/// Answers the messages of one stream in their order.
#[async_trait]
pub trait Answerer: Send + 'static {
    /// What comes in.
    type Request: Send + 'static;
    /// What goes out.
    type Response: Send + 'static;
    /// How many hashes a message asks for.
    fn hashes(request: &Self::Request) -> usize;
    /// Answers messages that came in a row, each by itself; an error stands for the first that has no answer.
    async fn answer(&mut self, requests: Vec<Self::Request>) -> Answers<Self::Response>;
}

/// The answers to the first of some messages, and why the next one has none.
#[derive(Debug)]
pub struct Answers<T> {
    responses: Vec<T>,
    error: Option<ForgeError>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self {
            responses: Vec::new(),
            error: None,
        }
    }
}

/// The answers to a stream of messages. Those that wait are answered together: a turn on the pool of blocking
/// threads costs more than the few lookups of a message.
pub fn answers<A: Answerer>(
    incoming: Streaming<A::Request>,
    answerer: A,
    share: Share,
    wait: ClientWait,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<A::Response, Status>> {
    let start = Some((incoming, answerer));
    stream::unfold(start, move |state| {
        let (share, wait, stopping) = (share.clone(), wait.clone(), stopping.clone());
        async move {
            let (mut incoming, mut answerer) = state?;
            share.give_back(); // The last answers were taken off.
            let Waiting { requests, ended } = waiting::<A>(&mut incoming, &stopping).await;
            let _work = wait.work();
            let Answers { responses, error } = match requests.is_empty() {
                true => Answers::default(),
                false => answerer.answer(requests).await,
            };
            let mut items: Vec<_> = responses.into_iter().map(Ok).collect();
            let refused = error.map(|error| status(&error));
            let end = match (refused, ended) {
                (Some(refused), _) => Some(Err(refused)),
                (None, ended) => ended,
            };
            let goes_on = end.is_none();
            items.extend(end.and_then(Result::err).map(Err));
            let state = goes_on.then_some((incoming, answerer));
            Some((stream::iter(items), state))
        }
    })
    .flatten()
    .boxed()
}

/// Messages that wait for an answer, and how the stream ended behind them, if it did.
struct Waiting<T> {
    requests: Vec<T>,
    ended: Option<Result<(), Status>>,
}

/// Waits for a message, and takes those that are there behind it.
async fn waiting<A: Answerer>(
    incoming: &mut Streaming<A::Request>,
    stopping: &CancellationToken,
) -> Waiting<A::Request> {
    let mut requests = Vec::new();
    let mut hashes = 0;
    let mut came = next(incoming, stopping).await;
    let ended = loop {
        match came {
            Ok(Some(request)) => {
                hashes += A::hashes(&request);
                requests.push(request);
            }
            Ok(None) => break Some(Ok(())),
            Err(broken) => break Some(Err(broken)),
        }
        if requests.len() >= TOGETHER || hashes >= TOGETHER_HASHES {
            break None;
        }
        match incoming.message().now_or_never() {
            Some(more) => came = more,
            None => break None,
        }
    };
    Waiting { requests, ended }
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

/// A message, understood.
struct Question {
    name: RepoName,
    addresses: Vec<ChunkAddress>,
}

impl Question {
    fn read(
        request: &wire::StreamChunkLocationsRequest,
        is_named: &mut bool,
    ) -> Result<Self, ForgeError> {
        let name = convert::repo_name(request)?;
        name_once(is_named, &name);
        let most_bytes = MAX_LOCATIONS * ChunkAddress::LEN;
        if request.chunk_hashes.len() > most_bytes {
            return Err(ForgeError::invalid(format!(
                "chunk_hashes holds more than {MAX_LOCATIONS} hashes"
            )));
        }
        let addresses = convert::flat_addresses("chunk_hashes", &request.chunk_hashes)?;
        Ok(Self { name, addresses })
    }
}

impl ChunkLocations {
    /// Answers questions about one repository with one lookup.
    async fn answer_same(
        &mut self,
        questions: &[Question],
        responses: &mut Vec<wire::StreamChunkLocationsResponse>,
    ) -> Result<(), ForgeError> {
        let Some(Question { name, .. }) = questions.first() else {
            return Ok(());
        };
        let all: Vec<ChunkAddress> = questions
            .iter()
            .flat_map(|question| &question.addresses)
            .copied()
            .collect();
        let Located { files, mut places } = self.forge.locate(&self.caller, name, &all).await?;
        for Question { addresses, .. } in questions {
            let rest = places.split_off(addresses.len());
            responses.push(self.response(addresses, &files, &places).await?);
            places = rest;
        }
        Ok(())
    }

    async fn response(
        &mut self,
        addresses: &[ChunkAddress],
        files: &[ServedFile],
        places: &[Option<Place>],
    ) -> Result<wire::StreamChunkLocationsResponse, ForgeError> {
        if self.introduced.len() + files.len() > INTRODUCED {
            self.introduced.clear();
        }
        let mut ids: Vec<Option<u32>> = vec![None; files.len()];
        let mut response = wire::StreamChunkLocationsResponse::default();
        for (request_index, place) in once_each(addresses, places) {
            let Some(Place { file, span }) = place else {
                response.missing_indexes.push(request_index);
                continue;
            };
            let table_file_id = match ids[file] {
                Some(id) => id,
                None => {
                    let (id, introduction) = self.introduce(&files[file]).await?;
                    response.table_files.extend(introduction);
                    *ids[file].insert(id)
                }
            };
            let (dictionary_offset, dictionary_length) = dictionary(span.dictionary);
            let location = wire::stream_chunk_locations_response::ChunkLocation {
                table_file_id,
                request_index,
                offset: span.data.offset,
                length: span.data.len,
                dictionary_offset,
                dictionary_length,
            };
            response.locations.push(location);
        }
        Ok(response)
    }
}

#[async_trait]
impl Answerer for ChunkLocations {
    type Request = wire::StreamChunkLocationsRequest;
    type Response = wire::StreamChunkLocationsResponse;

    fn hashes(request: &Self::Request) -> usize {
        request.chunk_hashes.len() / ChunkAddress::LEN
    }

    async fn answer(&mut self, requests: Vec<Self::Request>) -> Answers<Self::Response> {
        let mut responses = Vec::with_capacity(requests.len());
        let mut questions = Vec::with_capacity(requests.len());
        let mut error = None;
        for request in &requests {
            match Question::read(request, &mut self.is_named) {
                Ok(question) => questions.push(question),
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
        }
        for same in questions.chunk_by(|one, other| one.name == other.name) {
            if let Err(failed) = self.answer_same(same, &mut responses).await {
                error = Some(failed);
                break;
            }
        }
        Answers { responses, error }
    }
}

/// The places of different addresses with their index in the request; of one that is asked for twice the
/// last, as dolt's own server does.
fn once_each<'a>(
    addresses: &'a [ChunkAddress],
    places: &'a [Option<Place>],
) -> impl Iterator<Item = (u32, Option<Place>)> + 'a {
    let last: HashMap<ChunkAddress, u32> = addresses.iter().copied().zip(0..).collect();
    (0..)
        .zip(addresses.iter().zip(places))
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

    fn hashes(request: &Self::Request) -> usize {
        request.chunk_hashes.len()
    }

    async fn answer(&mut self, requests: Vec<Self::Request>) -> Answers<Self::Response> {
        let mut answers = Answers::default();
        for request in &requests {
            match self.answer_one(request).await {
                Ok(response) => answers.responses.push(response),
                Err(error) => {
                    answers.error = Some(error);
                    break;
                }
            }
        }
        answers
    }
}

impl DownloadLocations {
    async fn answer_one(
        &mut self,
        request: &wire::GetDownloadLocsRequest,
    ) -> Result<wire::GetDownloadLocsResponse, ForgeError> {
        let name = convert::repo_name(request)?;
        name_once(&mut self.is_named, &name);
        download_locations(&self.forge, &self.caller, &name, request).await
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
    for (i, place) in once_each(&addresses, &located.places) {
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
        let places = [None; 3];
        let answered: Vec<u32> = once_each(&addresses, &places).map(|(i, _)| i).collect();
        assert_eq!(answered, [1, 2]);
    }
}
