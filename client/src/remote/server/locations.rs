//! Asks a server where chunks lie.
//!
//! All messages go out at once. Where a stream breaks, what it left unanswered is asked for on a new one.

use std::collections::{HashMap, HashSet};

use futures::stream;
use holdfast_chunkstore::ChunkAddress;
use holdfast_proto::remotesapi::{GetDownloadLocsRequest, StreamChunkLocationsRequest};
use tonic::{Status, Streaming};

use super::CAPABILITIES;
use super::answers::{ACTION, Answers, FileNames, Located};
use super::connection::{Abilities, Connection};
use crate::remote::{Budget, RemoteError};

impl Connection {
    /// Asks where chunks lie. No address stands there twice.
    pub(super) async fn locate(&self, addresses: &[ChunkAddress]) -> Result<Located, RemoteError> {
        let abilities = self.known_abilities().await?;
        let mut answers = Answers::new(addresses);
        let mut budget = Budget::new();
        while answers.is_open() {
            let answered = answers.answered();
            let asked = match abilities.has_location_records {
                true => self.ask_for_records(&mut answers).await,
                false => self.ask_for_ranges(&mut answers).await,
            };
            let Err(error) = asked else { continue };
            if answers.answered() > answered {
                budget.renew();
            }
            if !error.may_pass() || !self.wait_after(&error, &mut budget).await {
                return Err(error);
            }
        }
        Ok(answers.finish())
    }

    /// Asks how long the stored forms of chunks are: one answer per address, in their order.
    pub(super) async fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        let mut seen = HashSet::with_capacity(addresses.len());
        let mut asked = addresses.to_vec();
        asked.retain(|address| seen.insert(*address));
        let located = self.locate(&asked).await?;
        let found = asked.iter().zip(located.locations);
        let lens: HashMap<_, _> = found
            .filter_map(|(address, location)| Some((*address, location?.span.len)))
            .collect();
        let addresses = addresses.iter();
        Ok(addresses
            .map(|address| lens.get(address).copied())
            .collect())
    }

    async fn known_abilities(&self) -> Result<Abilities, RemoteError> {
        if let Some(abilities) = self.abilities() {
            return Ok(abilities);
        }
        self.metadata().await?;
        Ok(self
            .abilities()
            .expect("what the metadata says is kept, and never forgotten"))
    }

    /// Asks for all that is open by one stream of the newer form.
    async fn ask_for_records(&self, answers: &mut Answers<'_>) -> Result<(), RemoteError> {
        let message = |batch: &[ChunkAddress]| StreamChunkLocationsRequest {
            repo_id: self.repo_id(),
            repo_token: self.token(),
            repo_path: self.repo_path(),
            chunk_hashes: flat(batch).into(),
            client_capabilities: CAPABILITIES.to_vec(),
        };
        let messages: Vec<_> = answers.open_batches().map(message).collect();
        let request = self.request(stream::iter(messages));
        let mut calls = self.calls();
        let opened = self.patiently(ACTION, calls.stream_chunk_locations(request));
        let mut stream = opened.await?.into_inner();
        let mut names = FileNames::new();
        while answers.is_open() {
            let mut answer = self.next(&mut stream).await?;
            self.keep_token(std::mem::take(&mut answer.repo_token));
            answers.take_records(&mut names, &answer)?;
        }
        Ok(())
    }

    /// Asks for all that is open by one stream of the older form.
    async fn ask_for_ranges(&self, answers: &mut Answers<'_>) -> Result<(), RemoteError> {
        let message = |batch: &[ChunkAddress]| {
            let hashes = flat(batch);
            let hashes = hashes.chunks(ChunkAddress::LEN);
            GetDownloadLocsRequest {
                repo_id: self.repo_id(),
                repo_token: self.token(),
                repo_path: self.repo_path(),
                chunk_hashes: hashes.map(|hash| hash.to_vec().into()).collect(),
                client_capabilities: CAPABILITIES.to_vec(),
            }
        };
        let messages: Vec<_> = answers.open_batches().map(message).collect();
        let request = self.request(stream::iter(messages));
        let mut calls = self.calls();
        let opened = self.patiently(ACTION, calls.stream_download_locations(request));
        let mut stream = opened.await?.into_inner();
        while answers.is_open() {
            let mut answer = self.next(&mut stream).await?;
            self.keep_token(std::mem::take(&mut answer.repo_token));
            answers.take_ranges(&answer)?;
        }
        Ok(())
    }

    async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<T, RemoteError> {
        match self.patiently(ACTION, stream.message()).await? {
            Some(answer) => Ok(answer),
            None => {
                let ended = Status::unavailable("the stream ended before its last answer");
                Err(self.refused(ACTION, ended).await)
            }
        }
    }
}

/// The addresses one behind the other.
fn flat(addresses: &[ChunkAddress]) -> Vec<u8> {
    let bytes = addresses.iter().flat_map(|address| address.as_bytes());
    bytes.copied().collect()
}
