//! Where chunks come from: the one seam between what chunks mean and where they lie.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

use crate::error::ReadError;

/// How many bytes of chunks a source gives at once. A chunk has up to 16 MiB and may come from a few stored bytes, so a
/// number of chunks bounds nothing.
pub const MOST_BYTES: usize = 16 << 20;

/// Gives chunks by their addresses.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Returns one answer for each of the first addresses, in their order: the chunk's bytes, or nothing if it is
    /// not there. Answers at least one, and no more behind those that have [`MOST_BYTES`] together. Whether bytes fit
    /// their address is the source's business.
    async fn get_some(&self, addresses: &[ChunkAddress])
    -> Result<Vec<Option<Bytes>>, SourceError>;
}

/// A source that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not read chunks")]
pub struct SourceError {
    kind: ErrorKind,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SourceError {
    /// Wraps the error of a source.
    pub fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// Returns what to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Gets the first of some chunks, each of which may be absent: as many as the source gives at once.
pub async fn first<S: ChunkSource + ?Sized>(
    source: &S,
    addresses: &[ChunkAddress],
) -> Result<Vec<Option<Bytes>>, ReadError> {
    let count = addresses.len();
    if count == 0 {
        return Ok(Vec::new());
    }
    let answers = source
        .get_some(addresses)
        .await
        .map_err(|source| ReadError::Source { count, source })?;
    if !(1..=count).contains(&answers.len()) {
        return Err(ReadError::Answers {
            asked: count,
            answered: answers.len(),
        });
    }
    Ok(answers)
}

/// Gets chunks, each of which may be absent, and shows each with its address, in their order. No more of them are in
/// memory than the source gives at once, beside what is kept of those that were shown.
pub async fn each<S: ChunkSource + ?Sized>(
    source: &S,
    addresses: &[ChunkAddress],
    mut show: impl FnMut(ChunkAddress, Option<Bytes>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut rest = addresses;
    while !rest.is_empty() {
        let chunks = first(source, rest).await?;
        let (shown, behind) = rest.split_at(chunks.len());
        for (address, chunk) in shown.iter().zip(chunks) {
            show(*address, chunk)?;
        }
        rest = behind;
    }
    Ok(())
}

/// Puts what another source has into the place of chunks that are absent. What that one does not give at once is cut
/// off the end.
pub async fn fill(
    chunks: &mut Vec<Option<Bytes>>,
    addresses: &[ChunkAddress],
    second: &dyn ChunkSource,
) -> Result<(), SourceError> {
    let open: Vec<usize> = (0..chunks.len())
        .filter(|at| chunks[*at].is_none())
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let asked: Vec<_> = open.iter().map(|at| addresses[*at]).collect();
    let found = second.get_some(&asked).await?;
    if let Some(unanswered) = open.get(found.len()) {
        chunks.truncate(*unanswered);
    }
    for (at, chunk) in open.into_iter().zip(found) {
        chunks[at] = chunk;
    }
    Ok(())
}

/// Gets a chunk that may be absent.
pub async fn find_one<S: ChunkSource + ?Sized>(
    source: &S,
    address: ChunkAddress,
) -> Result<Option<Bytes>, ReadError> {
    Ok(first(source, &[address]).await?.pop().flatten())
}

/// Gets a chunk that must be there.
pub async fn get_one<S: ChunkSource + ?Sized>(
    source: &S,
    address: ChunkAddress,
) -> Result<Bytes, ReadError> {
    let chunk = find_one(source, address).await?;
    chunk.ok_or(ReadError::Missing { address })
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    /// Gives the chunks of the addresses that begin with one of its bytes, and so many at once.
    struct Few(&'static [u8], usize);

    #[async_trait]
    impl ChunkSource for Few {
        async fn get_some(
            &self,
            addresses: &[ChunkAddress],
        ) -> Result<Vec<Option<Bytes>>, SourceError> {
            let get = |address: &ChunkAddress| {
                let [first, ..] = address.as_bytes();
                let chunk = Bytes::copy_from_slice(address.as_bytes());
                self.0.contains(first).then_some(chunk)
            };
            Ok(addresses.iter().take(self.1).map(get).collect())
        }
    }

    fn addresses() -> Vec<ChunkAddress> {
        (0..9).map(|byte| ChunkAddress::new([byte; 20])).collect()
    }

    #[test]
    fn each_chunk_is_shown_however_few_come_at_once() {
        for at_once in 1..10 {
            let mut shown = Vec::new();
            let show = |address, chunk: Option<Bytes>| {
                shown.push((address, chunk.is_some()));
                Ok(())
            };
            block_on(each(&Few(&[2, 3, 8], at_once), &addresses(), show)).unwrap();
            let expected = |(at, address)| (address, [2, 3, 8].contains(&at));
            let expected: Vec<_> = (0..).zip(addresses()).map(expected).collect();
            assert_eq!(shown, expected, "{at_once}");
        }
        let none = block_on(each(&Few(&[], 0), &addresses(), |_, _| Ok(())));
        assert!(matches!(none, Err(ReadError::Answers { answered: 0, .. })));
    }

    #[test]
    fn a_second_source_fills_what_the_first_lacks() {
        for at_once in 1..10 {
            let all = addresses();
            let mut chunks = block_on(Few(&[0, 1, 4, 5], 8).get_some(&all)).unwrap();
            block_on(fill(&mut chunks, &all, &Few(&[2, 3, 4, 7], at_once))).unwrap();
            let lens: Vec<_> = chunks.iter().map(Option::is_some).collect();
            let expected = [true, true, true, true, true, true, false, true];
            assert_eq!(lens, expected[..lens.len()], "{at_once}");
            assert_eq!(lens.len(), [3, 6, 7, 8][at_once.min(4) - 1], "{at_once}");
        }
    }
}
