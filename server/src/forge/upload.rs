//! Table files come in.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::repo::spool::Sender;
use holdfast_chunkstore::repo::{
    Actor, DeclaredFile, Incoming, RepoName, StoredFile, UploadFailure,
};

use super::access::Action;
use super::addresses::UploadTicket;
use super::refusals::Refusals;
use super::turns::Turns;
use super::{Caller, Forge, ForgeError};

/// A file that is coming in by an address that was checked.
#[derive(Debug)]
pub struct Arriving {
    /// What the address allows.
    pub file: DeclaredFile,
    repo: RepoName,
    incoming: Option<Incoming>,
    sender: Sender,
    turns: Turns,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
}

impl Arriving {
    /// Whether the file is there already, and what is written is dropped.
    pub fn is_known(&self) -> bool {
        self.incoming.is_none()
    }

    /// Hands over the next bytes.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), ForgeError> {
        match &mut self.incoming {
            Some(incoming) => Ok(incoming.write(piece).await?),
            None => Ok(()),
        }
    }

    /// Checks the file and keeps it; success means durable.
    pub async fn finish(self) -> Result<(), ForgeError> {
        let Some(incoming) = self.incoming else {
            return Ok(());
        };
        let _turn = self.turns.take(self.sender).await;
        let StoredFile {
            id, len, chunks, ..
        } = incoming.finish().await.inspect_err(|failure| {
            let now = self.clock.monotonic();
            self.refusals.note(&self.repo, &self.file, now, failure);
        })?;
        tracing::debug!(repo = %self.repo, file = %id, len, chunks, "table file taken in");
        Ok(())
    }
}

impl Forge {
    /// Decides whether a file may be sent, and gives the address; nothing if it need not be sent.
    pub async fn offer_upload(
        &self,
        caller: &Caller,
        name: &RepoName,
        file: DeclaredFile,
    ) -> Result<Option<String>, ForgeError> {
        let repository = self.writable(caller, name).await?;
        if repository.knows(&file).await? {
            return Ok(None);
        }
        let now = self.clock().monotonic();
        if let Some(why) = self.refusals.find(name, &file, now) {
            return Err(ForgeError::Refused {
                reason: format!("table file {} was refused a while ago: {why}", file.id),
            });
        }
        // A refusal at the PUT would cost the client six whole uploads. Room that others take is waited for there.
        let judged = self.repositories.parts().spool.judge(file.len).await;
        judged.map_err(|error| UploadFailure::Upload(error.into()))?;
        let ticket = UploadTicket {
            repo: name.clone(),
            file,
            actor: caller.principal.name().to_owned(),
        };
        let path = self.addresses.upload(&ticket, self.clock().now());
        Ok(Some(format!("{}{path}", caller.base_url.as_str())))
    }

    /// Checks the address of an upload and begins to receive the file. What is known already is read and
    /// dropped: the client sends it anyway. The room that it takes is counted with `sender`.
    pub async fn begin_upload(
        &self,
        path: &str,
        query: Option<&str>,
        client: String,
        sender: Sender,
    ) -> Result<Arriving, ForgeError> {
        let now: Timestamp = self.clock().now();
        let UploadTicket { repo, file, actor } = self.addresses.check_upload(path, query, now)?;
        self.access.check_server(Action::Write)?;
        let repository = self.repositories.reserve(&repo).await?;
        let incoming = if repository.knows(&file).await? {
            None
        } else {
            let actor = Actor {
                name: actor,
                client,
            };
            Some(repository.receive(file.clone(), actor, sender).await?)
        };
        Ok(Arriving {
            file,
            repo,
            incoming,
            sender,
            turns: self.turns.clone(),
            refusals: Arc::clone(&self.refusals),
            clock: Arc::clone(self.clock()),
        })
    }
}
