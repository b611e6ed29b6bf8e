//! What chunks mean, told to the chunk store: which addresses a chunk points at, and which refs a new root
//! moves.

mod ref_check;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::{Meaning, MeaningError, MovesError, ReadChunks, RefMove, RepoName};
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_doltdb::{ChunkSource, ReadError, RefName, RefsDiff, SourceError};

use crate::forge::error::one_line;
use crate::settings::AcceptUnknown;

/// The most refs that a new root may move.
const MAX_MOVES: usize = 100_000;
/// The most bytes that their names may have together.
const MAX_NAMES_LEN: usize = 16 << 20;

/// What is said of a chunk that a newer Dolt wrote.
const ACCEPTING: &str =
    "a newer holdfastd may know it, or its setting accept_unknown_chunks names this repository";

/// Chunks as Dolt means them.
#[derive(Debug, Clone)]
pub struct DoltMeaning {
    settings: AcceptUnknown,
    accept_unknown: bool,
}

impl DoltMeaning {
    /// Takes which repositories take chunks whose references cannot be told, for want of knowing their kind or a field.
    pub fn new(settings: AcceptUnknown) -> Self {
        Self {
            accept_unknown: settings == AcceptUnknown::Everywhere,
            settings,
        }
    }
}

impl FindChildren for DoltMeaning {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        match holdfast_doltdb::children(chunk, &mut |address| visit(address)) {
            Err(error) if self.accept_unknown && error.kind() == ErrorKind::Refused => Ok(()),
            found => found.map_err(|error| ChildrenRefused {
                kind: error.kind(),
                message: match error.kind() {
                    ErrorKind::Refused => format!("{}; {ACCEPTING}", one_line(&error)),
                    _ => one_line(&error),
                },
            }),
        }
    }
}

/// The chunks of a repository as doltdb reads them.
pub(crate) struct Source<'a> {
    pub(crate) chunks: &'a dyn ReadChunks,
}

#[async_trait]
impl ChunkSource for Source<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let read = self.chunks.read_chunks(addresses).await;
        read.map_err(|error| SourceError::new(error.kind(), error))
    }
}

#[async_trait]
impl Meaning for DoltMeaning {
    fn of_repository(&self, name: &RepoName) -> Option<Arc<dyn Meaning>> {
        let accept_unknown = self.settings.is_in(name);
        (accept_unknown != self.accept_unknown).then(|| {
            Arc::new(Self {
                accept_unknown,
                ..self.clone()
            }) as Arc<dyn Meaning>
        })
    }

    async fn moves(
        &self,
        chunks: &dyn ReadChunks,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        let source = Source { chunks };
        let mut diff = RefsDiff::open(&source, old, new).await.map_err(refused)?;
        let mut moves = Vec::new();
        let mut names_len = 0;
        while let Some(change) = diff.next().await.map_err(refused)? {
            let name = change.name.to_string();
            names_len += name.len();
            // What is there already may go.
            if change.new.is_some() && name.len() > RefName::MAX_LEN {
                let (len, most) = (name.len(), RefName::MAX_LEN);
                return Err(unwanted(format!(
                    "the name of a ref has {len} bytes; {most} are the most"
                )));
            }
            if moves.len() == MAX_MOVES {
                return Err(unwanted(format!("more than {MAX_MOVES} refs move at once")));
            }
            if names_len > MAX_NAMES_LEN {
                return Err(unwanted(format!(
                    "the names of the refs that move have more than {MAX_NAMES_LEN} bytes"
                )));
            }
            moves.push(RefMove {
                name,
                old: change.old,
                new: change.new,
            });
        }
        let refused = ref_check::check(chunks, &moves, self.accept_unknown).await;
        match refused.map_err(MovesError::Read)?.reason() {
            None => Ok(moves),
            Some(reason) => Err(unwanted(reason)),
        }
    }
}

/// A root that asks for what no change of the log may hold.
fn unwanted(reason: String) -> MovesError {
    MovesError::Refused(MeaningError {
        kind: ErrorKind::Refused,
        reason,
    })
}

/// A root that cannot be read because the store fails is not a wrong root.
fn refused(error: ReadError) -> MovesError {
    MovesError::Refused(MeaningError {
        kind: match error.kind() {
            kind @ (ErrorKind::Locked
            | ErrorKind::Unavailable
            | ErrorKind::Corrupt
            | ErrorKind::Internal) => kind,
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Dangling
            | ErrorKind::Refused
            | ErrorKind::Exhausted
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied => ErrorKind::Refused,
        },
        reason: one_line(&error),
    })
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::repo::RepositoryError;
    use holdfast_doltdb::MessageKind;
    use holdfast_doltdb::testing::TinyDb;

    use super::*;

    #[derive(Debug)]
    struct Chunks(TinyDb);

    #[async_trait]
    impl ReadChunks for Chunks {
        async fn read_chunks(
            &self,
            addresses: &[ChunkAddress],
        ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
            let chunks = self.0.chunks();
            let find = |address| chunks.get(address).cloned();
            Ok(addresses.iter().map(find).collect())
        }

        async fn read_heads(
            &self,
            addresses: &[ChunkAddress],
            len: usize,
        ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
            let chunks = self.read_chunks(addresses).await?;
            let head = |chunk: Bytes| chunk.slice(..len.min(chunk.len()));
            Ok(chunks.into_iter().map(|chunk| chunk.map(head)).collect())
        }
    }

    /// Why a root that brings these refs is refused: names, and for each whether it stands for a commit or a tag.
    async fn refusal(refs: &[(&str, MessageKind)]) -> Option<String> {
        let mut database = TinyDb::new();
        database.commit("main", "first");
        database.tag("v1", "main");
        let (commit, tag) = (database.head("main"), database.refs()["refs/tags/v1"]);
        let old = database.root();
        let datasets: Vec<_> = (refs.iter())
            .map(|(name, kind)| match kind {
                MessageKind::Commit => (*name, commit),
                _ => (*name, Some(tag)),
            })
            .collect();
        database.set(&datasets);
        let new = database.root();
        let chunks = Chunks(database);
        let meaning = DoltMeaning::new(AcceptUnknown::Nowhere);
        let gone = meaning.moves(&chunks, new, old).await;
        assert!(gone.is_ok(), "what is there may go: {gone:?}");
        match meaning.moves(&chunks, old, new).await {
            Ok(_) => None,
            Err(MovesError::Refused(error)) => {
                assert_eq!(error.kind, ErrorKind::Refused);
                Some(error.reason)
            }
            Err(MovesError::Read(error)) => panic!("{error:?}"),
        }
    }

    #[tokio::test]
    async fn refs_that_dolt_could_not_use_are_refused_by_name() {
        use MessageKind::{Commit, Tag};
        for (name, kind, words) in [
            ("refs/heads//x/y", Commit, "dolt branch -D '/x/y'"),
            ("refs/heads/a//b", Commit, "dolt branch -D 'a//b'"),
            ("refs/heads/a b", Commit, "\"refs/heads/a b\" has a space"),
            ("refs/heads/HEAD", Commit, "dolt branch -D 'HEAD'"),
            ("refs/heads/", Commit, "\"refs/heads/\""),
            ("refs/heads/z", Tag, "stands for a tag"),
            ("refs/tags/x", Commit, "dolt tag -d 'x'"),
            ("refs/remotes/origin/x", Tag, "dolt branch -D -r 'origin/x'"),
            ("workingSets/heads/x", Commit, "a working set"),
            ("refs/stashes/x", Commit, "a list of stashes"),
            ("refs/new/a", Tag, "accept_unknown_chunks"),
        ] {
            let refused = refusal(&[("refs/heads/good", Commit), (name, kind)]).await;
            let refused = refused.unwrap();
            assert!(refused.contains(words), "{name}: {refused}");
            assert!(!refused.contains("good"), "{refused}");
        }
        assert_eq!(
            refusal(&[
                ("refs/heads/a/b", Commit),
                ("refs/tags/@", Tag),
                ("refs/internal/create", Commit),
                ("new", Commit),
            ])
            .await,
            None
        );
        let many: Vec<_> = (0..9)
            .map(|number| format!("refs/tags/t{number}"))
            .collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), Commit)).collect();
        let refused = refusal(&many).await.unwrap();
        assert!(refused.ends_with("; and more"), "{refused}");
    }

    /// Compares an empty store with one of these names, and then back; how many refs move, or why none may.
    async fn moves(names: impl Iterator<Item = String>) -> [Result<usize, String>; 2] {
        let mut database = TinyDb::new();
        database.commit("main", "first");
        let (head, old) = (database.head("main"), database.root());
        let names: Vec<String> = names.collect();
        let datasets: Vec<_> = names.iter().map(|name| (name.as_str(), head)).collect();
        database.set(&datasets);
        let new = database.root();
        let chunks = Chunks(database);
        let meaning = DoltMeaning::new(AcceptUnknown::Nowhere);
        let count = |moves: Result<Vec<RefMove>, MovesError>| match moves {
            Ok(moves) => Ok(moves.len()),
            Err(MovesError::Refused(error)) => {
                assert_eq!(error.kind, ErrorKind::Refused);
                Err(error.reason)
            }
            Err(MovesError::Read(error)) => panic!("{error:?}"),
        };
        let there = meaning.moves(&chunks, old, new).await;
        let back = meaning.moves(&chunks, new, old).await;
        [count(there), count(back)]
    }

    #[tokio::test]
    async fn a_ref_with_too_long_a_name_may_only_go_away() {
        let name = |len: usize| format!("refs/heads/{}", "x".repeat(len - 11));
        let longest = RefName::MAX_LEN;
        let one = async |len| moves(std::iter::once(name(len))).await;
        assert_eq!(one(longest).await, [Ok(1), Ok(1)]);
        let [there, back] = one(longest + 1).await;
        assert!(there.unwrap_err().contains("4096"));
        assert_eq!(back, Ok(1));
    }

    #[tokio::test]
    async fn only_so_many_refs_move_at_once() {
        let many = async |count, width: usize| {
            let name = |number| format!("refs/heads/{number:0width$}");
            moves((0..count).map(name)).await
        };
        assert_eq!(many(100_000, 6).await, [Ok(100_000), Ok(100_000)]);
        for moved in many(100_001, 6).await {
            assert!(moved.unwrap_err().contains("100000"));
        }
        assert_eq!(many(18_000, 900).await, [Ok(18_000), Ok(18_000)]);
        for moved in many(19_000, 900).await {
            assert!(moved.unwrap_err().contains("names"));
        }
    }
}
