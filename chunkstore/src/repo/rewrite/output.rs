//! The new file, as bytes to be written: what the format's writer lets go of.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::RewriteError;
use crate::address::ChunkAddress;
use crate::format::archive::{self, Decoder, Dictionary, StoredDictionary};
use crate::format::{DecodeError, EncodeError, MAX_CHUNK_LEN, Written, table};
use crate::objects::ObjectKey;
use crate::repo::file::FileKind;

/// A stored chunk with what is needed to copy it.
pub(super) struct Piece {
    pub(super) address: ChunkAddress,
    pub(super) stored: Bytes,
    pub(super) dictionary: Option<Arc<ReadyDictionary>>,
}

/// A dictionary in the form that the output needs.
pub(super) enum ReadyDictionary {
    ToDecode(Dictionary),
    ToCopy(StoredDictionary),
}

/// How many bytes are written, or decoded, at once: what is stored says little of it.
const MOST_BYTES: usize = 4 << 20;

/// Bytes that a writer has let go of.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a chunk of an input cannot be added.
pub(super) enum Unfit {
    Chunk {
        address: ChunkAddress,
        source: DecodeError,
    },
    Encode(EncodeError),
}

impl From<EncodeError> for Unfit {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Record { address, source } => Self::Chunk { address, source },
            error => Self::Encode(error),
        }
    }
}

impl Unfit {
    /// Names the input.
    pub(super) fn of(self, key: &ObjectKey) -> RewriteError {
        match self {
            Self::Chunk { address, source } => RewriteError::Chunk {
                key: key.clone(),
                address,
                source,
            },
            Self::Encode(error) => RewriteError::Encode(error),
        }
    }
}

/// The new file.
pub(super) struct Output {
    writer: FormatWriter,
    buffer: Buffer,
    decoder: Decoder,
    chunk: Vec<u8>,
}

enum FormatWriter {
    Table(table::Writer<Buffer>),
    Archive(archive::Writer<Buffer>),
}

impl Output {
    pub(super) fn new(kind: FileKind) -> Self {
        let buffer = Buffer::default();
        let writer = match kind {
            FileKind::Table => FormatWriter::Table(table::Writer::new(buffer.clone())),
            FileKind::Archive => FormatWriter::Archive(archive::Writer::new(buffer.clone())),
        };
        Self {
            writer,
            buffer,
            decoder: Decoder::new(),
            chunk: Vec::new(),
        }
    }

    /// Takes the first of some chunks, adds them and returns the bytes to write. Takes no more behind those that were
    /// decoded to, or are written as, [`MOST_BYTES`].
    pub(super) fn append(&mut self, pieces: &mut VecDeque<Piece>) -> Result<Vec<u8>, Unfit> {
        let mut decoded = 0;
        while decoded < MOST_BYTES
            && self.buffer.len() < MOST_BYTES
            && let Some(piece) = pieces.pop_front()
        {
            self.chunk.clear();
            self.append_one(&piece)?;
            decoded += self.chunk.len();
        }
        self.chunk.shrink_to(MOST_BYTES);
        Ok(self.buffer.take())
    }

    fn append_one(&mut self, piece: &Piece) -> Result<(), Unfit> {
        let (address, stored) = (piece.address, piece.stored.as_ref());
        match (&mut self.writer, piece.dictionary.as_deref()) {
            (FormatWriter::Table(writer), None) => writer.append_record(address, stored)?,
            (FormatWriter::Archive(writer), None) => writer.append_record(address, stored)?,
            (FormatWriter::Archive(writer), Some(ReadyDictionary::ToCopy(dictionary))) => {
                writer.append_frame(address, stored, dictionary)?;
            }
            (FormatWriter::Table(writer), Some(ReadyDictionary::ToDecode(dictionary))) => {
                let chunk = &mut self.chunk;
                let decoded = self
                    .decoder
                    .decode(stored, Some(dictionary), MAX_CHUNK_LEN, chunk);
                decoded.map_err(|source| Unfit::Chunk { address, source })?;
                writer.append_chunk(address, &self.chunk)?;
            }
            (FormatWriter::Table(_), Some(ReadyDictionary::ToCopy(_)))
            | (FormatWriter::Archive(_), Some(ReadyDictionary::ToDecode(_))) => {
                unreachable!("dictionaries are made ready for the kind of the output")
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(Vec<u8>, Written), RewriteError> {
        let written = match self.writer {
            FormatWriter::Table(writer) => writer.finish()?.1,
            FormatWriter::Archive(writer) => {
                let version = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
                let metadata = [("dolt_version".to_owned(), version.to_owned())];
                writer.finish(&BTreeMap::from(metadata))?.1
            }
        };
        Ok((self.buffer.take(), written))
    }
}

#[cfg(test)]
mod tests {
    use zstd::bulk::Compressor;

    use super::*;
    use crate::hash::hash_chunk;

    /// A few stored bytes that stand for many are written a little at a time.
    #[test]
    fn what_is_held_does_not_follow_what_chunks_decode_to() {
        const LONG: usize = 4 << 20;
        let dictionary = vec![7; 4096];
        let stored = zstd::bulk::compress(&dictionary, 1).unwrap();
        let dictionary_of = Dictionary::decode(&stored).unwrap();
        let ready = Arc::new(ReadyDictionary::ToDecode(dictionary_of));
        let mut compressor = Compressor::with_dictionary(1, &dictionary).unwrap();
        let mut pieces = VecDeque::new();
        for salt in 0..8_u8 {
            let mut chunk = vec![0; LONG];
            chunk[0] = salt;
            pieces.push_back(Piece {
                address: hash_chunk(&chunk),
                stored: compressor.compress(&chunk).unwrap().into(),
                dictionary: Some(Arc::clone(&ready)),
            });
        }
        let mut output = Output::new(FileKind::Table);
        let mut calls = 0;
        while !pieces.is_empty() {
            let bytes = output.append(&mut pieces).map_err(drop).unwrap();
            assert!(bytes.len() <= LONG, "{}", bytes.len());
            calls += 1;
        }
        assert_eq!(calls, 8, "each is as much as may be decoded at once");
        let (_, written) = output.finish().unwrap();
        assert_eq!(written.count, 8);
    }
}
