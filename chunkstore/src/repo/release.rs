//! Damaged files that nothing needs any more are released.
//!
//! # Order
//! What was lost is sent again by a client, in other files. Then all below the root is walked, and all other files are
//! read and compared; only then one record takes the damaged ones out. Their bytes, or what is left of them, go when no
//! address of them is good any more ([`crate::repo::expiry`]).
//!
//! # Crash
//! Before the record nothing happened; a server that starts again notices the damage again.

use std::collections::BTreeSet;

use crate::address::{ChunkAddress, RootAddress};
use crate::address_set::{AddressSet, SetOptions};
use crate::id::UploadId;
use crate::repo::error::RepositoryError;
use crate::repo::locate::Named;
use crate::repo::log::{Deletions, Draft};
use crate::repo::parts::ReadChunks as _;
use crate::repo::read::NamedChunks;
use crate::repo::record::{Act, Actor};
use crate::repo::repository::Repository;
use crate::repo::served::View;
use crate::repo::state::State;
use crate::repo::verify::closed::{self, Closed};
use crate::repo::verify::references;

/// How many chunks are read at once: each may have 16 MiB.
const BATCH: usize = 32;
/// What the addresses that were walked over may take in memory.
const SEEN_BYTES: usize = 8 << 20;
/// How often another change may come between before it is left for the next.
const ATTEMPTS: u32 = 3;

/// What is known of how much a repository lacks because of its damaged files.
#[derive(Debug, Default)]
pub(crate) struct Lacking {
    /// One walk at a time.
    turn: tokio::sync::Mutex<()>,
    memory: parking_lot::Mutex<Memory>,
    /// The damaged file that was looked at again last.
    pub(crate) looked_at: parking_lot::Mutex<Option<UploadId>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Where all below the root was there.
    whole_at: Option<Sound>,
    /// A chunk below a root that was not there.
    below: Option<(RootAddress, ChunkAddress)>,
    /// A chunk that one of the other files refers to and that was not there, with so many changes of the damaged files:
    /// of more damaged files it may be that none of the others refers to it.
    dangling: Option<(u64, ChunkAddress)>,
    /// The files that were found to hold all that they refer to, and all below the root of that time.
    closed: Option<BTreeSet<UploadId>>,
    /// So many changes of the damaged files had been when it was found out last whether the others need them.
    judged: Option<u64>,
    /// A file of which it cannot be told what it refers to, and which is not known to be damaged.
    unreadable: Option<UploadId>,
}

/// A root, and the files that are not known to be damaged: what was found below the one in the others stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sound {
    root: RootAddress,
    /// The digest of their names.
    files: [u8; 32],
}

impl Repository {
    fn sound(&self, state: &State) -> Sound {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for upload in state.files.keys() {
            if self.damage(*upload).is_none() {
                digest.update(upload.to_string().as_bytes());
            }
        }
        let mut files = [0; 32];
        files.copy_from_slice(digest.finish().as_ref());
        Sound {
            root: state.root,
            files,
        }
    }

    /// Whether the last state that was seen names files that are known to be damaged.
    pub async fn has_damage(&self) -> bool {
        if self.shared.damaged.changes() == 0 {
            return false;
        }
        match self.recent_state().await {
            Ok(state) => !self.damaged_in(&state).is_empty(),
            Err(_) => false,
        }
    }

    /// Whether everything below the root lies in files that are not known to be damaged. What was found is remembered.
    pub(crate) async fn is_whole_below_root(&self, state: &State) -> Result<bool, RepositoryError> {
        let lacking = &self.shared.lacking;
        let _turn = lacking.turn.lock().await;
        let now = self.sound(state);
        let (whole_at, below) = {
            let memory = lacking.memory.lock();
            (memory.whole_at, memory.below)
        };
        if whole_at == Some(now) {
            return Ok(true);
        }
        if let Some((root, address)) = below
            && root == state.root
            && self.is_lacking(state, address).await?
        {
            return Ok(false);
        }
        let lacks = self.first_lacking(state).await?;
        if lacks.is_some() {
            self.note_needed(state);
        }
        let mut memory = lacking.memory.lock();
        memory.below = lacks.map(|address| (state.root, address));
        // Files that were noticed on the way were read before they were.
        let now = self.sound(state);
        memory.whole_at = lacks.is_none().then_some(now);
        Ok(lacks.is_none())
    }

    async fn is_lacking(
        &self,
        state: &State,
        address: ChunkAddress,
    ) -> Result<bool, RepositoryError> {
        let named = self.named(state, View::Current).await?;
        Ok(self.locate_in(&named, &[address]).await? == [None])
    }

    /// Walks over all below the root until a chunk is not there.
    async fn first_lacking(&self, state: &State) -> Result<Option<ChunkAddress>, RepositoryError> {
        let parts = &self.shared.parts;
        let Some(root) = state.root.chunk() else {
            return Ok(None);
        };
        let named = self.named(state, View::Current).await?;
        let mut seen = AddressSet::new(SetOptions {
            directory: parts.spool.path().to_owned(),
            memory_bytes: SEEN_BYTES,
        });
        let mut waiting = vec![root];
        while !waiting.is_empty() {
            let mut batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
            let chunks = match self.read_whole(&named, &batch).await? {
                Ok(chunks) => chunks,
                Err(lacking) => return Ok(Some(lacking)),
            };
            waiting.extend(batch.drain(chunks.len()..));
            let children = parts.find_children();
            let find = move || {
                let mut below = Vec::new();
                for chunk in &chunks {
                    // What cannot be understood was taken in as such, and refers to nothing that is known.
                    drop(children.children(chunk, &mut |address| below.push(address)));
                }
                seen.insert_new(&mut below).map(|()| (seen, below))
            };
            let found = parts.pool.run(find).await;
            let (back, below) = found.map_err(|source| RepositoryError::Io {
                action: "remember the chunks below the root",
                source,
            })?;
            seen = back;
            waiting.extend(below);
        }
        Ok(None)
    }

    /// Reads the first of some chunks, or tells one that is not there, or only in a damaged file.
    async fn read_whole(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
    ) -> Result<Result<Vec<bytes::Bytes>, ChunkAddress>, RepositoryError> {
        let named_chunks = NamedChunks {
            repository: self,
            named,
        };
        match named_chunks.read_chunks(addresses).await {
            Ok(chunks) if chunks.iter().all(Option::is_some) => {
                return Ok(Ok(chunks.into_iter().flatten().collect()));
            }
            Ok(_) | Err(RepositoryError::FileDamaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let found = self.locate_in(named, addresses).await?;
        let mut absent = addresses.iter().zip(found);
        let absent = absent.find(|(_, place)| place.is_none());
        // One of them was found damaged just now, and nothing tells which.
        Ok(Err(absent.map_or(addresses[0], |(address, _)| *address)))
    }

    /// Lets a file that could not be read be read again: a fault of the disk may have passed.
    pub fn try_unreadable_again(&self) {
        self.shared.lacking.memory.lock().unreadable = None;
    }

    /// Releases the damaged files of the last state that nothing needs any more, and that may go. Returns how many.
    pub async fn release_damaged(&self) -> Result<usize, RepositoryError> {
        for _ in 0..ATTEMPTS {
            let state = self.state().await?;
            self.forget_damage(&state);
            let damaged = self.damaged_in(&state);
            let now = self.shared.parts.clock.monotonic();
            let may_go = |upload: &UploadId| self.shared.damaged.may_go(*upload, now);
            let released = damaged.iter().map(|(upload, _)| *upload);
            let released: Vec<UploadId> = released.filter(may_go).collect();
            let changes = self.shared.damaged.changes();
            let is_judged = self.shared.lacking.memory.lock().judged == Some(changes);
            if damaged.is_empty() || (released.is_empty() && is_judged) {
                return Ok(0);
            }
            if !self.is_needless(&state).await? {
                // More of them may have been noticed just now, and nothing may need the others but those.
                match self.damaged_in(&state).len() > damaged.len() {
                    true => continue,
                    false => return Ok(0),
                }
            }
            self.shared.lacking.memory.lock().judged = Some(changes);
            if released.is_empty() {
                return Ok(0);
            }
            // One that came back since it was looked at last is whole again.
            if self.look_at_each(&state, &released).await? > 0 {
                continue;
            }
            let count = released.len();
            let _appending = self.shared.appending.lock().await;
            let last = self.state().await?;
            // Only of this state it is known; others may have been noticed meanwhile.
            if last.sequence != state.sequence || self.damaged_in(&last) != damaged {
                continue;
            }
            let draft = Draft {
                act: Act::Release,
                actor: Actor {
                    name: "holdfast".to_owned(),
                    client: "repair".to_owned(),
                },
                new_root: last.root,
                refs: Vec::new(),
                added: Vec::new(),
                retired: Vec::new(),
                released,
                deletions: Deletions::default(),
            };
            if self.append(&last, &draft).await? {
                self.forget_damage(&*self.recent_state().await?);
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Notes that something is lacking as long as the damaged files of a state are.
    fn note_needed(&self, state: &State) {
        let damaged = self.damaged_in(state);
        let uploads = damaged.iter().map(|(upload, _)| upload);
        self.shared.damaged.note_needed(uploads);
    }

    /// Whether the files that are not damaged hold all below the root and all that they refer to.
    async fn is_needless(&self, state: &State) -> Result<bool, RepositoryError> {
        if !self.is_whole_below_root(state).await? {
            return Ok(false);
        }
        let changes = self.shared.damaged.changes();
        let dangling = self.shared.lacking.memory.lock().dangling;
        if let Some((then, address)) = dangling
            && then == changes
            && self.is_lacking(state, address).await?
        {
            return Ok(false);
        }
        let unreadable = self.shared.lacking.memory.lock().unreadable;
        let counts =
            |upload: &UploadId| state.files.contains_key(upload) && self.damage(*upload).is_none();
        if unreadable.as_ref().is_some_and(counts) {
            return Ok(false);
        }
        let sound: BTreeSet<UploadId> = state.files.keys().copied().filter(counts).collect();
        let closed = match self.is_closed_with(state, &sound).await? {
            Some(closed) => closed,
            None => closed::check(self, state).await?,
        };
        if matches!(closed, Closed::Lacks(_)) {
            self.note_needed(state);
        }
        let mut memory = self.shared.lacking.memory.lock();
        match closed {
            Closed::Lacks(address) => memory.dangling = Some((changes, address)),
            Closed::Unreadable(upload) => memory.unreadable = Some(upload),
            Closed::Whole => memory.closed = Some(sound),
            Closed::Unknown => {}
        }
        Ok(closed == Closed::Whole)
    }

    /// Whether the files that were found to hold all that they refer to still do with those that came since. Only these
    /// are read: a repository to which much is pushed would be read again and again. Nothing where it must be read whole.
    async fn is_closed_with(
        &self,
        state: &State,
        sound: &BTreeSet<UploadId>,
    ) -> Result<Option<Closed>, RepositoryError> {
        let known = self.shared.lacking.memory.lock().closed.clone();
        let Some(known) = known.filter(|known| known.is_subset(sound)) else {
            return Ok(None);
        };
        let named = self.named(state, View::Current).await?;
        for upload in sound.difference(&known) {
            let lost = references::lost(self, &named, &state.files[upload]).await;
            match lost {
                Ok(None) => {}
                Ok(Some((address, _))) => return Ok(Some(Closed::Lacks(address))),
                Err(RepositoryError::FileDamaged { .. }) => return Ok(Some(Closed::Unknown)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Closed::Whole))
    }
}
