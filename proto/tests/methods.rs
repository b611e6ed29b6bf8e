//! The names on the wire: a wrong one would still compile, and no client would find the method.

use holdfast_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Returns each method as `path request -> response`, streams marked as such.
fn methods(descriptors: &FileDescriptorSet) -> Vec<String> {
    let mut methods = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!(
                    "/{}.{}/{} {}{} -> {}{}",
                    file.package(),
                    service.name(),
                    method.name(),
                    if method.client_streaming() {
                        "stream "
                    } else {
                        ""
                    },
                    last_part(method.input_type()),
                    if method.server_streaming() {
                        "stream "
                    } else {
                        ""
                    },
                    last_part(method.output_type()),
                ));
            }
        }
    }
    methods.sort();
    methods
}

/// Returns a type's name without its package.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[test]
fn the_methods_are_those_of_dolt() {
    let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let expected = "\
ChunkStoreService/AddTableFiles AddTableFilesRequest -> AddTableFilesResponse
ChunkStoreService/Commit CommitRequest -> CommitResponse
ChunkStoreService/GetDownloadLocations GetDownloadLocsRequest -> GetDownloadLocsResponse
ChunkStoreService/GetRepoMetadata GetRepoMetadataRequest -> GetRepoMetadataResponse
ChunkStoreService/GetUploadLocations GetUploadLocsRequest -> GetUploadLocsResponse
ChunkStoreService/HasChunks HasChunksRequest -> HasChunksResponse
ChunkStoreService/ListTableFiles ListTableFilesRequest -> ListTableFilesResponse
ChunkStoreService/Rebase RebaseRequest -> RebaseResponse
ChunkStoreService/RefreshTableFileUrl RefreshTableFileUrlRequest -> RefreshTableFileUrlResponse
ChunkStoreService/Root RootRequest -> RootResponse
ChunkStoreService/StreamChunkLocations stream StreamChunkLocationsRequest -> stream StreamChunkLocationsResponse
ChunkStoreService/StreamDownloadLocations stream GetDownloadLocsRequest -> stream GetDownloadLocsResponse
CredentialsService/WhoAmI WhoAmIRequest -> WhoAmIResponse";
    let expected: Vec<String> = expected
        .lines()
        .map(|line| format!("/dolt.services.remotesapi.v1alpha1.{line}"))
        .collect();
    assert_eq!(methods(&descriptors), expected);
}
