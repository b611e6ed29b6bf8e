//! A server is asked to look at a file out of which wrong bytes came: it reads chunks itself only now and then, and
//! goes on to promise what it has lost until it knows.
//!
//! Only holdfastd looks; any other server answers as it always does. What was damaged on its way comes right the next
//! time, and the server finds nothing.

use holdfast_chunkstore::ChunkAddress;
use holdfast_proto::remotesapi::RefreshTableFileUrlRequest;
use reqwest::Url;

use super::connection::{Connection, LONG_PATIENCE};
use crate::remote::{CHECK, RemoteError};

impl Connection {
    /// The error of a read out of which wrong bytes came: that the file is damaged if the server finds it so, else the
    /// same.
    pub(super) async fn doubt(&self, error: RemoteError) -> RemoteError {
        let Some(address) = wrong_chunk(&error) else {
            return error;
        };
        let Ok(located) = self.locate(&[address]).await else {
            return error;
        };
        match located.places.first() {
            Some(place) => match self.check_file(place.url.as_str()).await {
                Err(damaged) if damaged.is_of_damage() => damaged,
                _ => error,
            },
            None => error,
        }
    }

    /// Asks the server to compare the bytes of a file, named by an address of it, with what it took in.
    pub(super) async fn check_file(&self, url: &str) -> Result<(), RemoteError> {
        let Some(name) = Url::parse(url).ok().and_then(|url| last_segment(&url)) else {
            return Ok(());
        };
        let message = RefreshTableFileUrlRequest {
            repo_id: self.repo_id(),
            repo_path: self.repo_path(),
            repo_token: self.token(),
            file_id: name,
            ..RefreshTableFileUrlRequest::default()
        };
        let action = "ask whether a file of the remote is whole";
        self.call_within(LONG_PATIENCE, action, |mut calls| {
            let mut request = self.request(message.clone());
            let wanted = tonic::metadata::AsciiMetadataValue::from_static("bytes");
            request.metadata_mut().insert(CHECK, wanted);
            async move { calls.refresh_table_file_url(request).await }
        })
        .await
        .map(drop)
    }
}

/// The chunk in whose place something else came.
fn wrong_chunk(error: &RemoteError) -> Option<ChunkAddress> {
    match error {
        RemoteError::Chunk { address, .. } => Some(*address),
        RemoteError::OtherChunk { source } => Some(source.claimed),
        _ => None,
    }
}

fn last_segment(url: &Url) -> Option<String> {
    let last = url.path_segments()?.next_back()?;
    (!last.is_empty()).then(|| last.to_owned())
}
