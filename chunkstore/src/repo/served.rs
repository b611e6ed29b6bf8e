//! The files that are given out: which there are, under which names, and how they are read.

use crate::address::RootAddress;
use crate::id::UploadId;
use crate::objects::ObjectKey;
use crate::repo::error::RepositoryError;
use crate::repo::expiry::OFFERED;
use crate::repo::file::{FileKind, StoredFile};
use crate::repo::layout;
use crate::repo::record::RetiredFile;
use crate::repo::repository::Repository;
use crate::repo::state::State;

/// How many damaged files are looked at again when the files are listed.
const LOOKED_AT_AGAIN: usize = 8;

/// What a client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Table files and archives as they are stored.
    Current,
    /// Table files only: for clients too old for archives, whose chunks are served from classic twins.
    Classic,
}

/// A file as it is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedFile {
    /// Where its bytes are. The last segment is the name by which [`Repository::served`] finds it again; it
    /// ends in `.darc` if, and only if, the file is an archive.
    pub key: ObjectKey,
    /// What is known of it.
    pub file: StoredFile,
}

/// The files that hold everything reachable from a root.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The root.
    pub root: RootAddress,
    /// The files, largest first.
    pub files: Vec<ServedFile>,
}

impl Repository {
    /// Lists the files of the last state: root and files are one snapshot.
    pub async fn listing(&self, view: View) -> Result<Listing, RepositoryError> {
        let state = self.state().await?;
        let damaged = self.damaged_in(&state);
        let again: Vec<_> = (damaged.iter().take(LOOKED_AT_AGAIN))
            .map(|(upload, _)| *upload)
            .collect();
        self.look_at_each(&state, &again).await?;
        if let Some((_, damaged)) = self.damaged_in(&state).into_iter().next()
            && !self.is_whole_below_root(&state).await?
        {
            return Err(damaged.error());
        }
        let mut files = self.named(&state, view).await?.files();
        files.sort_by(|a, b| {
            b.file
                .len
                .cmp(&a.file.len)
                .then(a.file.upload.cmp(&b.file.upload))
        });
        // A clone asks for each id once: of two files with one name it would keep only one.
        let mut seen = std::collections::HashSet::new();
        files.retain(|served| seen.insert(served.file.id));
        Ok(Listing {
            root: state.root,
            files,
        })
    }

    /// Finds a file again by the last segment of its key: a named one, one that was retired not long ago, or a twin of
    /// one of these. "There is none" is said only of a confirmed state: another server may have added the file just now.
    pub async fn served(&self, name: &str) -> Result<Option<ServedFile>, RepositoryError> {
        let Some((id, upload, kind)) = layout::parse_file_name(name) else {
            return self.served_twin(name).await;
        };
        let mut state = self.recent_state().await?;
        if !state.files.contains_key(&upload) && !state.retired.contains_key(&upload) {
            state = self.state().await?;
        }
        if let Some(file) = state
            .files
            .get(&upload)
            .filter(|file| file.id == id && file.kind == kind)
        {
            return Ok(Some(self.as_served(file)));
        }
        if !self.is_offered(&state, upload) {
            return Ok(None);
        }
        let Some(note) = self.note(id, upload).await? else {
            return Ok(None);
        };
        Ok(Some(self.as_served(&note.file)).filter(|served| served.file.kind == kind))
    }

    async fn served_twin(&self, name: &str) -> Result<Option<ServedFile>, RepositoryError> {
        let Some((archive, twin)) = layout::parse_twin_name(name) else {
            return Ok(None);
        };
        if !self.is_offered(&*self.state().await?, archive) {
            return Ok(None);
        }
        let made = self.twin_if_made(archive).await?;
        // The offsets that somebody has of one twin need not be those of another.
        Ok(made.filter(|served| served.file.upload == twin))
    }

    /// Whether addresses of a file may be given out: it is named, or was retired not long ago.
    fn is_offered(&self, state: &State, upload: UploadId) -> bool {
        let now = self.time_of(state);
        let is_recent = |file: &RetiredFile| now.since(file.at) < OFFERED;
        state.files.contains_key(&upload) || state.retired.get(&upload).is_some_and(is_recent)
    }

    /// The files of a state as `view` sees them, without those that are damaged; makes the twins that are missing.
    pub(crate) async fn served_files(
        &self,
        state: &State,
        view: View,
    ) -> Result<Vec<ServedFile>, RepositoryError> {
        let mut files = Vec::with_capacity(state.files.len());
        let is_sound = |file: &&StoredFile| self.damage(file.upload).is_none();
        for file in state.files.values().filter(is_sound) {
            files.push(match (view, file.kind) {
                (View::Current, _) | (View::Classic, FileKind::Table) => self.as_served(file),
                (View::Classic, FileKind::Archive) => self.twin(file).await?,
            });
        }
        Ok(files)
    }

    pub(crate) fn as_served(&self, file: &StoredFile) -> ServedFile {
        ServedFile {
            key: layout::file(self.shared.pool, file),
            file: file.clone(),
        }
    }
}
