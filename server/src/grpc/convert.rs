//! Between messages and the domain: everything that a message may get wrong is found here.

use bytes::Bytes;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::repo::{DeclaredFile, FileKind, Md5, NamedFile, RepoName};
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_proto::remotesapi as wire;

use crate::forge::commit::Wish;
use crate::forge::error::ForgeError;

/// The only chunk format there is.
pub const CHUNK_FORMAT: &str = "__DOLT__";
/// The store formats that clients ask for; neither means anything any more.
const STORE_FORMATS: [&str; 2] = ["4", "5"];

/// Messages that name a repository.
pub trait NamesRepository {
    /// The path, and the id of two parts; the path counts where both are there.
    fn repository(&self) -> (&str, Option<&wire::RepoId>);
}

macro_rules! names_repository {
    ($($message:ident),* $(,)?) => {$(
        impl NamesRepository for wire::$message {
            fn repository(&self) -> (&str, Option<&wire::RepoId>) {
                (&self.repo_path, self.repo_id.as_ref())
            }
        }
    )*};
}

names_repository!(
    GetRepoMetadataRequest,
    HasChunksRequest,
    GetDownloadLocsRequest,
    StreamChunkLocationsRequest,
    GetUploadLocsRequest,
    RebaseRequest,
    RootRequest,
    CommitRequest,
    ListTableFilesRequest,
    RefreshTableFileUrlRequest,
    AddTableFilesRequest,
);

/// The repository that a message names. A name that no repository can have is one that is not found.
pub fn repo_name(message: &impl NamesRepository) -> Result<RepoName, ForgeError> {
    let (path, id) = message.repository();
    let text = match (path, id) {
        ("", None) => {
            return Err(ForgeError::invalid(
                "expected repo_path or repo_id, got neither",
            ));
        }
        ("", Some(wire::RepoId { org, repo_name })) if org.is_empty() || repo_name.is_empty() => {
            return Err(ForgeError::invalid(
                "expected repo_id.org and repo_id.repo_name, missing at least one",
            ));
        }
        ("", Some(wire::RepoId { org, repo_name })) => format!("{org}/{repo_name}"),
        (path, _) => path.trim_matches('/').to_owned(),
    };
    if text.is_empty() {
        return Err(ForgeError::invalid("repo_path is empty"));
    }
    text.parse().map_err(ForgeError::NoSuchName)
}

/// Checks the formats that a client asks for; returns the store format, which is answered as it was asked.
pub fn client_format(format: Option<&wire::ClientRepoFormat>) -> Result<String, ForgeError> {
    let format = format.ok_or_else(|| ForgeError::invalid("expected client_repo_format"))?;
    if format.nbf_version != CHUNK_FORMAT {
        let have = short(&format.nbf_version);
        return Err(ForgeError::invalid(format!(
            "unsupported client_repo_format.nbf_version {have:?}: only {CHUNK_FORMAT} is served"
        )));
    }
    if !STORE_FORMATS.contains(&format.nbs_version.as_str()) {
        let have = short(&format.nbs_version);
        return Err(ForgeError::invalid(format!(
            "unsupported client_repo_format.nbs_version {have:?}: expected 4 or 5"
        )));
    }
    Ok(format.nbs_version.clone())
}

/// Text of a client as an error may repeat it.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Reads a list of addresses.
pub fn addresses(field: &str, hashes: &[Bytes]) -> Result<Vec<ChunkAddress>, ForgeError> {
    let one = |(i, hash): (usize, &Bytes)| {
        ChunkAddress::try_from(hash.as_ref())
            .map_err(|error| ForgeError::invalid(format!("{field}[{i}]: {error}")))
    };
    hashes.iter().enumerate().map(one).collect()
}

/// Reads addresses that stand one behind the other.
pub fn flat_addresses(field: &str, hashes: &[u8]) -> Result<Vec<ChunkAddress>, ForgeError> {
    let (addresses, rest) = hashes.as_chunks::<{ ChunkAddress::LEN }>();
    if !rest.is_empty() {
        let have = hashes.len();
        return Err(ForgeError::invalid(format!(
            "expected {field} to be a multiple of 20 bytes, was {have}"
        )));
    }
    Ok(addresses
        .iter()
        .map(|bytes| ChunkAddress::new(*bytes))
        .collect())
}

/// Reads the root addresses and the files of a Commit.
pub fn wish(message: &wire::CommitRequest) -> Result<Wish, ForgeError> {
    let root = |field: &str, bytes: &Bytes| {
        RootAddress::try_from(bytes.as_ref())
            .map_err(|error| ForgeError::invalid(format!("{field}: {error}")))
    };
    Ok(Wish {
        current: root("current", &message.current)?,
        last: root("last", &message.last)?,
        files: named_files(&message.chunk_table_info)?,
    })
}

/// Reads the files that a message wants to add.
pub fn named_files(files: &[wire::ChunkTableInfo]) -> Result<Vec<NamedFile>, ForgeError> {
    let one = |(i, file): (usize, &wire::ChunkTableInfo)| {
        let id = TableFileId::try_from(file.hash.as_ref())
            .map_err(|error| ForgeError::invalid(format!("chunk_table_info[{i}].hash: {error}")))?;
        if file.chunk_count == 0 {
            return Err(ForgeError::invalid(format!(
                "expected chunk_table_info[{i}].chunk_count to be non-zero"
            )));
        }
        Ok(NamedFile {
            id,
            chunks: file.chunk_count,
        })
    };
    files.iter().enumerate().map(one).collect()
}

/// Reads what a client says of a file that it wants to send.
pub fn declared_file(
    i: usize,
    details: &wire::TableFileDetails,
) -> Result<DeclaredFile, ForgeError> {
    let wrong = |what: &str| ForgeError::invalid(format!("table_file_details[{i}].{what}"));
    let id = TableFileId::try_from(details.id.as_ref())
        .map_err(|error| wrong(&format!("id: {error}")))?;
    let kind = match details.suffix.as_str() {
        "" => FileKind::Table,
        ".darc" => FileKind::Archive,
        other => {
            return Err(wrong(&format!(
                "suffix: {:?} is neither empty nor .darc",
                short(other)
            )));
        }
    };
    let md5 = match details.content_hash.as_ref() {
        [] => None,
        bytes => Some(Md5(bytes
            .try_into()
            .map_err(|_| wrong("content_hash has not 16 bytes"))?)),
    };
    if details.content_length == 0 {
        return Err(wrong("content_length is 0"));
    }
    let chunks = u32::try_from(details.num_chunks)
        .ok()
        .filter(|chunks| *chunks > 0);
    Ok(DeclaredFile {
        id,
        kind,
        len: details.content_length,
        chunks: chunks
            .ok_or_else(|| wrong("num_chunks is 0, or more than a table file can have"))?,
        md5,
    })
}

/// A time as messages carry it.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.0 % 1000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds, nanos }
}
