//! Files that were refused for what is in them, remembered for a short while.
//!
//! A client that is refused a file asks for another address and sends the whole file again, several times. An
//! address that is refused at once, for good, ends that.

use std::collections::HashMap;
use std::time::Duration;

use holdfast_chunkstore::repo::{DeclaredFile, RepoName, UploadFailure};
use parking_lot::Mutex;

/// How long a refusal is remembered: longer than a client tries.
const REMEMBERED: Duration = Duration::from_mins(10);
/// How many are remembered; the oldest go first.
const MOST: usize = 1000;
/// The most bytes that are kept of a reason.
const LONGEST_REASON: usize = 1000;

/// A file as it was declared to a repository. With its digest it stands for the same bytes whenever they come.
type Content = (RepoName, DeclaredFile);

#[derive(Debug)]
struct Refusal {
    /// By the monotonic clock.
    time: Duration,
    reason: String,
}

/// The refusals of late.
#[derive(Debug, Default)]
pub struct Refusals {
    refused: Mutex<HashMap<Content, Refusal>>,
}

impl Refusals {
    /// Remembers a failure if it is about what is in the file. Without a digest nothing tells that the same
    /// bytes come again.
    pub fn note(&self, repo: &RepoName, file: &DeclaredFile, now: Duration, why: &UploadFailure) {
        let UploadFailure::Upload(error) = why else {
            return;
        };
        if file.md5.is_none() || !error.is_of_content() {
            return;
        }
        let mut reason = error.one_line();
        reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
        let mut refused = self.refused.lock();
        if refused.len() >= MOST {
            make_room(&mut refused, now);
        }
        let content = (repo.clone(), file.clone());
        refused.insert(content, Refusal { time: now, reason });
    }

    /// Why the same file was refused a short while ago.
    pub fn find(&self, repo: &RepoName, file: &DeclaredFile, now: Duration) -> Option<String> {
        let refused = self.refused.lock();
        if refused.is_empty() {
            return None;
        }
        let refusal = refused.get(&(repo.clone(), file.clone()))?;
        is_fresh(refusal, now).then(|| refusal.reason.clone())
    }
}

fn is_fresh(refusal: &Refusal, now: Duration) -> bool {
    now.saturating_sub(refusal.time) < REMEMBERED
}

fn make_room(refused: &mut HashMap<Content, Refusal>, now: Duration) {
    refused.retain(|_, refusal| is_fresh(refusal, now));
    while refused.len() >= MOST {
        let oldest = refused.iter().min_by_key(|(_, refusal)| refusal.time);
        let Some(oldest) = oldest.map(|(content, _)| content.clone()) else {
            return;
        };
        refused.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::TableFileId;
    use holdfast_chunkstore::repo::check::UploadError;
    use holdfast_chunkstore::repo::spool::SpoolError;
    use holdfast_chunkstore::repo::{FileKind, Md5};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn repo() -> RepoName {
        "acme/prod".parse().unwrap()
    }

    fn file(number: u64) -> DeclaredFile {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&number.to_be_bytes());
        DeclaredFile {
            id: TableFileId::new(id),
            kind: FileKind::Table,
            len: 9,
            chunks: 1,
            md5: Some(Md5([1; 16])),
        }
    }

    fn of_content() -> UploadFailure {
        let (declared, found) = (1, 2);
        UploadFailure::Upload(UploadError::Count { declared, found })
    }

    #[test]
    fn the_same_bytes_are_refused_for_a_while_and_others_are_not() {
        let refusals = Refusals::default();
        refusals.note(&repo(), &file(1), NOW, &of_content());
        let find = |repo: &RepoName, file: &DeclaredFile| refusals.find(repo, file, NOW);
        assert_eq!(
            find(&repo(), &file(1)).unwrap(),
            "the file holds 2 chunks, 1 declared"
        );
        assert_eq!(find(&repo(), &file(2)), None);
        assert_eq!(find(&"acme/other".parse().unwrap(), &file(1)), None);
        let mended = DeclaredFile {
            md5: Some(Md5([2; 16])),
            ..file(1)
        };
        assert_eq!(find(&repo(), &mended), None);
        let later = NOW + REMEMBERED;
        assert_eq!(refusals.find(&repo(), &file(1), later), None);
    }

    #[test]
    fn what_may_have_happened_on_the_way_is_not_remembered() {
        let refusals = Refusals::default();
        let (declared, computed) = (Md5([1; 16]), Md5([2; 16]));
        for error in [
            UploadError::Md5 { declared, computed },
            UploadError::TooLong { declared: 9 },
            UploadError::Spool(SpoolError::TooLarge { wanted: 9, max: 1 }),
            UploadError::GivenUp,
        ] {
            refusals.note(&repo(), &file(1), NOW, &UploadFailure::Upload(error));
        }
        let undigested = DeclaredFile {
            md5: None,
            ..file(1)
        };
        refusals.note(&repo(), &undigested, NOW, &of_content());
        assert!(refusals.refused.lock().is_empty());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let refusals = Refusals::default();
        let most = u64::try_from(MOST).unwrap();
        for number in 0..=most {
            let now = NOW + Duration::from_millis(number);
            refusals.note(&repo(), &file(number), now, &of_content());
        }
        assert_eq!(refusals.refused.lock().len(), MOST);
        assert_eq!(refusals.find(&repo(), &file(0), NOW), None);
        assert!(refusals.find(&repo(), &file(most), NOW).is_some());
    }
}
