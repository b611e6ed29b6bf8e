//! Answers calls from memory.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use holdfast_chunkstore::ChunkAddress;
use holdfast_proto::remotesapi::chunk_store_service_server::{
    ChunkStoreService, ChunkStoreServiceServer,
};
use holdfast_proto::remotesapi::stream_chunk_locations_response::{ChunkLocation, TableFileRecord};
use holdfast_proto::remotesapi::{
    AddTableFilesRequest, AddTableFilesResponse, CommitRequest, CommitResponse, DownloadLoc,
    GetDownloadLocsRequest, GetDownloadLocsResponse, GetRepoMetadataRequest,
    GetRepoMetadataResponse, GetUploadLocsRequest, GetUploadLocsResponse, HasChunksRequest,
    HasChunksResponse, HttpGetRange, HttpPostTableFile, ListTableFilesRequest,
    ListTableFilesResponse, RangeChunk, RebaseRequest, RebaseResponse, RefreshTableFileUrlRequest,
    RefreshTableFileUrlResponse, RootRequest, RootResponse, StreamChunkLocationsRequest,
    StreamChunkLocationsResponse, UploadLoc, download_loc, upload_loc,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::{Break, Placed, Silence, State, World};

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Calls(Arc<World>);

/// Starts it, and returns its address.
pub(super) fn start(world: &Arc<World>, tasks: &mut JoinSet<()>) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = ChunkStoreServiceServer::new(Calls(Arc::clone(world)));
    let server = tonic::transport::Server::builder().add_service(service);
    tasks.spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    format!("http://{address}")
}

impl Calls {
    /// Notes a call, and refuses it or says nothing if that is wanted.
    async fn enter(&self, call: &'static str, token: &str) -> Result<(), Status> {
        {
            let mut state = self.0.state();
            state.seen.tokens.push((call, token.to_owned()));
            if let Some(code) = state.refusals.pop_front() {
                return Err(Status::new(code, "no"));
            }
        }
        self.keep_silent(Silence::Before).await;
        Ok(())
    }

    /// Never ends if a call is to end so.
    async fn keep_silent(&self, silence: Silence) {
        let is_silent = {
            let silences = &mut self.0.state().silences;
            silences.pop_front_if(|next| *next == silence).is_some()
        };
        if is_silent {
            self.0.be_silent().await
        }
    }

    /// Answers each message of a stream, until it is to break.
    fn answer_all<Q: Send + 'static, A: Send + 'static>(
        &self,
        mut questions: Streaming<Q>,
        answer: impl Fn(&State, Q) -> A + Send + 'static,
    ) -> Answer<Answers<A>> {
        let (sender, mut receiver) = mpsc::channel(4);
        let world = Arc::clone(&self.0);
        let mut breaks = world.state().breaks.pop_front();
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok(Some(question)) = questions.message().await {
                if let Some((0, how)) = breaks {
                    if let Break::Code(code) = how {
                        drop(sender.send(Err(Status::new(code, "broken"))).await);
                    }
                    break;
                }
                breaks = breaks.map(|(left, how)| (left - 1, how));
                count += 1;
                let answer = answer(&world.state(), question);
                drop(sender.send(Ok(answer)).await);
            }
            world.state().seen.streams.push(count);
        });
        let answers = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        Ok(Response::new(Box::pin(answers)))
    }
}

impl State {
    /// What addresses must carry to be good. Whoever has it can read, so it is never shown.
    pub(super) fn query(&self) -> String {
        format!("sig=signature-{}", self.signature)
    }

    fn url(&self, file: &str) -> String {
        format!("{}/{file}?{}", self.host, self.query())
    }

    fn placed(&self, hash: &[u8]) -> Option<&Placed> {
        self.chunks.get(&ChunkAddress::try_from(hash).unwrap())
    }
}

fn records(state: &State, question: StreamChunkLocationsRequest) -> StreamChunkLocationsResponse {
    let mut answer = StreamChunkLocationsResponse::default();
    let mut ids = HashMap::new();
    let hashes = question.chunk_hashes.chunks(20);
    for (index, hash) in (0..).zip(hashes) {
        let Some(placed) = state.placed(hash) else {
            answer.missing_indexes.push(index);
            continue;
        };
        let fresh = u32::try_from(ids.len()).unwrap();
        let id = *ids.entry(placed.file.clone()).or_insert(fresh);
        if id == fresh {
            answer.table_files.push(TableFileRecord {
                table_file_id: id,
                url: state.url(&placed.file),
                ..TableFileRecord::default()
            });
        }
        answer.locations.push(ChunkLocation {
            table_file_id: id,
            request_index: index,
            offset: placed.span.offset,
            length: placed.span.len,
            dictionary_offset: placed.dictionary.map_or(0, |span| span.offset),
            dictionary_length: placed.dictionary.map_or(0, |span| span.len),
        });
    }
    answer
}

fn ranges(state: &State, question: GetDownloadLocsRequest) -> GetDownloadLocsResponse {
    let mut files: HashMap<String, Vec<RangeChunk>> = HashMap::new();
    for hash in question.chunk_hashes {
        let Some(placed) = state.placed(&hash) else {
            continue;
        };
        files
            .entry(placed.file.clone())
            .or_default()
            .push(RangeChunk {
                hash,
                offset: placed.span.offset,
                length: placed.span.len,
                dictionary_offset: placed.dictionary.map_or(0, |span| span.offset),
                dictionary_length: placed.dictionary.map_or(0, |span| span.len),
            });
    }
    let locs = files.into_iter().map(|(file, ranges)| DownloadLoc {
        location: Some(download_loc::Location::HttpGetRange(HttpGetRange {
            url: state.url(&file),
            ranges,
        })),
        ..DownloadLoc::default()
    });
    GetDownloadLocsResponse {
        locs: locs.collect(),
        repo_token: String::new(),
    }
}

#[tonic::async_trait]
impl ChunkStoreService for Calls {
    type StreamDownloadLocationsStream = Answers<GetDownloadLocsResponse>;
    type StreamChunkLocationsStream = Answers<StreamChunkLocationsResponse>;

    async fn get_repo_metadata(
        &self,
        request: Request<GetRepoMetadataRequest>,
    ) -> Answer<GetRepoMetadataResponse> {
        self.enter("metadata", &request.into_inner().repo_token)
            .await?;
        let state = self.0.state();
        Ok(Response::new(GetRepoMetadataResponse {
            nbf_version: "__DOLT__".to_owned(),
            nbs_version: "5".to_owned(),
            storage_size: 1,
            repo_token: state.token.clone(),
            push_concurrency_control: state.working_sets,
            features: state
                .has_location_records
                .then_some(1)
                .into_iter()
                .collect(),
        }))
    }

    async fn has_chunks(&self, request: Request<HasChunksRequest>) -> Answer<HasChunksResponse> {
        let request = request.into_inner();
        self.enter("has_chunks", &request.repo_token).await?;
        let state = self.0.state();
        let asked = (0..).zip(&request.hashes);
        let absent = asked.filter(|(_, hash)| state.placed(hash).is_none());
        let mut absent: Vec<i32> = absent.map(|(index, _)| index).collect();
        // In any order.
        absent.reverse();
        Ok(Response::new(HasChunksResponse {
            absent: state.absent.clone().unwrap_or(absent),
            repo_token: String::new(),
        }))
    }

    async fn get_download_locations(
        &self,
        _: Request<GetDownloadLocsRequest>,
    ) -> Answer<GetDownloadLocsResponse> {
        Err(Status::unimplemented("nobody calls it"))
    }

    async fn stream_download_locations(
        &self,
        request: Request<Streaming<GetDownloadLocsRequest>>,
    ) -> Answer<Self::StreamDownloadLocationsStream> {
        self.enter("ranges", "").await?;
        self.answer_all(request.into_inner(), ranges)
    }

    async fn stream_chunk_locations(
        &self,
        request: Request<Streaming<StreamChunkLocationsRequest>>,
    ) -> Answer<Self::StreamChunkLocationsStream> {
        self.enter("records", "").await?;
        self.answer_all(request.into_inner(), records)
    }

    async fn get_upload_locations(
        &self,
        request: Request<GetUploadLocsRequest>,
    ) -> Answer<GetUploadLocsResponse> {
        let request = request.into_inner();
        self.enter("upload", &request.repo_token).await?;
        let mut state = self.0.state();
        let url = state.url("upload");
        let knows_all_files = state.knows_all_files;
        let locs = request.table_file_details.iter().map(|details| UploadLoc {
            table_file_hash: details.id.clone(),
            location: (!knows_all_files)
                .then(|| upload_loc::Location::HttpPost(HttpPostTableFile { url: url.clone() })),
        });
        let locs = locs.collect();
        state.seen.details.extend(request.table_file_details);
        Ok(Response::new(GetUploadLocsResponse {
            locs,
            repo_token: String::new(),
        }))
    }

    async fn rebase(&self, _: Request<RebaseRequest>) -> Answer<RebaseResponse> {
        Err(Status::unimplemented("nobody calls it"))
    }

    async fn root(&self, request: Request<RootRequest>) -> Answer<RootResponse> {
        self.enter("root", &request.into_inner().repo_token).await?;
        Ok(Response::new(RootResponse {
            root_hash: self.0.state().root.clone().into(),
            repo_token: String::new(),
        }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Answer<CommitResponse> {
        self.enter("commit", "").await?;
        let request = request.into_inner();
        let (success, is_lost) = {
            let mut state = self.0.state();
            let success = state.root == request.last;
            if success {
                state.root = request.current.to_vec();
            }
            (success, std::mem::take(&mut state.loses_commits))
        };
        self.keep_silent(Silence::After).await;
        match is_lost {
            true => Err(Status::unavailable("the answer was lost")),
            false => Ok(Response::new(CommitResponse { success })),
        }
    }

    async fn list_table_files(
        &self,
        request: Request<ListTableFilesRequest>,
    ) -> Answer<ListTableFilesResponse> {
        self.enter("list", &request.into_inner().repo_token).await?;
        Ok(Response::new(ListTableFilesResponse {
            root_hash: Bytes::from(self.0.state().root.clone()),
            ..ListTableFilesResponse::default()
        }))
    }

    async fn refresh_table_file_url(
        &self,
        _: Request<RefreshTableFileUrlRequest>,
    ) -> Answer<RefreshTableFileUrlResponse> {
        Err(Status::unimplemented("as remotesrv"))
    }

    async fn add_table_files(
        &self,
        request: Request<AddTableFilesRequest>,
    ) -> Answer<AddTableFilesResponse> {
        let request = request.into_inner();
        self.enter("add", &request.repo_token).await?;
        assert!(request.client_repo_format.is_some());
        let added = request.chunk_table_info.into_iter();
        let added = added.map(|info| (info.hash, info.chunk_count)).collect();
        self.0.state().seen.added.push(added);
        self.keep_silent(Silence::After).await;
        Ok(Response::new(AddTableFilesResponse {
            success: !self.0.state().adds_nothing,
            repo_token: String::new(),
        }))
    }
}
