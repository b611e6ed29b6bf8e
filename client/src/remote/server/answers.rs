//! What a server says about where chunks lie, in either of its two forms, and what of it is believed.
//!
//! Addresses go out in batches, one a message, and each message has exactly one answer, in order.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::MAX_STORED_LEN;
use holdfast_chunkstore::format::archive::MAX_DICTIONARY_LEN;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_proto::remotesapi::{
    GetDownloadLocsResponse, RangeChunk, StreamChunkLocationsResponse, download_loc,
};
use reqwest::Url;

use crate::remote::RemoteError;

/// How many addresses are asked for by one message.
const MAX_ASKED: usize = 512;

/// What is attempted.
pub(super) const ACTION: &str = "ask where chunks of the remote lie";

/// A file on some host.
#[derive(Clone)]
pub(super) struct Place {
    /// Where it is read. Whoever has it can read it, so it is never shown.
    pub(super) url: Url,
    /// What stays the same when the place is told again: all before the signature.
    pub(super) name: Arc<str>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The number of its file's place.
    pub(super) place: usize,
    /// Its stored form.
    pub(super) span: ByteSpan,
    /// The dictionary that it needs, in the same file.
    pub(super) dictionary: Option<ByteSpan>,
}

/// Where chunks lie.
#[derive(Debug)]
pub(super) struct Located {
    /// The files.
    pub(super) places: Vec<Place>,
    /// One for each address that was asked for; nothing for a chunk that is not there.
    pub(super) locations: Vec<Option<Location>>,
}

/// The answers as they come in.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    addresses: &'a [ChunkAddress],
    /// How many of the addresses were answered.
    answered: usize,
    located: Located,
    numbers: HashMap<Arc<str>, usize>,
}

/// The names that a stream gives to files.
pub(super) type FileNames = HashMap<u32, usize>;

impl<'a> Answers<'a> {
    /// Nothing is answered yet. No address stands there twice.
    pub(super) fn new(addresses: &'a [ChunkAddress]) -> Self {
        Self {
            addresses,
            answered: 0,
            located: Located {
                places: Vec::new(),
                locations: vec![None; addresses.len()],
            },
            numbers: HashMap::new(),
        }
    }

    /// How many of the addresses were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Whether something is still to be answered.
    pub(super) fn is_open(&self) -> bool {
        self.answered < self.addresses.len()
    }

    /// What is still to be asked, a batch a message.
    pub(super) fn open_batches(&self) -> impl Iterator<Item = &'a [ChunkAddress]> {
        self.addresses[self.answered..].chunks(MAX_ASKED)
    }

    /// All of it.
    pub(super) fn finish(self) -> Located {
        self.located
    }

    /// Takes the answer to the first batch that is open, in the newer form.
    pub(super) fn take_records(
        &mut self,
        names: &mut FileNames,
        answer: &StreamChunkLocationsResponse,
    ) -> Result<(), RemoteError> {
        for file in &answer.table_files {
            names.insert(file.table_file_id, self.place(&file.url)?);
        }
        let batch = self.batch();
        let mut told = vec![false; batch.len()];
        for record in &answer.locations {
            let at = tell(&mut told, record.request_index)?;
            let place = names.get(&record.table_file_id).copied();
            let place = place.ok_or_else(|| wrong("a location in a file that it never named"))?;
            self.located.locations[batch.start + at] = Some(Location {
                place,
                span: span(record.offset, record.length, MAX_STORED_LEN)?,
                dictionary: dictionary(record.dictionary_offset, record.dictionary_length)?,
            });
        }
        for &index in &answer.missing_indexes {
            tell(&mut told, index)?;
        }
        if told.contains(&false) {
            return Err(wrong("nothing about a chunk that was asked for"));
        }
        self.answered = batch.end;
        Ok(())
    }

    /// Takes the answer to the first batch that is open, in the older form. What it does not name is not there.
    pub(super) fn take_ranges(
        &mut self,
        answer: &GetDownloadLocsResponse,
    ) -> Result<(), RemoteError> {
        let batch = self.batch();
        let asked = self.addresses[batch.clone()].iter().enumerate();
        let mut open: HashMap<&[u8], usize> = asked
            .map(|(at, address)| (&address.as_bytes()[..], batch.start + at))
            .collect();
        for file in &answer.locs {
            let Some(download_loc::Location::HttpGetRange(ranges)) = &file.location else {
                return Err(wrong("a place without ranges"));
            };
            let place = self.place(&ranges.url)?;
            for range in &ranges.ranges {
                let at = open.remove(&range.hash[..]);
                let at = at.ok_or_else(|| wrong("a chunk that was not asked for, or twice"))?;
                self.located.locations[at] = Some(location(place, range)?);
            }
        }
        self.answered = batch.end;
        Ok(())
    }

    fn batch(&self) -> Range<usize> {
        self.answered..self.addresses.len().min(self.answered + MAX_ASKED)
    }

    /// The number of a file's place. The address that was told last is used: it is good for longest.
    fn place(&mut self, url: &str) -> Result<usize, RemoteError> {
        let url = Url::parse(url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| wrong("a place that is no http address"))?;
        let name = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let name: Arc<str> = name.into();
        let places = &mut self.located.places;
        match self.numbers.get(&name) {
            Some(&number) => {
                places[number].url = url;
                Ok(number)
            }
            None => {
                self.numbers.insert(Arc::clone(&name), places.len());
                places.push(Place { url, name });
                Ok(places.len() - 1)
            }
        }
    }
}

/// Notes that an index of a batch was told of, which may be once.
fn tell(told: &mut [bool], index: u32) -> Result<usize, RemoteError> {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    match told.get_mut(at) {
        Some(told) if !*told => {
            *told = true;
            Ok(at)
        }
        _ => Err(wrong("a chunk that was not asked for, or twice")),
    }
}

fn location(place: usize, range: &RangeChunk) -> Result<Location, RemoteError> {
    Ok(Location {
        place,
        span: span(range.offset, range.length, MAX_STORED_LEN)?,
        dictionary: dictionary(range.dictionary_offset, range.dictionary_length)?,
    })
}

fn dictionary(offset: u64, len: u32) -> Result<Option<ByteSpan>, RemoteError> {
    match len {
        0 => Ok(None),
        _ => span(offset, len, MAX_DICTIONARY_LEN).map(Some),
    }
}

fn span(offset: u64, len: u32, limit: u32) -> Result<ByteSpan, RemoteError> {
    let has_end = offset.checked_add(u64::from(len)).is_some();
    match has_end && (1..=limit).contains(&len) {
        true => Ok(ByteSpan { offset, len }),
        false => Err(wrong("a range that no chunk can have")),
    }
}

fn wrong(what: &str) -> RemoteError {
    RemoteError::Answer {
        action: ACTION,
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::remotesapi::stream_chunk_locations_response::{
        ChunkLocation, TableFileRecord,
    };
    use holdfast_proto::remotesapi::{DownloadLoc, HttpGetChunk, HttpGetRange};

    use super::*;

    const URL: &str = "https://data.example.org/file?signature=1";

    const ASKED: [ChunkAddress; 2] = [ChunkAddress::new([1; 20]), ChunkAddress::new([2; 20])];

    /// A right answer: the first chunk is there, the second is not.
    fn right() -> StreamChunkLocationsResponse {
        StreamChunkLocationsResponse {
            table_files: vec![TableFileRecord {
                table_file_id: 7,
                url: URL.to_owned(),
                ..TableFileRecord::default()
            }],
            locations: vec![ChunkLocation {
                table_file_id: 7,
                request_index: 0,
                offset: 100,
                length: 50,
                dictionary_offset: 10,
                dictionary_length: 20,
            }],
            missing_indexes: vec![1],
            ..StreamChunkLocationsResponse::default()
        }
    }

    fn take(answer: &StreamChunkLocationsResponse) -> Result<Located, RemoteError> {
        let mut answers = Answers::new(&ASKED);
        answers.take_records(&mut FileNames::new(), answer)?;
        assert!(!answers.is_open());
        Ok(answers.finish())
    }

    #[test]
    fn a_right_answer_says_where_each_chunk_lies() {
        let located = take(&right()).unwrap();
        let found = Location {
            place: 0,
            span: ByteSpan {
                offset: 100,
                len: 50,
            },
            dictionary: Some(ByteSpan {
                offset: 10,
                len: 20,
            }),
        };
        assert_eq!(located.locations, [Some(found), None]);
        assert_eq!(&*located.places[0].name, "https://data.example.org/file");
        assert!(!format!("{located:?}").contains("signature"));
    }

    #[test]
    fn answers_that_cannot_be_are_refused() {
        type Wrong = fn(&mut StreamChunkLocationsResponse);
        let wrongs: [(&str, Wrong); 11] = [
            ("a file without a name", |answer| {
                answer.table_files.clear();
            }),
            ("another index", |answer| {
                answer.locations[0].request_index = 2;
            }),
            ("an index twice", |answer| {
                answer.locations.push(answer.locations[0]);
            }),
            ("there and missing", |answer| {
                answer.missing_indexes.push(0);
            }),
            ("missing beyond the end", |answer| {
                answer.missing_indexes.push(2);
            }),
            ("not a word", |answer| {
                answer.missing_indexes.clear();
            }),
            ("no bytes", |answer| answer.locations[0].length = 0),
            ("too many bytes", |answer| {
                answer.locations[0].length = MAX_STORED_LEN + 1;
            }),
            ("an end beyond all files", |answer| {
                answer.locations[0].offset = u64::MAX - 1;
            }),
            ("a dictionary that is too long", |answer| {
                answer.locations[0].dictionary_length = MAX_DICTIONARY_LEN + 1;
            }),
            ("no address", |answer| {
                "file:///etc/passwd".clone_into(&mut answer.table_files[0].url);
            }),
        ];
        for (name, wrong) in wrongs {
            let mut answer = right();
            wrong(&mut answer);
            let error = take(&answer).unwrap_err();
            assert!(matches!(error, RemoteError::Answer { .. }), "{name}");
        }
    }

    #[test]
    fn a_file_whose_address_is_told_again_is_the_same_file() {
        let mut answers = Answers::new(&ASKED);
        let first = answers.place(URL).unwrap();
        let second = "https://data.example.org/file?signature=2";
        assert_eq!(answers.place(second).unwrap(), first);
        let other = answers.place("https://data.example.org/other").unwrap();
        assert_ne!(other, first);
        assert_eq!(answers.finish().places[first].url.as_str(), second);
    }

    #[test]
    fn the_older_form_is_not_believed_either() {
        let range = |hash: [u8; 20]| RangeChunk {
            hash: hash.to_vec().into(),
            offset: 1,
            length: 2,
            ..RangeChunk::default()
        };
        let answer = |location| GetDownloadLocsResponse {
            locs: vec![DownloadLoc {
                location: Some(location),
                ..DownloadLoc::default()
            }],
            repo_token: String::new(),
        };
        let of_ranges = |ranges| {
            let url = URL.to_owned();
            answer(download_loc::Location::HttpGetRange(HttpGetRange {
                url,
                ranges,
            }))
        };
        let take = |answer| Answers::new(&ASKED).take_ranges(&answer);
        take(of_ranges(vec![range([2; 20])])).unwrap();
        for wrong in [
            of_ranges(vec![range([3; 20])]),
            of_ranges(vec![range([1; 20]), range([1; 20])]),
            answer(download_loc::Location::HttpGet(HttpGetChunk::default())),
        ] {
            assert!(matches!(take(wrong), Err(RemoteError::Answer { .. })));
        }
    }
}
