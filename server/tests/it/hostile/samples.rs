//! Messages that are right, as clients send them to a repository that has data. None of them changes it.

use bytes::Bytes;
use holdfast_proto::remotesapi as wire;
use tonic_health::pb::HealthCheckRequest;
use tonic_prost::prost::Message as _;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse,
};

use super::world::World;
use crate::pushing::{Packed, commit_request};
use crate::rig::{REPO, metadata_request};

fn repo_id() -> Option<wire::RepoId> {
    Some(wire::RepoId {
        org: "acme".to_owned(),
        repo_name: "prod".to_owned(),
    })
}

pub(super) fn metadata() -> Vec<wire::GetRepoMetadataRequest> {
    let by_id = wire::GetRepoMetadataRequest {
        repo_id: repo_id(),
        ..metadata_request("")
    };
    vec![metadata_request(REPO), by_id]
}

pub(super) fn root() -> Vec<wire::RootRequest> {
    let request = |path: &str| wire::RootRequest {
        repo_path: path.to_owned(),
        repo_id: repo_id(),
        repo_token: "token".to_owned(),
    };
    vec![request(REPO), request("")]
}

pub(super) fn rebase() -> Vec<wire::RebaseRequest> {
    vec![wire::RebaseRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        repo_token: "token".to_owned(),
    }]
}

pub(super) fn list() -> Vec<wire::ListTableFilesRequest> {
    #[expect(deprecated, reason = "a client may still send it")]
    let request = wire::ListTableFilesRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        appendix_only: true,
        client_capabilities: vec![1],
        ..Default::default()
    };
    vec![request]
}

pub(super) fn refresh(world: &World) -> Vec<wire::RefreshTableFileUrlRequest> {
    let request = |file_id: &String| wire::RefreshTableFileUrlRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        file_id: file_id.clone(),
        client_capabilities: vec![1],
        ..Default::default()
    };
    world.file_ids.iter().map(request).collect()
}

/// Addresses of chunks that are there, but none that could be a root, and one that is nowhere.
fn hashes(world: &World) -> Vec<Bytes> {
    let mut hashes: Vec<Bytes> = world.packed_addresses();
    hashes.truncate(6);
    hashes.push(Bytes::from_static(&[0xee; 20]));
    hashes
}

pub(super) fn has(world: &World) -> Vec<wire::HasChunksRequest> {
    vec![wire::HasChunksRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        hashes: hashes(world),
        ..Default::default()
    }]
}

pub(super) fn location(world: &World) -> Vec<wire::GetDownloadLocsRequest> {
    vec![wire::GetDownloadLocsRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        chunk_hashes: hashes(world),
        client_capabilities: vec![1],
        ..Default::default()
    }]
}

pub(super) fn stream(world: &World) -> Vec<wire::StreamChunkLocationsRequest> {
    vec![wire::StreamChunkLocationsRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        chunk_hashes: hashes(world).concat().into(),
        client_capabilities: vec![1],
        ..Default::default()
    }]
}

/// Commits that change nothing: they were done already, come too late, or cannot be done.
pub(super) fn commit(world: &World) -> Vec<wire::CommitRequest> {
    let (root, zero) = (*world.database.root().as_bytes(), [0; 20]);
    let no_root = world.packed_addresses().remove(0);
    let with = |current: &[u8], last: &[u8], files: &[&Packed]| wire::CommitRequest {
        repo_id: repo_id(),
        chunk_table_info: files.iter().map(|file| file.info()).collect(),
        client_repo_format: metadata_request(REPO).client_repo_format,
        ..commit_request(current, last)
    };
    vec![
        with(&root, &zero, &[&world.packed]),
        with(&root, &root, &[]),
        with(&no_root, &root, &[&world.packed]),
        with(&zero, &root, &[]),
        with(&[0xee; 20], &root, &[&world.dangling]),
        with(&[0xee; 20], &zero, &[]),
    ]
}

pub(super) fn add(world: &World) -> Vec<wire::AddTableFilesRequest> {
    let with = |files: &[&Packed], appendix_option| wire::AddTableFilesRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        client_repo_format: metadata_request(REPO).client_repo_format,
        chunk_table_info: files.iter().map(|file| file.info()).collect(),
        appendix_option,
        ..Default::default()
    };
    vec![
        with(&[&world.packed], 0),
        with(&[&world.dangling], 1),
        with(&[&world.packed, &world.dangling], 2),
    ]
}

pub(super) fn upload(world: &World) -> Vec<wire::GetUploadLocsRequest> {
    let new = wire::TableFileDetails {
        id: Bytes::from_static(&[0xee; 20]),
        suffix: ".darc".to_owned(),
        split_offset: 100,
        ..world.packed.details()
    };
    let with = |table_file_details: Vec<_>| wire::GetUploadLocsRequest {
        repo_path: REPO.to_owned(),
        repo_id: repo_id(),
        table_file_details,
        ..Default::default()
    };
    #[expect(deprecated, reason = "old clients send it")]
    let old = wire::GetUploadLocsRequest {
        table_file_hashes: vec![world.packed.id.clone()],
        ..with(Vec::new())
    };
    let huge = wire::TableFileDetails {
        content_length: 1 << 40,
        ..new.clone()
    };
    vec![
        with(vec![world.packed.details(), new.clone()]),
        with(vec![new]),
        with(vec![huge]),
        old,
    ]
}

const CHUNK_STORE: &str = "dolt.services.remotesapi.v1alpha1.ChunkStoreService";

pub(super) fn health() -> Vec<HealthCheckRequest> {
    let asked = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    vec![asked(""), asked(CHUNK_STORE), asked("no.such.Service")]
}

/// What is asked of reflection, in both of its versions; the services come first.
pub(super) fn reflection() -> Vec<ServerReflectionRequest> {
    let text = str::to_owned;
    [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol(text(CHUNK_STORE)),
        MessageRequest::FileByFilename(text("no/such.proto")),
        MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: text(CHUNK_STORE),
            extension_number: 1,
        }),
        MessageRequest::AllExtensionNumbersOfType(text(CHUNK_STORE)),
    ]
    .into_iter()
    .map(|message| ServerReflectionRequest {
        host: "localhost".to_owned(),
        message_request: Some(message),
    })
    .collect()
}

/// Whether an answer of reflection lists services.
pub(super) fn lists_services(answer: &[u8]) -> bool {
    let answer = ServerReflectionResponse::decode(answer).unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        return false;
    };
    listed
        .service
        .iter()
        .any(|service| service.name == CHUNK_STORE)
}
