//! Chunks → archive of version 3.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use ring::digest;

use super::spans::{SpanReference, one_frame};
use super::{Checksums, Footer, MAX_DICTIONARY_LEN, Version};
use crate::address::{ChunkAddress, TableFileId};
use crate::format::sink::{Sink, Written};
use crate::format::table::record;
use crate::format::{DecodeError, EncodeError, MAX_CHUNK_LEN, MAX_STORED_LEN, to_usize};
use crate::hash::first_twenty;

/// A dictionary span, to be copied from one archive into another as it is.
#[derive(Debug, Clone)]
pub struct StoredDictionary {
    bytes: Vec<u8>,
    /// SHA-256 of the bytes: two archives may hold the same dictionary.
    sum: [u8; 32],
}

impl StoredDictionary {
    /// Takes the bytes of a dictionary span: one zstd frame, as [`super::Dictionary::decode`] reads it.
    pub fn new(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let what = "dictionary";
        match one_frame(what, &bytes)? {
            Some(len) if len > u64::from(MAX_DICTIONARY_LEN) => Err(DecodeError::TooLong {
                what,
                len,
                limit: u64::from(MAX_DICTIONARY_LEN),
            }),
            _ => {
                let sum = digest::digest(&digest::SHA256, &bytes);
                let sum = sum.as_ref().try_into().expect("a SHA-256 has 32 bytes");
                Ok(Self { bytes, sum })
            }
        }
    }
}

/// Writes an archive to any sink, front to back. Keeps 36 bytes a chunk.
///
/// After an error the writer, and whatever the sink took, are to be thrown away.
pub struct Writer<W> {
    sink: Sink<W>,
    /// By span id less one.
    ends: Vec<u64>,
    chunks: Vec<(ChunkAddress, SpanReference)>,
    /// Span ids of the dictionaries that were written, by the sum of their bytes.
    dictionaries: HashMap<[u8; 32], u32>,
    encoder: record::Encoder,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(sink: W) -> Self {
        Self {
            sink: Sink::new(sink, "archive").with_sha512(),
            ends: Vec::new(),
            chunks: Vec::new(),
            dictionaries: HashMap::new(),
            encoder: record::Encoder::new(),
            buffer: Vec::new(),
        }
    }

    /// Leaves out the MD5, which takes as long as all else: for whom needs none, or has another thread for it. Before
    /// the first chunk.
    #[must_use]
    pub fn without_md5(mut self) -> Self {
        self.sink = self.sink.without_md5();
        self
    }

    /// Compresses a chunk with snappy and adds it. The caller vouches for the address.
    pub fn append_chunk(&mut self, address: ChunkAddress, chunk: &[u8]) -> Result<(), EncodeError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let appended = self
            .encoder
            .encode(chunk, &mut buffer)
            .and_then(|_| self.append(address, &buffer, 0));
        self.buffer = buffer;
        appended
    }

    /// Copies a snappy record (block and checksum) as it is, once its checksum was found right. The caller
    /// vouches for the address.
    pub fn append_record(
        &mut self,
        address: ChunkAddress,
        record: &[u8],
    ) -> Result<(), EncodeError> {
        record::checked_block(record)
            .and_then(|block| record::chunk_len(block, MAX_CHUNK_LEN))
            .map_err(|source| EncodeError::Record { address, source })?;
        self.append(address, record, 0)
    }

    /// Copies a zstd frame as it is, and before it the dictionary it was made with, unless that stands in the
    /// file already. The caller vouches for the address, and for frame and dictionary belonging together.
    pub fn append_frame(
        &mut self,
        address: ChunkAddress,
        frame: &[u8],
        dictionary: &StoredDictionary,
    ) -> Result<(), EncodeError> {
        one_frame("chunk", frame).map_err(|source| EncodeError::Record { address, source })?;
        let span = match self.dictionaries.get(&dictionary.sum) {
            Some(span) => *span,
            None => {
                let span = self.put_span("dictionary", &dictionary.bytes)?;
                self.dictionaries.insert(dictionary.sum, span);
                span
            }
        };
        self.append(address, frame, span)
    }

    /// How long the file would be if it ended here with no metadata.
    pub fn len(&self) -> u64 {
        let footer = Version::Three.footer_len() as u64;
        self.sink.len() + self.index_len() + footer
    }

    /// Whether no chunk was added yet.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Writes index, metadata and footer. A file without chunks and an address that came twice are refused.
    /// Dolt expects `dolt_version` in the metadata.
    pub fn finish(
        mut self,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(W, Written), EncodeError> {
        if self.chunks.is_empty() {
            return Err(EncodeError::NoChunks);
        }
        self.chunks.sort_unstable_by_key(|(address, _)| *address);
        if let Some(pair) = self.chunks.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(EncodeError::Duplicate { address: pair[0].0 });
        }
        let metadata = serde_json::to_vec(metadata).expect("a map of strings is JSON");
        let too_long = |_| EncodeError::Len {
            what: "metadata",
            len: metadata.len() as u64,
        };
        let footer = Footer {
            version: Version::Three,
            index_len: self.index_len(),
            span_count: narrow(self.ends.len()),
            chunk_count: narrow(self.chunks.len()),
            metadata_len: u32::try_from(metadata.len()).map_err(too_long)?,
            checksums: Checksums::NONE,
        };
        let data_len = self.sink.len();
        self.put_index()?;
        self.sink.put(&metadata)?;
        self.sink.put(&footer.encode())?;
        let (sink, sums) = self.sink.finish()?;
        let sha512 = sums.sha512.expect("this sink was made to keep it");
        let written = Written {
            id: TableFileId::new(first_twenty(&sha512)),
            count: footer.chunk_count,
            len: sums.len,
            data_len,
            md5: sums.md5,
        };
        Ok((sink, written))
    }

    fn append(
        &mut self,
        address: ChunkAddress,
        stored: &[u8],
        dictionary: u32,
    ) -> Result<(), EncodeError> {
        let data = self.put_span("stored chunk", stored)?;
        self.chunks
            .push((address, SpanReference { dictionary, data }));
        Ok(())
    }

    /// Writes a span and returns its id.
    fn put_span(&mut self, what: &'static str, bytes: &[u8]) -> Result<u32, EncodeError> {
        if bytes.is_empty() || bytes.len() > to_usize(MAX_STORED_LEN) {
            return Err(EncodeError::Len {
                what,
                len: bytes.len() as u64,
            });
        }
        if self.ends.len() == to_usize(u32::MAX) {
            return Err(EncodeError::TooMany { limit: u32::MAX });
        }
        self.sink.put(bytes)?;
        self.ends.push(self.sink.len());
        Ok(narrow(self.ends.len()))
    }

    fn index_len(&self) -> u64 {
        8 * self.ends.len() as u64 + 28 * self.chunks.len() as u64
    }

    fn put_index(&mut self) -> Result<(), EncodeError> {
        for end in &self.ends {
            self.sink.put(&end.to_be_bytes())?;
        }
        for (address, _) in &self.chunks {
            self.sink.put(&address.prefix().to_be_bytes())?;
        }
        for (_, reference) in &self.chunks {
            self.sink.put(&reference.encode())?;
        }
        for (address, _) in &self.chunks {
            self.sink.put(&address.suffix())?;
        }
        Ok(())
    }
}

impl<W> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("count", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

/// A count of spans, of which there are never more than 32 bits can tell.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("the count of spans was kept below the limit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::archive::{Decoder, Dictionary, Index, decode_metadata};
    use crate::hash::hash_chunk;
    use crate::testing::generate::{self, Compression};

    fn bytes(file: &[u8], span: crate::index::ByteSpan) -> &[u8] {
        let start = usize::try_from(span.offset).unwrap();
        &file[start..start + to_usize(span.len)]
    }

    #[test]
    fn what_is_written_is_read_and_spans_are_copied_as_they_are() {
        let made = generate::archive(1, 300, Compression::Mixed);
        let (layout, index) = Index::decode_file(&made.file).unwrap();
        let dictionaries = index.dictionaries();
        assert_eq!(dictionaries.len(), 1);
        let dictionary = Dictionary::decode(bytes(&made.file, dictionaries[0])).unwrap();
        let stored = bytes(&made.file, dictionaries[0]).to_vec();
        let stored = StoredDictionary::new(stored).unwrap();

        let mut decoder = Decoder::new();
        let mut copy = Writer::new(Vec::new());
        for (entry, (address, chunk)) in index.in_file_order().zip(&made.chunks) {
            assert_eq!(entry.address, *address);
            let data = bytes(&made.file, entry.span.data);
            let mut out = Vec::new();
            let known = entry.span.dictionary.map(|_| &dictionary);
            decoder
                .decode(data, known, MAX_CHUNK_LEN, &mut out)
                .unwrap();
            assert_eq!(out, *chunk);
            let claimed = Decoder::claimed_len(data, known, MAX_CHUNK_LEN);
            assert_eq!(to_usize(claimed), chunk.len());
            let claimed = Decoder::claimed_len(&data[..3], known, MAX_CHUNK_LEN);
            assert_eq!(claimed, MAX_CHUNK_LEN);
            match known {
                Some(_) => copy.append_frame(*address, data, &stored).unwrap(),
                None => copy.append_record(*address, data).unwrap(),
            }
        }
        let metadata = layout.metadata();
        let at = |offset| usize::try_from(offset).unwrap();
        let metadata = &made.file[at(metadata.start)..at(metadata.end)];
        let metadata = decode_metadata(metadata).unwrap();
        assert_eq!(copy.finish(&metadata).unwrap(), (made.file, made.written));
    }

    #[test]
    fn nothing_twice_nothing_empty_nothing_broken() {
        let metadata = BTreeMap::new();
        let empty = Writer::new(Vec::new()).finish(&metadata).unwrap_err();
        assert!(matches!(empty, EncodeError::NoChunks));

        let mut writer = Writer::new(Vec::new());
        let one = hash_chunk(b"one");
        writer.append_chunk(one, b"one").unwrap();
        writer.append_chunk(hash_chunk(b"two"), b"two").unwrap();
        writer.append_chunk(one, b"one").unwrap();
        let twice = writer.finish(&metadata).unwrap_err();
        assert!(matches!(twice, EncodeError::Duplicate { address } if address == one));

        let mut writer = Writer::new(Vec::new());
        let frame = zstd::bulk::compress(b"dictionary", 3).unwrap();
        let dictionary = StoredDictionary::new(frame.clone()).unwrap();
        let long = [frame.as_slice(), &frame].concat();
        for broken in [b"no frame".as_slice(), &long] {
            let error = writer.append_frame(one, broken, &dictionary).unwrap_err();
            assert!(matches!(
                error,
                EncodeError::Record {
                    source: DecodeError::Zstd { .. },
                    ..
                }
            ));
        }
        assert!(StoredDictionary::new(long).is_err());
        assert!(writer.append_record(one, b"no record").is_err());
        assert!(writer.is_empty());
    }
}
