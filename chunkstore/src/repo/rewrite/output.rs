//! The new file, as bytes to be written: what the format's writer lets go of.

use std::collections::BTreeMap;
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

/// Bytes that a writer has let go of.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
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

    /// Adds chunks and returns the bytes to write.
    pub(super) fn append(&mut self, pieces: &[Piece]) -> Result<Vec<u8>, Unfit> {
        for piece in pieces {
            self.append_one(piece)?;
        }
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
                self.chunk.clear();
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
