//! Chunks → file body, index, footer, id.

use std::io::Write;

use super::layout::encode_footer;
use super::{SuffixHasher, record};
use crate::address::ChunkAddress;
use crate::format::sink::{Sink, Written};
use crate::format::{EncodeError, MAX_CHUNK_LEN, MAX_STORED_LEN, to_usize};

/// Writes a table file to any sink, front to back. Keeps 28 bytes a chunk.
///
/// After an error the writer, and whatever the sink took, are to be thrown away.
pub struct Writer<W> {
    sink: Sink<W>,
    addresses: Vec<ChunkAddress>,
    lengths: Vec<u32>,
    uncompressed_len: u64,
    encoder: record::Encoder,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(sink: W) -> Self {
        Self {
            sink: Sink::new(sink, "table file"),
            addresses: Vec::new(),
            lengths: Vec::new(),
            uncompressed_len: 0,
            encoder: record::Encoder::new(),
            buffer: Vec::new(),
        }
    }

    /// Compresses a chunk and adds it. The caller vouches for the address.
    pub fn append_chunk(&mut self, address: ChunkAddress, chunk: &[u8]) -> Result<(), EncodeError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let appended = self
            .encoder
            .encode(chunk, &mut buffer)
            .and_then(|_| self.append(address, &buffer, chunk.len() as u64));
        self.buffer = buffer;
        appended
    }

    /// Copies a record (block and checksum) as it is, once its checksum was found right. The caller vouches for
    /// the address.
    pub fn append_record(
        &mut self,
        address: ChunkAddress,
        record: &[u8],
    ) -> Result<(), EncodeError> {
        let chunk_len = record::checked_block(record)
            .and_then(|block| record::chunk_len(block, MAX_CHUNK_LEN))
            .map_err(|source| EncodeError::Record { address, source })?;
        self.append(address, record, u64::from(chunk_len))
    }

    /// How long the file would be if it ended here.
    pub fn len(&self) -> u64 {
        let count = self.addresses.len() as u64;
        self.sink.len() + super::ENTRY_LEN * count + super::FOOTER_LEN as u64
    }

    /// Whether no chunk was added yet.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Writes index and footer. A file without chunks and an address that came twice are refused.
    pub fn finish(mut self) -> Result<(W, Written), EncodeError> {
        let count =
            u32::try_from(self.addresses.len()).expect("the count was kept below the limit");
        if count == 0 {
            return Err(EncodeError::NoChunks);
        }
        let addresses = &self.addresses;
        let address = |ordinal: &u32| addresses[to_usize(*ordinal)];
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(address);
        if let Some(pair) = order
            .windows(2)
            .find(|pair| address(&pair[0]) == address(&pair[1]))
        {
            return Err(EncodeError::Duplicate {
                address: address(&pair[0]),
            });
        }

        let data_len = self.sink.len();
        for ordinal in &order {
            self.sink.put(&address(ordinal).prefix().to_be_bytes())?;
            self.sink.put(&ordinal.to_be_bytes())?;
        }
        for length in &self.lengths {
            self.sink.put(&length.to_be_bytes())?;
        }
        let mut id = SuffixHasher::new();
        for address in addresses {
            id.update(&address.suffix());
            self.sink.put(&address.suffix())?;
        }
        self.sink
            .put(&encode_footer(count, self.uncompressed_len))?;
        let (sink, sums) = self.sink.finish()?;
        let written = Written {
            id: id.finish(),
            count,
            len: sums.len,
            data_len,
            md5: sums.md5,
        };
        Ok((sink, written))
    }

    fn append(
        &mut self,
        address: ChunkAddress,
        record: &[u8],
        chunk_len: u64,
    ) -> Result<(), EncodeError> {
        let Some(len) = u32::try_from(record.len())
            .ok()
            .filter(|len| *len <= MAX_STORED_LEN)
        else {
            return Err(EncodeError::Len {
                what: "chunk record",
                len: record.len() as u64,
            });
        };
        if self.addresses.len() == to_usize(u32::MAX) {
            return Err(EncodeError::TooMany { limit: u32::MAX });
        }
        self.sink.put(record)?;
        self.addresses.push(address);
        self.lengths.push(len);
        self.uncompressed_len += chunk_len;
        Ok(())
    }
}

impl<W> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("count", &self.addresses.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};

    use super::*;
    use crate::format::DecodeError;
    use crate::format::table::Index;
    use crate::hash::hash_chunk;

    #[test]
    fn what_is_written_is_read_and_records_are_copied_as_they_are() {
        let chunks: Vec<Vec<u8>> = (1..200_u8).map(|salt| vec![salt; 700]).collect();
        let mut writer = Writer::new(Vec::new());
        for chunk in &chunks {
            writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
        }
        let foretold = writer.len();
        let (file, written) = writer.finish().unwrap();
        let (layout, index) = Index::decode_file(&file).unwrap();
        assert_eq!(written.len, file.len() as u64);
        assert_eq!(written.len, foretold);
        assert_eq!(
            (written.count, written.data_len),
            (layout.count(), layout.data_len())
        );
        assert_eq!(written.id, index.file_id());
        assert_eq!(written.md5, Some(Md5::digest(&file).into()));
        assert_eq!(layout.uncompressed_len(), 199 * 700);

        let mut copy = Writer::new(Vec::new());
        for entry in index.in_file_order() {
            let start = usize::try_from(entry.span.data.offset).unwrap();
            let record = &file[start..start + to_usize(entry.span.data.len)];
            copy.append_record(entry.address, record).unwrap();
        }
        assert_eq!(copy.finish().unwrap(), (file, written));
    }

    #[test]
    fn nothing_twice_nothing_empty_nothing_broken() {
        let empty = Writer::new(Vec::new()).finish().unwrap_err();
        assert!(matches!(empty, EncodeError::NoChunks));

        let mut writer = Writer::new(Vec::new());
        writer.append_chunk(hash_chunk(b"one"), b"one").unwrap();
        writer.append_chunk(hash_chunk(b"two"), b"two").unwrap();
        writer.append_chunk(hash_chunk(b"one"), b"one").unwrap();
        let address = hash_chunk(b"one");
        let twice = writer.finish().unwrap_err();
        assert!(matches!(twice, EncodeError::Duplicate { address: found } if found == address));

        let mut writer = Writer::new(Vec::new());
        let broken = writer
            .append_record(address, b"no record at all")
            .unwrap_err();
        assert!(matches!(
            broken,
            EncodeError::Record {
                source: DecodeError::Checksum { .. },
                ..
            }
        ));
        assert!(matches!(
            writer.append_chunk(address, b"").unwrap_err(),
            EncodeError::Len { .. }
        ));
        assert!(writer.is_empty());
    }
}
