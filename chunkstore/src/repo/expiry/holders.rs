//! Which retired files may be released: all of their chunks lie in named files, which are read back for that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::index::{FoundPlaces, SortedEntries};
use crate::objects::ObjectError;
use crate::repo::entries::{self, EntriesError, FileEntries};
use crate::repo::error::{RepositoryError, index};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::locate::Named;
use crate::repo::record::RetiredFile;
use crate::repo::repository::Repository;
use crate::repo::served::View;
use crate::repo::state::State;
use crate::repo::uploads::BATCH;
use crate::repo::verify::held::{Held, add_addresses};
use crate::sort::Sorter;

/// How long it counts that a file was read back.
const READ_BACK_FOR: Duration = Duration::from_hours(24);

/// Files that may be released as long as others are named.
#[derive(Debug, Default)]
pub(super) struct Releasable {
    /// These.
    pub(super) files: Vec<UploadId>,
    /// The files that hold all of their chunks.
    pub(super) holders: BTreeSet<UploadId>,
}

/// What a retired file holds.
enum Listed {
    /// These chunks.
    Chunks(FileEntries),
    /// It is not there: nothing of it can be lost any more.
    Gone,
}

impl Repository {
    /// Those of some retired files all of whose chunks lie in named files, by what these are when they are read back.
    pub(super) async fn releasable(
        &self,
        state: &State,
        retired: Vec<RetiredFile>,
    ) -> Result<Releasable, RepositoryError> {
        let mut releasable = Releasable::default();
        if retired.is_empty() {
            return Ok(releasable);
        }
        let named = self.named(state, View::Current).await?;
        let sort = self.shared.parts.spool.for_reads().sort_options();
        let mut wanted = Sorter::new(sort);
        for (upload, file) in self.known_files(&retired).await? {
            let listed = match &file {
                Some(file) => self.listed(file).await,
                None => Ok(Listed::Gone),
            };
            match listed {
                Ok(Listed::Gone) => {}
                Ok(Listed::Chunks(chunks)) => {
                    let holders = &mut releasable.holders;
                    if let Some(lacking) = self.find_holders(&named, &chunks, holders).await? {
                        let why = format!("no named file holds its chunk {lacking}");
                        self.keep_back(upload, &why);
                        continue;
                    }
                    add_addresses(self, &mut wanted, &chunks).await?;
                }
                Err(error) if is_damage(&error) => {
                    self.keep_back(upload, "its index is damaged");
                    continue;
                }
                Err(source) => return Err(RepositoryError::Entries { source }),
            }
            releasable.files.push(upload);
        }
        if !self.hold_all(state, &releasable, wanted).await? {
            releasable.files.clear();
        }
        Ok(releasable)
    }

    async fn listed(&self, file: &StoredFile) -> Result<Listed, EntriesError> {
        let (parts, key) = (&self.shared.parts, layout::file(self.shared.pool, file));
        match entries::read_entries(&*parts.objects, &key, file, &parts.spool).await {
            Ok(chunks) => Ok(Listed::Chunks(chunks)),
            Err(EntriesError::Object {
                source: ObjectError::NotFound { .. },
                ..
            }) => Ok(Listed::Gone),
            Err(error) => Err(error),
        }
    }

    /// Adds files that hold the chunks of a file to the holders. Returns a chunk that is in none.
    async fn find_holders(
        &self,
        named: &Named,
        chunks: &FileEntries,
        holders: &mut BTreeSet<UploadId>,
    ) -> Result<Option<ChunkAddress>, RepositoryError> {
        let pool = &self.shared.parts.pool;
        let reading = || index("read the chunks of a retired file");
        let begun = chunks.clone();
        let mut rest: SortedEntries = pool.run(move || begun.sorted()).await.map_err(reading())?;
        loop {
            let take = move || {
                let addresses = rest.by_ref().map(|entry| entry.map(|entry| entry.address));
                let batch: Result<Vec<ChunkAddress>, _> = addresses.take(BATCH).collect();
                (rest, batch)
            };
            let batch;
            (rest, batch) = pool.run(take).await;
            let batch = batch.map_err(reading())?;
            if batch.is_empty() {
                return Ok(None);
            }
            let places = self.places_in(named, &batch).await?;
            if let Some(lacking) = choose(holders, &places, named) {
                return Ok(Some(batch[lacking]));
            }
        }
    }

    /// Whether the holders, read back from the store, hold all that is wanted.
    async fn hold_all(
        &self,
        state: &State,
        releasable: &Releasable,
        wanted: Sorter<20>,
    ) -> Result<bool, RepositoryError> {
        let mut held = Held::new(self);
        for upload in &releasable.holders {
            let Some(file) = state.files.get(upload) else {
                return Ok(false);
            };
            let now = self.shared.parts.clock.monotonic();
            if self.was_read_back(*upload, now) {
                held.take_listed(file).await?;
            } else if held.read_back(file).await? {
                self.shared
                    .expiry
                    .memory
                    .lock()
                    .read_back
                    .insert(*upload, now);
            } else {
                return Ok(false);
            }
        }
        self.forget_read_back(state);
        let Some(lacking) = held.first_lacking(wanted).await? else {
            return Ok(true);
        };
        let why = format!("the files that should hold its chunks lack {lacking}");
        for upload in &releasable.files {
            self.keep_back(*upload, &why);
        }
        Ok(false)
    }

    fn was_read_back(&self, upload: UploadId, now: Duration) -> bool {
        let memory = self.shared.expiry.memory.lock();
        let read_back = memory.read_back.get(&upload);
        read_back.is_some_and(|then| now.saturating_sub(*then) < READ_BACK_FOR)
    }

    fn forget_read_back(&self, state: &State) {
        let mut memory = self.shared.expiry.memory.lock();
        let is_named = |upload: &UploadId| state.files.contains_key(upload);
        memory.read_back.retain(|upload, _| is_named(upload));
        let is_retired = |upload: &UploadId| state.retired.contains_key(upload);
        memory.kept_back.retain(is_retired);
    }

    /// Leaves a retired file as it is until the next start, and says so.
    fn keep_back(&self, upload: UploadId, why: &str) {
        if self.shared.expiry.memory.lock().kept_back.insert(upload) {
            let repo = &self.shared.name;
            tracing::warn!(%repo, %upload, why, "a merged file is kept: it may hold what nothing else does");
        }
    }
}

fn is_damage(error: &EntriesError) -> bool {
    match error {
        EntriesError::Object { source, .. } => matches!(source, ObjectError::Range { .. }),
        EntriesError::Damaged { .. } | EntriesError::Different { .. } => true,
        EntriesError::Spool { .. } | EntriesError::Scratch { .. } => false,
    }
}

/// Adds files to the holders until each chunk lies in one: the one that holds most of the others first, of several the
/// smallest. Returns the position of a chunk that lies nowhere.
fn choose(
    holders: &mut BTreeSet<UploadId>,
    places: &[FoundPlaces],
    named: &Named,
) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::<UploadId, usize>::new();
    let mut open: Vec<(usize, &FoundPlaces)> = places.iter().enumerate().collect();
    loop {
        let is_held =
            |places: &FoundPlaces| places.iter().any(|place| holders.contains(&place.file));
        open.retain(|(_, places)| !is_held(places));
        if open.is_empty() {
            return None;
        }
        counts.clear();
        for place in open.iter().flat_map(|(_, places)| places.iter()) {
            *counts.entry(place.file).or_default() += 1;
        }
        let len = |upload: UploadId| named.file(upload).map_or(u64::MAX, |file| file.len);
        let best = counts
            .iter()
            .max_by_key(|(upload, count)| (**count, std::cmp::Reverse(len(**upload))));
        match best {
            Some((upload, _)) => holders.insert(*upload),
            None => return open.first().map(|(position, _)| *position),
        };
    }
}
