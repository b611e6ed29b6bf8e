//! Where chunks are, and which are absent.
//!
//! A hit counts only in a file that the repository names. "Absent" is said only of a confirmed state, every
//! file of which has its marker in the index; missing ones are read in first.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::index::{self, ChunkLocation, ChunkSpan, FileSet, FoundPlaces, SortedEntries};
use crate::objects::ObjectKey;
use crate::repo::damage::damage_of;
use crate::repo::entries;
use crate::repo::error::{self, RepositoryError};
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::repository::Repository;
use crate::repo::served::{ServedFile, View};
use crate::repo::state::State;

/// How often the index may be lost under one question before the question fails.
const INDEX_LOSSES: u32 = 8;

/// Where one chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of [`Located::files`].
    pub file: usize,
    /// Where in it.
    pub span: ChunkSpan,
}

/// The answer to "where are these chunks?".
#[derive(Debug, Clone, Default)]
pub struct Located {
    /// The files that hold them.
    pub files: Vec<ServedFile>,
    /// Where each is, in the order asked; nothing where it is absent.
    pub places: Vec<Option<Place>>,
}

/// The files that count for one question.
#[derive(Debug)]
pub(crate) struct Named {
    files: HashMap<UploadId, ServedFile>,
    uploads: FileSet,
    /// Those that were left out because they are damaged.
    damaged: Vec<StoredFile>,
}

impl Named {
    pub(crate) fn new(
        files: impl IntoIterator<Item = ServedFile>,
        damaged: Vec<StoredFile>,
    ) -> Self {
        let files: HashMap<UploadId, ServedFile> = files
            .into_iter()
            .map(|served| (served.file.upload, served))
            .collect();
        let uploads = files.keys().copied().collect();
        Self {
            files,
            uploads,
            damaged,
        }
    }

    /// The same files and these.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = ServedFile>) -> Self {
        let files = self.files.values().cloned().chain(more);
        Self::new(files, self.damaged.clone())
    }

    /// The same files without those that are damaged.
    pub(crate) fn without(&self, damaged: &[StoredFile]) -> Self {
        let is_sound = |served: &&ServedFile| damaged.iter().all(|file| *file != served.file);
        let files = self.files.values().filter(is_sound).cloned();
        let mut left_out = self.damaged.clone();
        left_out.extend_from_slice(damaged);
        Self::new(files, left_out)
    }

    /// The files.
    pub(crate) fn files(&self) -> Vec<ServedFile> {
        self.files.values().cloned().collect()
    }

    /// What is known of one of the files.
    pub(crate) fn file(&self, upload: UploadId) -> Option<&StoredFile> {
        self.files.get(&upload).map(|served| &served.file)
    }

    /// Where the bytes of a file are that [`Named::best`] chose.
    pub(crate) fn key(&self, upload: UploadId) -> ObjectKey {
        self.files[&upload].key.clone()
    }

    /// Of the places of one chunk, all of them in files of this set, the one in the largest file: what is asked
    /// together then lies together.
    fn best(&self, places: &[ChunkLocation]) -> Option<ChunkLocation> {
        let size = |place: &&ChunkLocation| (self.files[&place.file].file.len, place.file);
        match places {
            [only] => Some(*only),
            several => several.iter().max_by_key(size).copied(),
        }
    }
}

impl Repository {
    /// Tells for each address whether the chunk, and everything below it, is absent. What lies in a damaged file alone is,
    /// and will be sent again.
    pub async fn absent(&self, addresses: &[ChunkAddress]) -> Result<Vec<bool>, RepositoryError> {
        let (named, found) = self.locate_anywhere(addresses, View::Current).await?;
        if let index::Located::Found(places) = self.in_damaged(&named, addresses, &found).await? {
            let asked_for = places.iter().flatten().map(|place| &place.file);
            self.shared.damaged.note_needed(asked_for);
        }
        Ok(found.iter().map(Option::is_none).collect())
    }

    /// Finds chunks in the files that `view` sees.
    pub async fn locate(
        &self,
        addresses: &[ChunkAddress],
        view: View,
    ) -> Result<Located, RepositoryError> {
        let (named, found) = self.locate_anywhere(addresses, view).await?;
        self.check_not_lost(&named, addresses, &found).await?;
        let mut numbers: HashMap<UploadId, usize> = HashMap::new();
        let mut located = Located {
            files: Vec::new(),
            places: Vec::with_capacity(found.len()),
        };
        for location in found {
            located.places.push(location.map(|location| {
                let file = *numbers.entry(location.file).or_insert_with(|| {
                    located.files.push(named.files[&location.file].clone());
                    located.files.len() - 1
                });
                Place {
                    file,
                    span: location.span,
                }
            }));
        }
        Ok(located)
    }

    async fn locate_anywhere(
        &self,
        addresses: &[ChunkAddress],
        view: View,
    ) -> Result<(Arc<Named>, Vec<Option<ChunkLocation>>), RepositoryError> {
        let recent = self.recent_state().await?;
        if self.is_ready(&recent, view) {
            let named = self.named(&recent, view).await?;
            let found = self.locate_in(&named, addresses).await?;
            if found.iter().all(Option::is_some) {
                return Ok((named, found));
            }
        }
        let named = self.named(&*self.state().await?, view).await?;
        let found = self.locate_in(&named, addresses).await?;
        Ok((named, found))
    }

    /// The files of a state as `view` sees them. Those of the last state asked for are kept at hand: a clone
    /// asks hundreds of times.
    pub(crate) async fn named(
        &self,
        state: &State,
        view: View,
    ) -> Result<Arc<Named>, RepositoryError> {
        if view == View::Classic {
            return Ok(Arc::new(self.name_files(state, view).await?));
        }
        let now = (state.sequence, self.shared.damaged.changes());
        if let Some((then, named)) = &*self.shared.named.lock()
            && *then == now
        {
            return Ok(Arc::clone(named));
        }
        let named = Arc::new(self.name_files(state, view).await?);
        *self.shared.named.lock() = Some((now, Arc::clone(&named)));
        Ok(named)
    }

    async fn name_files(&self, state: &State, view: View) -> Result<Named, RepositoryError> {
        let damaged = self.damaged_in(state).into_iter();
        let damaged = damaged.map(|(upload, _)| state.files[&upload].clone());
        Ok(Named::new(
            self.served_files(state, view).await?,
            damaged.collect(),
        ))
    }

    /// What is known of a file of the state that was asked for last.
    pub(crate) fn file_at_hand(&self, upload: UploadId) -> Option<StoredFile> {
        let named = self.shared.named.lock();
        let (_, named) = named.as_ref()?;
        named.file(upload).cloned()
    }

    /// Fails if something that was not found may lie in a damaged file.
    pub(crate) async fn check_not_lost(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
        found: &[Option<ChunkLocation>],
    ) -> Result<(), RepositoryError> {
        let file = match self.in_damaged(named, addresses, found).await? {
            index::Located::Found(places) => places.iter().flatten().map(|place| place.file).next(),
            // Nothing tells what it held.
            index::Located::Missing(files) => files.first().copied(),
        };
        match file.and_then(|file| self.damage(file)) {
            Some(damaged) => Err(damaged.error()),
            None => Ok(()),
        }
    }

    /// Where in damaged files that lies which was not found.
    async fn in_damaged(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
        found: &[Option<ChunkLocation>],
    ) -> Result<index::Located, RepositoryError> {
        let nowhere = index::Located::Found(Vec::new());
        if self.shared.damaged.changes() == 0 {
            return Ok(nowhere);
        }
        let absent = addresses.iter().zip(found);
        let absent: Vec<ChunkAddress> = absent
            .filter_map(|(address, place)| place.is_none().then_some(*address))
            .collect();
        let is_damaged = |file: &&StoredFile| self.damage(file.upload).is_some();
        let noticed = named.files.values().map(|served| &served.file);
        let damaged = named.damaged.iter().chain(noticed).filter(is_damaged);
        let damaged: FileSet = damaged.map(|file| file.upload).collect();
        if absent.is_empty() || damaged.is_empty() {
            return Ok(nowhere);
        }
        let (chunk_index, pool) = (&self.shared.parts.index, self.shared.pool);
        let asked = chunk_index.locate_in_files(pool, &damaged, &absent).await;
        asked.map_err(error::index("look chunks up in damaged files"))
    }

    /// Whether a state can be asked without making a twin first.
    fn is_ready(&self, state: &State, view: View) -> bool {
        view == View::Current
            || state
                .files
                .values()
                .all(|file| file.kind == FileKind::Table)
    }

    /// Finds chunks in exactly the files of `named`, reading in what the index lacks.
    pub(crate) async fn locate_in(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<ChunkLocation>>, RepositoryError> {
        let found = self.places_in(named, addresses).await?;
        Ok(found.iter().map(|places| named.best(places)).collect())
    }

    /// Finds all places of chunks in exactly the files of `named`, reading in what the index lacks. Files that turn out
    /// to be damaged are left out.
    pub(crate) async fn places_in(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, RepositoryError> {
        let mut sound = None;
        for _ in 0..INDEX_LOSSES {
            let named = sound.as_ref().unwrap_or(named);
            match self.ask(named, addresses).await? {
                index::Located::Found(found) => return Ok(found),
                index::Located::Missing(files) => {
                    let damaged = self.fill_index(named, &files).await?;
                    if !damaged.is_empty() {
                        sound = Some(named.without(&damaged));
                    }
                }
            }
        }
        Err(RepositoryError::Busy {
            attempts: INDEX_LOSSES,
        })
    }

    async fn ask(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
    ) -> Result<index::Located, RepositoryError> {
        if addresses.is_empty() || named.files.is_empty() {
            return Ok(index::Located::Found(vec![
                FoundPlaces::new();
                addresses.len()
            ]));
        }
        let found = self
            .shared
            .parts
            .index
            .locate_in_files(self.shared.pool, &named.uploads, addresses)
            .await;
        found.map_err(error::index("look chunks up"))
    }

    /// Reads files into the index that have no marker there. Returns those that are damaged.
    async fn fill_index(
        &self,
        named: &Named,
        missing: &[UploadId],
    ) -> Result<Vec<StoredFile>, RepositoryError> {
        let mut damaged = Vec::new();
        for upload in missing {
            let served = &named.files[upload];
            if let Err(error) = self.fill_file(served).await {
                // A twin that is lost is made again.
                let of_file = damage_of(&error).filter(|_| self.as_served(&served.file) == *served);
                self.note_damage(&served.file, of_file.ok_or(error)?);
                damaged.push(served.file.clone());
            }
        }
        Ok(damaged)
    }

    /// Reads a file into the index unless it is marked there by now. One file at a time, and no more for one
    /// turn: who needs a small file does not wait until somebody has read all of his.
    async fn fill_file(&self, served: &ServedFile) -> Result<(), RepositoryError> {
        let parts = &self.shared.parts;
        let _filling = self.shared.filling.lock().await;
        let wanted = [served.file.upload];
        let marks = parts.index.has_files(self.shared.pool, &wanted).await;
        let marks = marks.map_err(error::index("ask which files the chunk index holds"))?;
        if marks == [true] {
            return Ok(());
        }
        tracing::info!(repo = %self.shared.name, file = %served.key, "reading a file into the chunk index");
        let entries =
            entries::read_entries(&*parts.objects, &served.key, &served.file, &parts.spool)
                .await
                .map_err(|source| RepositoryError::Entries { source })?;
        let entries = parts.pool.run(move || entries.sorted()).await;
        let entries = entries.map_err(error::index("read a file's entries"))?;
        self.enter(&served.file, entries).await
    }

    /// Enters a file into the index.
    pub(crate) async fn enter(
        &self,
        file: &StoredFile,
        entries: SortedEntries,
    ) -> Result<(), RepositoryError> {
        let chunk_index = &self.shared.parts.index;
        let entered = chunk_index
            .add_file(
                self.shared.pool,
                file.upload,
                u64::from(file.chunks),
                entries,
            )
            .await;
        entered.map_err(error::index("enter a file into the chunk index"))
    }
}
