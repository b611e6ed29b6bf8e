//! Chunks are read: located, fetched in few requests, decoded, and checked against their addresses.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::ChunkAddress;
use crate::format::MAX_CHUNK_LEN;
use crate::format::archive::{Decoder, Dictionary};
use crate::hash;
use crate::id::UploadId;
use crate::index::{ByteSpan, ChunkLocation, ChunkSpan};
use crate::objects::{ObjectKey, ObjectStoreExt as _};
use crate::repo::damage::damage_of;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::locate::Named;
use crate::repo::parts::{MOST_READ_BYTES, ReadChunks};
use crate::repo::repository::Repository;
use crate::repo::served::View;

/// Spans this near to each other are fetched with one request.
const GAP: u64 = 16 << 10;
/// A request is not made longer than this by joining.
const LONGEST_FETCH: u64 = 4 << 20;
/// The longest single span that is read.
const LONGEST_SPAN: u64 = 32 << 20;

/// Reads chunks from exactly the files of a set.
#[derive(Debug)]
pub(crate) struct NamedChunks<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) named: &'a Named,
}

#[async_trait]
impl ReadChunks for NamedChunks<'_> {
    async fn read_chunks(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
        let read = self.read(addresses, Wanted::Whole).await?.first_answered();
        match (read.is_empty(), addresses) {
            // Others that lie before it were too long.
            (true, [first, ..]) => {
                let read = self.read(&[*first], Wanted::Whole).await?;
                Ok(read.first_answered())
            }
            _ => Ok(read),
        }
    }

    async fn read_heads(
        &self,
        addresses: &[ChunkAddress],
        len: usize,
    ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
        let read = self.read(addresses, Wanted::Heads(len)).await?;
        Ok(read.first_answered())
    }
}

/// What of chunks is wanted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// All of it: of as many chunks as may be read at once.
    Whole,
    /// So many of the first bytes, of every chunk.
    Heads(usize),
}

/// What was read, by the place in the question.
struct Answers {
    wanted: Wanted,
    /// Nothing where a chunk was not looked for yet.
    chunks: Vec<Option<Option<Bytes>>>,
    /// How many bytes of whole chunks there are.
    whole_bytes: usize,
}

impl Answers {
    fn is_full(&self) -> bool {
        self.whole_bytes >= MOST_READ_BYTES
    }

    /// Those before the first that is missing.
    fn first_answered(self) -> Vec<Option<Bytes>> {
        self.chunks.into_iter().map_while(|chunk| chunk).collect()
    }
}

/// What could not be read, and the damaged files that it was looked for in: never none if something was not read.
struct Unread {
    positions: Vec<usize>,
    damaged: Vec<StoredFile>,
}

impl NamedChunks<'_> {
    /// Reads chunks, of damaged files from another place, until as much is there as may be.
    async fn read(
        &self,
        addresses: &[ChunkAddress],
        wanted: Wanted,
    ) -> Result<Answers, RepositoryError> {
        let mut answers = Answers {
            wanted,
            chunks: vec![None; addresses.len()],
            whole_bytes: 0,
        };
        let mut unread: Vec<usize> = (0..addresses.len()).collect();
        let mut sound = None;
        while !unread.is_empty() {
            let named = sound.as_ref().unwrap_or(self.named);
            let Unread { positions, damaged } = self
                .read_some(named, addresses, &unread, &mut answers)
                .await?;
            unread = positions;
            if !unread.is_empty() {
                sound = Some(named.without(&damaged));
            }
        }
        Ok(answers)
    }

    /// Reads the chunks at some positions from one place each.
    async fn read_some(
        &self,
        named: &Named,
        addresses: &[ChunkAddress],
        positions: &[usize],
        answers: &mut Answers,
    ) -> Result<Unread, RepositoryError> {
        let repository = self.repository;
        let wanted: Vec<ChunkAddress> = positions.iter().map(|at| addresses[*at]).collect();
        let found = repository.locate_in(named, &wanted).await?;
        repository.check_not_lost(named, &wanted, &found).await?;
        let mut by_file: HashMap<UploadId, Vec<(usize, ChunkSpan)>> = HashMap::new();
        for (position, location) in positions.iter().zip(found) {
            match location {
                Some(ChunkLocation { file, span }) => {
                    by_file.entry(file).or_default().push((*position, span));
                }
                None => answers.chunks[*position] = Some(None),
            }
        }
        let mut unread = Unread {
            positions: Vec::new(),
            damaged: Vec::new(),
        };
        for (upload, mut wanted) in by_file {
            wanted.sort_unstable_by_key(|(_, span)| span.data.offset);
            let key = named.key(upload);
            let mut read = read_parts(repository, &key, &wanted, addresses, answers).await;
            // What came wrong once may have been damaged on its way.
            if read.as_ref().is_err_and(|error| damage_of(error).is_some()) {
                read = read_parts(repository, &key, &wanted, addresses, answers).await;
            }
            let Err(error) = read else { continue };
            let file = named
                .file(upload)
                .filter(|file| repository.as_served(file).key == key);
            let (Some(file), Some(what)) = (file, damage_of(&error)) else {
                return Err(error);
            };
            repository.note_damage(file, what);
            unread.positions.extend(wanted.iter().map(|(at, _)| *at));
            unread.damaged.push(file.clone());
        }
        Ok(unread)
    }
}

/// Reads chunks of one file whose spans ascend, so many at a time that no more than one fetch is held.
async fn read_parts(
    repository: &Repository,
    key: &ObjectKey,
    wanted: &[(usize, ChunkSpan)],
    addresses: &[ChunkAddress],
    answers: &mut Answers,
) -> Result<(), RepositoryError> {
    let mut rest = wanted;
    while !rest.is_empty() && !answers.is_full() {
        let (part, behind) = rest.split_at(within(rest, LONGEST_FETCH));
        repository.read_from(key, part, addresses, answers).await?;
        rest = behind;
    }
    Ok(())
}

/// How many of some spans are not longer than `most` together; one at least.
fn within(wanted: &[(usize, ChunkSpan)], most: u64) -> usize {
    let mut len = 0_u64;
    let end = wanted.iter().position(|(_, span)| {
        let dictionary = span.dictionary.map_or(0, |at| u64::from(at.len));
        len += u64::from(span.data.len) + dictionary;
        len > most
    });
    end.unwrap_or(wanted.len()).max(1)
}

#[async_trait]
impl ReadChunks for Repository {
    async fn read_chunks(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
        let state = self.state().await?;
        let named = self.named(&state, View::Current).await?;
        NamedChunks {
            repository: self,
            named: &named,
        }
        .read_chunks(addresses)
        .await
    }

    async fn read_heads(
        &self,
        addresses: &[ChunkAddress],
        len: usize,
    ) -> Result<Vec<Option<Bytes>>, RepositoryError> {
        let state = self.state().await?;
        let named = self.named(&state, View::Current).await?;
        NamedChunks {
            repository: self,
            named: &named,
        }
        .read_heads(addresses, len)
        .await
    }
}

impl Repository {
    /// Reads chunks of one file, and keeps what is wanted of each.
    async fn read_from(
        &self,
        key: &ObjectKey,
        wanted: &[(usize, ChunkSpan)],
        addresses: &[ChunkAddress],
        answers: &mut Answers,
    ) -> Result<(), RepositoryError> {
        let spans = wanted
            .iter()
            .flat_map(|(_, span)| [Some(span.data), span.dictionary])
            .flatten();
        let fetched = self.fetch(key, spans.collect()).await?;
        let mut dictionaries: HashMap<ByteSpan, Dictionary> = HashMap::new();
        let mut decoder = Decoder::new();
        let mut read = Vec::with_capacity(wanted.len());
        let mut held = 0;
        for (position, span) in wanted {
            let data = fetched.get(span.data);
            let mut chunk = Vec::new();
            let dictionary = span
                .dictionary
                .map(|at| dictionary(&mut dictionaries, at, &fetched))
                .transpose();
            dictionary
                .and_then(|dictionary| decoder.decode(data, dictionary, MAX_CHUNK_LEN, &mut chunk))
                .map_err(|error| damaged(key, addresses[*position], &error))?;
            held += chunk.len();
            read.push((*position, chunk));
            if answers.whole_bytes + held >= MOST_READ_BYTES {
                keep(key, std::mem::take(&mut read), addresses, answers)?;
                held = 0;
            }
            if answers.is_full() {
                return Ok(());
            }
        }
        keep(key, read, addresses, answers)
    }

    /// Fetches spans of one object, near ones together.
    async fn fetch(
        &self,
        key: &ObjectKey,
        mut spans: Vec<ByteSpan>,
    ) -> Result<Fetched, RepositoryError> {
        spans.sort_unstable();
        spans.dedup();
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        for span in spans {
            let end = span.offset + u64::from(span.len);
            match runs.last_mut() {
                Some(run)
                    if span.offset <= run.end + GAP
                        && end.max(run.end) - run.start <= LONGEST_FETCH =>
                {
                    run.end = run.end.max(end);
                }
                _ => runs.push(span.offset..end),
            }
        }
        let mut fetched = Fetched {
            runs: Vec::with_capacity(runs.len()),
        };
        for run in runs {
            let objects = &self.shared.parts.objects;
            let bytes = objects
                .read(key, Some(run.clone()), LONGEST_SPAN)
                .await
                .map_err(object("read chunks of a table file"))?;
            fetched.runs.push((run.start, bytes));
        }
        Ok(fetched)
    }
}

/// Checks chunks against their addresses, and keeps what is wanted of each.
fn keep(
    key: &ObjectKey,
    read: Vec<(usize, Vec<u8>)>,
    addresses: &[ChunkAddress],
    answers: &mut Answers,
) -> Result<(), RepositoryError> {
    let computed = hash::hash_chunks(
        &read
            .iter()
            .map(|(_, chunk)| chunk.as_slice())
            .collect::<Vec<_>>(),
    );
    for ((position, chunk), computed) in read.into_iter().zip(computed) {
        if computed != addresses[position] {
            return Err(damaged(
                key,
                addresses[position],
                &"its bytes have another address",
            ));
        }
        let kept = match answers.wanted {
            Wanted::Heads(len) if chunk.len() > len => Bytes::copy_from_slice(&chunk[..len]),
            Wanted::Heads(_) => Bytes::from(chunk),
            Wanted::Whole => {
                answers.whole_bytes += chunk.len();
                Bytes::from(chunk)
            }
        };
        answers.chunks[position] = Some(Some(kept));
    }
    Ok(())
}

/// Stretches of one object, ascending.
#[derive(Debug)]
struct Fetched {
    runs: Vec<(u64, Bytes)>,
}

impl Fetched {
    fn get(&self, span: ByteSpan) -> &[u8] {
        let run = self
            .runs
            .partition_point(|(start, _)| *start <= span.offset)
            - 1;
        let (start, bytes) = &self.runs[run];
        let from = usize::try_from(span.offset - start).expect("a run is a few MiB long");
        &bytes[from..][..span.len as usize]
    }
}

fn dictionary<'a>(
    known: &'a mut HashMap<ByteSpan, Dictionary>,
    at: ByteSpan,
    fetched: &Fetched,
) -> Result<&'a Dictionary, crate::format::DecodeError> {
    use std::collections::hash_map::Entry;
    Ok(match known.entry(at) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Dictionary::decode(fetched.get(at))?),
    })
}

fn damaged(
    key: &ObjectKey,
    address: ChunkAddress,
    what: &dyn std::fmt::Display,
) -> RepositoryError {
    RepositoryError::Damaged {
        key: key.clone(),
        what: format!("chunk {address}: {what}"),
    }
}
