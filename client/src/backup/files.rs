//! The list of a backup's files as a change of an earlier one, and back.

use std::collections::BTreeMap;

use holdfast_chunkstore::TableFileId;

use super::backup_id::BackupId;
use super::record::{FileList, RecordError, RecordedFile};

/// Files by their ids, and how many chunks are in each.
pub(super) type Files = BTreeMap<TableFileId, u32>;

impl FileList {
    /// Lists `files`: as a change of the list of a backup before, or as they are where that is not longer.
    pub(super) fn of(files: &Files, base: Option<(BackupId, &Files)>) -> Self {
        let listed = |(id, chunks): (&TableFileId, &u32)| RecordedFile {
            id: *id,
            chunks: *chunks,
        };
        if let Some((base, before)) = base {
            let is_new = |(id, chunks): &(&TableFileId, &u32)| before.get(id) != Some(chunks);
            let new: Vec<_> = files.iter().filter(is_new).map(listed).collect();
            let gone = before.keys().filter(|id| !files.contains_key(id));
            let gone: Vec<_> = gone.copied().collect();
            if new.len() + gone.len() < files.len() {
                return Self::Changed { base, new, gone };
            }
        }
        Self::Whole(files.iter().map(listed).collect())
    }

    /// The backup whose list this one changes.
    pub(super) fn base(&self) -> Option<BackupId> {
        match self {
            Self::Whole(_) => None,
            Self::Changed { base, .. } => Some(*base),
        }
    }

    /// What is listed; `before` is what the base lists, nothing where there is none.
    pub(super) fn over(self, mut before: Files) -> Result<Files, RecordError> {
        match self {
            Self::Whole(files) => Ok(by_id(files)),
            Self::Changed { base, new, gone } => {
                for id in &gone {
                    before.remove(id).ok_or(RecordError::Files { base })?;
                }
                before.extend(by_id(new));
                Ok(before)
            }
        }
    }
}

/// Sorts files.
pub(super) fn by_id(files: impl IntoIterator<Item = RecordedFile>) -> Files {
    let files = files.into_iter();
    files.map(|file| (file.id, file.chunks)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(numbers: impl IntoIterator<Item = u8>) -> Files {
        let numbers = numbers.into_iter();
        let files = numbers.map(|number| (TableFileId::new([number; 20]), u32::from(number)));
        files.collect()
    }

    fn base() -> BackupId {
        BackupId::FIRST
    }

    #[test]
    fn a_change_leads_from_one_list_to_the_other() {
        let (before, after) = (files(0..40), files((0..10).chain(12..43)));
        let change = FileList::of(&after, Some((base(), &before)));
        let FileList::Changed { new, gone, .. } = &change else {
            panic!("all files")
        };
        assert_eq!((new.len(), gone.len()), (3, 2));
        assert_eq!(change.over(before).unwrap(), after);
        let whole = FileList::of(&after, None);
        assert_eq!(whole.over(Files::new()).unwrap(), after);
    }

    #[test]
    fn a_file_that_now_holds_another_number_of_chunks_is_new() {
        let before = files(0..9);
        let mut after = before.clone();
        after.insert(TableFileId::new([3; 20]), 77);
        let change = FileList::of(&after, Some((base(), &before)));
        assert!(change.base().is_some());
        assert_eq!(change.over(before).unwrap(), after);
    }

    #[test]
    fn a_change_that_is_as_long_as_the_list_is_not_written() {
        let (before, after) = (files(0..40), files(38..43));
        let list = FileList::of(&after, Some((base(), &before)));
        assert_eq!(list.base(), None);
        let empty = FileList::of(&Files::new(), Some((base(), &before)));
        assert_eq!(empty.over(Files::new()).unwrap(), Files::new());
    }

    #[test]
    fn a_change_of_another_list_is_refused() {
        let change = FileList::of(&files(0..9), Some((base(), &files(0..11))));
        let wrong = change.over(files(0..9)).unwrap_err();
        assert!(matches!(wrong, RecordError::Files { .. }), "{wrong}");
    }
}
