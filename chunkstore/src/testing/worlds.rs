//! Repositories in memory, of chunks whose meaning is simple: `refs:` and then the addresses of its children, or
//! `many:` and then how many refs a root without children moves.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::{ChunkAddress, RootAddress};
use crate::clock::{Clock, SystemClock};
use crate::error::ErrorKind;
use crate::hash::hash_chunk;
use crate::id::IdSource;
use crate::index::ChunkIndex;
use crate::index::memory::MemoryIndex;
use crate::objects::ObjectStore;
use crate::pool::BlockingPool;
use crate::repo::check::{ChildrenRefused, FindChildren};
use crate::repo::spool::{Sender, SpoolDir, SpoolOptions};
use crate::repo::{
    Actor, DeclaredFile, FileKind, Md5, Meaning, MovesError, NamedFile, Parts, ReadChunks, RefMove,
    RepoName, Repositories, Repository, StoredFile, UploadFailure,
};
use crate::testing::generate::Made;

/// How a test chunk begins.
const MARK: &[u8] = b"refs:";
/// How a root begins that moves many refs.
const MANY: &[u8] = b"many:";

/// Knows what test chunks mean.
#[derive(Debug)]
pub struct TestMeaning;

impl FindChildren for TestMeaning {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        let Some(rest) = chunk.strip_prefix(MARK) else {
            return Ok(());
        };
        let (addresses, _) = rest.as_chunks::<20>();
        addresses
            .iter()
            .for_each(|address| visit(ChunkAddress::new(*address)));
        Ok(())
    }
}

#[async_trait]
impl Meaning for TestMeaning {
    async fn moves(
        &self,
        chunks: &dyn ReadChunks,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Vec<RefMove>, MovesError> {
        let read = chunks
            .read_chunks(&[new.chunk().expect("a root that moves")])
            .await
            .map_err(MovesError::Read)?;
        let root = read[0].as_deref().unwrap_or_default();
        let Some(count) = moved_refs(root) else {
            let error = crate::repo::MeaningError {
                kind: ErrorKind::Refused,
                reason: "not a root".to_owned(),
            };
            return Err(MovesError::Refused(error));
        };
        let name = |number| match number {
            0 => "refs/heads/main".to_owned(),
            number => format!("refs/heads/branch-{number}"),
        };
        let ref_move = |number| RefMove {
            name: name(number),
            old: old.chunk(),
            new: new.chunk(),
        };
        Ok((0..count).map(ref_move).collect())
    }
}

/// How many refs a root moves; nothing if the chunk is none.
fn moved_refs(chunk: &[u8]) -> Option<u16> {
    if chunk.starts_with(MARK) {
        return Some(1);
    }
    let count = chunk.strip_prefix(MANY)?;
    count.try_into().map(u16::from_be_bytes).ok()
}

/// A root that moves many refs and has no children.
pub fn root_of_many(count: u16) -> Vec<u8> {
    [MANY, &count.to_be_bytes()].concat()
}

/// A chunk that refers to others; `salt` makes it differ from its like.
pub fn parent(salt: u64, children: &[ChunkAddress]) -> Vec<u8> {
    let mut chunk = MARK.to_vec();
    children
        .iter()
        .for_each(|child| chunk.extend_from_slice(child.as_bytes()));
    // Less than an address: not taken for one.
    chunk.extend_from_slice(&salt.to_be_bytes());
    chunk
}

/// Parts over `objects`, with an index in memory and a spool below `scratch`.
pub fn parts(objects: Arc<dyn ObjectStore>, scratch: &Path, seed: u64) -> Parts {
    let pool = BlockingPool::new(2);
    let options = SpoolOptions {
        max_total_bytes: 1 << 30,
        free_floor_bytes: 0,
    };
    let index: Arc<dyn ChunkIndex> = Arc::new(MemoryIndex::new(pool.clone()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Parts {
        objects,
        index,
        clock,
        ids: Arc::new(IdSource::from_seed(seed)),
        spool: Arc::new(
            SpoolDir::open(scratch, options, pool.clone())
                .expect("the scratch folder can be written"),
        ),
        pool,
        meaning: Arc::new(TestMeaning),
    }
}

/// Who does things in tests.
pub fn actor() -> Actor {
    Actor {
        name: "tester".to_owned(),
        client: "test".to_owned(),
    }
}

/// What a client would say of a made-up file.
pub fn declared(made: &Made, kind: FileKind) -> DeclaredFile {
    DeclaredFile {
        id: made.written.id,
        kind,
        len: made.file.len() as u64,
        chunks: u32::try_from(made.chunks.len()).expect("a made-up file is small"),
        md5: made.written.md5.map(Md5),
    }
}

/// Sends a made-up file.
pub async fn upload(
    repository: &Repository,
    made: &Made,
    kind: FileKind,
) -> Result<StoredFile, UploadFailure> {
    let sender = Sender(0);
    let mut incoming = repository
        .receive(declared(made, kind), actor(), sender)
        .await?;
    for piece in made.file.chunks(10_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await?;
    }
    incoming.finish().await
}

/// How a request names a made-up file.
pub fn named(made: &Made) -> NamedFile {
    NamedFile {
        id: made.written.id,
        chunks: u32::try_from(made.chunks.len()).expect("a made-up file is small"),
    }
}

/// The address of a root chunk.
pub fn root_of(chunk: &[u8]) -> RootAddress {
    RootAddress::from(hash_chunk(chunk))
}

/// Opens the repository `acme/prod`.
pub async fn acme(parts: Parts) -> Repository {
    let repositories = Repositories::open(parts).await.expect("the forge opens");
    let name: RepoName = "acme/prod".parse().expect("a name");
    repositories
        .reserve(&name)
        .await
        .expect("the repository opens")
}
