//! A table file that grows while its chunks come in, and can be continued after a crash.
//!
//! ```text
//! <name>.records    the data section of the file: records as they came, each behind the one before
//! <name>.list       28 bytes for each record: address | u32 length of the record | u32 length of the chunk
//! ```
//!
//! * Truth: the records. An entry of the list counts as far as the record that it names is there, and is the chunk of
//!   that address.
//! * Order: records before their entries; in the end index and footer behind the records, all of it durable, then the
//!   name, then the list is emptied.
//! * Crash: what both files hold, up to the first record that is not what its entry says, is kept; the rest is cut off.
//!
//! Everything here blocks.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::create::land;
use super::error::{StoreError, io};
use crate::address::ChunkAddress;
use crate::format::manifest::ListedFile;
use crate::format::table::{self, record};
use crate::format::{FileKind, MAX_CHUNK_LEN, MAX_STORED_LEN};
use crate::hash::hash_chunks;
use crate::index::ByteSpan;
use crate::objects::durable;

/// The length of an entry of the list.
const ENTRY_LEN: usize = 28;

/// How many chunks are hashed at once while a file is opened again …
const CHECKED_AT_ONCE: usize = 256;

/// … unless they have more bytes than this.
const CHECKED_BYTES: usize = 4 << 20;

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 1 << 20;

/// A table file that is not whole yet.
#[derive(Debug)]
pub struct PartialFile {
    records_path: PathBuf,
    list_path: PathBuf,
    records: BufWriter<File>,
    list: BufWriter<File>,
    entries: Vec<Entry>,
    /// Where the chunks lie that were there when it was opened.
    kept: HashMap<ChunkAddress, ByteSpan>,
    data_len: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    address: ChunkAddress,
    record_len: u32,
    chunk_len: u32,
}

impl PartialFile {
    /// Begins a file in `directory`, or continues the one of that name; each chunk that is kept is checked.
    pub fn open(directory: &Path, name: &str) -> Result<Self, StoreError> {
        let records_path = directory.join(format!("{name}.records"));
        let list_path = directory.join(format!("{name}.list"));
        let records = open(&records_path)?;
        let list = open(&list_path)?;
        let entries = kept_entries(&records, &list, &list_path)?;
        let mut kept = HashMap::with_capacity(entries.len());
        let mut data_len = 0;
        for entry in &entries {
            let span = ByteSpan {
                offset: data_len,
                len: entry.record_len,
            };
            kept.insert(entry.address, span);
            data_len += u64::from(entry.record_len);
        }
        let list_len = (entries.len() * ENTRY_LEN) as u64;
        cut(&records, data_len).map_err(io("cut", &records_path))?;
        cut(&list, list_len).map_err(io("cut", &list_path))?;
        Ok(Self {
            records_path,
            list_path,
            records: BufWriter::with_capacity(BUFFER_BYTES, records),
            list: BufWriter::new(list),
            entries,
            kept,
            data_len,
        })
    }

    /// The chunks that were there when it was opened.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = ChunkAddress> + '_ {
        self.kept.keys().copied()
    }

    /// Whether a chunk was there when it was opened.
    pub fn has_kept(&self, address: ChunkAddress) -> bool {
        self.kept.contains_key(&address)
    }

    /// Reads a chunk that was there when it was opened.
    pub fn read_kept(&self, address: ChunkAddress) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(span) = self.kept.get(&address) else {
            return Ok(None);
        };
        let mut stored = vec![0; span.len as usize];
        let file = self.records.get_ref();
        file.read_exact_at(&mut stored, span.offset)
            .map_err(io("read", &self.records_path))?;
        let mut chunk = Vec::new();
        record::decode(&stored, MAX_CHUNK_LEN, &mut chunk)
            .map_err(super::error::damaged(&self.records_path))?;
        Ok(Some(chunk))
    }

    /// Reads the record of a chunk that was added, or that was there when it was opened.
    pub fn read_added(&mut self, span: ByteSpan) -> Result<Vec<u8>, StoreError> {
        let read = io("read", &self.records_path);
        let flushed = self.records.flush();
        let mut stored = vec![0; span.len as usize];
        let file = self.records.get_ref();
        let done = flushed.and_then(|()| file.read_exact_at(&mut stored, span.offset));
        done.map(|()| stored).map_err(read)
    }

    /// How long the records are together: where the next one begins.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// How long the file would be if it ended here.
    pub fn len(&self) -> u64 {
        self.data_len + table::ENTRY_LEN * self.entries.len() as u64 + table::FOOTER_LEN as u64
    }

    /// How many chunks are in it.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether no chunk is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the record of a chunk of `chunk_len` bytes. The caller vouches for both, and that it was not added before.
    pub fn append(
        &mut self,
        address: ChunkAddress,
        stored: &[u8],
        chunk_len: u32,
    ) -> Result<(), StoreError> {
        let record_len = u32::try_from(stored.len())
            .ok()
            .filter(|len| *len <= MAX_STORED_LEN)
            .ok_or_else(|| StoreError::Encode {
                path: self.records_path.clone(),
                source: crate::format::EncodeError::Len {
                    what: "chunk record",
                    len: stored.len() as u64,
                },
            })?;
        let entry = Entry {
            address,
            record_len,
            chunk_len,
        };
        self.records
            .write_all(stored)
            .map_err(io("write", &self.records_path))?;
        self.entries.push(entry);
        self.data_len += u64::from(record_len);
        self.list
            .write_all(&entry.encode())
            .map_err(io("write", &self.list_path))
    }

    /// Brings what was added to the system, records before their entries, so that it outlives this process.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.records
            .flush()
            .map_err(io("write", &self.records_path))?;
        self.list.flush().map_err(io("write", &self.list_path))
    }

    /// Makes a table file of what is in it, gives that its name in `directory`, on the same file system, and begins
    /// anew; nothing without chunks.
    pub fn finish(&mut self, directory: &Path) -> Result<Option<ListedFile>, StoreError> {
        let Some(listed) = self.write_tail()? else {
            return Ok(None);
        };
        land(&self.records_path, directory, listed.id, FileKind::Table)?;
        self.begin_anew()?;
        Ok(Some(listed))
    }

    /// The same, but the file and its name need not outlive a crash of the machine.
    pub fn close(&mut self, directory: &Path) -> Result<Option<ListedFile>, StoreError> {
        let Some(listed) = self.write_tail()? else {
            return Ok(None);
        };
        let path = directory.join(listed.id.to_string());
        durable::rename_only(&self.records_path, &path).map_err(io("name", &path))?;
        self.begin_anew()?;
        Ok(Some(listed))
    }

    /// Writes index and footer behind the records.
    fn write_tail(&mut self) -> Result<Option<ListedFile>, StoreError> {
        self.flush()?;
        if self.entries.is_empty() {
            return Ok(None);
        }
        let records = self.entries.iter();
        let index =
            table::Index::of_records(records.map(|entry| (entry.address, entry.record_len)));
        let chunk_lens = self.entries.iter().map(|entry| u64::from(entry.chunk_len));
        let tail = index.encode(chunk_lens.sum());
        self.records
            .get_ref()
            .write_all_at(&tail, self.data_len)
            .map_err(io("write", &self.records_path))?;
        Ok(Some(ListedFile {
            id: index.file_id(),
            chunks: u32::try_from(index.len()).expect("ordinals have 32 bits"),
        }))
    }

    fn begin_anew(&mut self) -> Result<(), StoreError> {
        cut(self.list.get_ref(), 0).map_err(io("cut", &self.list_path))?;
        let records = open(&self.records_path)?;
        self.records = BufWriter::with_capacity(BUFFER_BYTES, records);
        self.entries.clear();
        self.kept.clear();
        self.data_len = 0;
        Ok(())
    }
}

impl Entry {
    fn encode(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..20].copy_from_slice(self.address.as_bytes());
        bytes[20..24].copy_from_slice(&self.record_len.to_be_bytes());
        bytes[24..].copy_from_slice(&self.chunk_len.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let number = |at: usize| {
            let bytes = bytes[at..].first_chunk().expect("an entry has 28 bytes");
            u32::from_be_bytes(*bytes)
        };
        Self {
            address: ChunkAddress::new(*bytes.first_chunk().expect("an entry has 28 bytes")),
            record_len: number(20),
            chunk_len: number(24),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io("open", path))
}

/// Cuts a file and goes to its end.
fn cut(file: &File, len: u64) -> std::io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let mut file = file;
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len)).map(|_| ())
}

/// The entries whose records are there and are what the entries say, up to the first that is not.
fn kept_entries(records: &File, list: &File, path: &Path) -> Result<Vec<Entry>, StoreError> {
    let mut bytes = Vec::new();
    let mut list = list;
    list.read_to_end(&mut bytes).map_err(io("read", path))?;
    let (listed, _) = bytes.as_chunks::<ENTRY_LEN>();
    let mut records = BufReader::with_capacity(BUFFER_BYTES, records);
    let mut kept = Vec::with_capacity(listed.len());
    let mut seen = std::collections::HashSet::with_capacity(listed.len());
    for group in listed.chunks(CHECKED_AT_ONCE) {
        let entries: Vec<_> = group.iter().map(Entry::decode).collect();
        let good = good_entries(&mut records, &entries);
        let is_new = |entry: &&Entry| seen.insert(entry.address);
        let before = kept.len();
        kept.extend(entries[..good].iter().take_while(is_new));
        if kept.len() - before < entries.len() {
            break;
        }
    }
    Ok(kept)
}

/// How many of the next records are what their entries say.
fn good_entries(records: &mut BufReader<&File>, entries: &[Entry]) -> usize {
    let mut good = 0;
    loop {
        let rest = &entries[good..];
        let (chunks, is_whole) = read_some(records, rest);
        let found = hash_chunks(&chunks);
        let is_right = |(entry, found): &(&Entry, &ChunkAddress)| entry.address == **found;
        let right = rest.iter().zip(&found).take_while(is_right).count();
        good += right;
        if !is_whole || right < chunks.len() || good == entries.len() {
            return good;
        }
    }
}

/// Reads some of the next chunks, up to one that is not whole; and tells whether there was none such.
fn read_some(records: &mut BufReader<&File>, entries: &[Entry]) -> (Vec<Vec<u8>>, bool) {
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        if bytes >= CHECKED_BYTES {
            break;
        }
        if entry.record_len > MAX_STORED_LEN {
            return (chunks, false);
        }
        let mut stored = vec![0; entry.record_len as usize];
        let mut chunk = Vec::new();
        let is_whole = records.read_exact(&mut stored).is_ok()
            && record::decode(&stored, MAX_CHUNK_LEN, &mut chunk).is_ok()
            && chunk.len() == entry.chunk_len as usize;
        if !is_whole {
            return (chunks, false);
        }
        bytes += chunk.len();
        chunks.push(chunk);
    }
    (chunks, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash_chunk;

    fn add(file: &mut PartialFile, chunk: &[u8]) {
        let mut stored = Vec::new();
        record::Encoder::new().encode(chunk, &mut stored).unwrap();
        let len = u32::try_from(chunk.len()).unwrap();
        file.append(hash_chunk(chunk), &stored, len).unwrap();
    }

    #[test]
    fn what_was_flushed_is_kept_and_the_file_is_the_writers() {
        let directory = tempfile::tempdir().unwrap();
        let chunks: Vec<Vec<u8>> = (1..=600_u16)
            .map(|salt| salt.to_be_bytes().repeat(99))
            .collect();
        let (first, second) = chunks.split_at(300);
        let mut file = PartialFile::open(directory.path(), "a").unwrap();
        first.iter().for_each(|chunk| add(&mut file, chunk));
        file.flush().unwrap();
        drop(file);

        let mut file = PartialFile::open(directory.path(), "a").unwrap();
        let offset = file.data_len();
        let mut stored = Vec::new();
        record::Encoder::new()
            .encode(b"added", &mut stored)
            .unwrap();
        file.append(hash_chunk(b"added"), &stored, 5).unwrap();
        let len = u32::try_from(stored.len()).unwrap();
        let span = ByteSpan { offset, len };
        assert_eq!(file.read_added(span).unwrap(), stored);
        drop(file);
        cut(&open(&directory.path().join("a.records")).unwrap(), offset).unwrap();

        let mut file = PartialFile::open(directory.path(), "a").unwrap();
        assert_eq!(file.kept().len(), 300);
        let read = file.read_kept(hash_chunk(&chunks[7])).unwrap();
        assert_eq!(read.as_ref(), Some(&chunks[7]));
        assert_eq!(file.read_kept(hash_chunk(&chunks[300])).unwrap(), None);
        second.iter().for_each(|chunk| add(&mut file, chunk));
        let foretold = file.len();
        let listed = file.finish(directory.path()).unwrap().unwrap();

        let mut writer = table::Writer::new(Vec::new());
        for chunk in &chunks {
            writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
        }
        let (bytes, written) = writer.finish().unwrap();
        assert_eq!((listed.id, listed.chunks), (written.id, written.count));
        assert_eq!(foretold, written.len);
        let path = directory.path().join(listed.id.to_string());
        assert_eq!(std::fs::read(path).unwrap(), bytes);

        add(&mut file, b"after");
        file.flush().unwrap();
        drop(file);
        let file = PartialFile::open(directory.path(), "a").unwrap();
        assert_eq!(file.kept().collect::<Vec<_>>(), [hash_chunk(b"after")]);
    }

    #[test]
    fn what_is_torn_or_damaged_is_cut_off() {
        let chunks: Vec<Vec<u8>> = (1..=20_u8).map(|salt| vec![salt; 400]).collect();
        type Damage = fn(&mut Vec<u8>);
        let damage: [(&str, Damage, usize); 4] = [
            ("a.list", |bytes| bytes.truncate(10 * ENTRY_LEN + 5), 10),
            ("a.records", |bytes| bytes.truncate(bytes.len() / 2), 10),
            ("a.list", |bytes| bytes[3 * ENTRY_LEN] ^= 1, 3),
            (
                "a.list",
                |bytes| bytes.copy_within(..ENTRY_LEN, 5 * ENTRY_LEN),
                5,
            ),
        ];
        for (name, damage, left) in damage {
            let directory = tempfile::tempdir().unwrap();
            let mut file = PartialFile::open(directory.path(), "a").unwrap();
            chunks.iter().for_each(|chunk| add(&mut file, chunk));
            file.flush().unwrap();
            drop(file);
            let path = directory.path().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            File::options()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap()
                .write_all(&bytes)
                .unwrap();
            let mut file = PartialFile::open(directory.path(), "a").unwrap();
            assert_eq!(file.kept().len(), left, "{name}");
            chunks[left..]
                .iter()
                .for_each(|chunk| add(&mut file, chunk));
            let listed = file.finish(directory.path()).unwrap().unwrap();
            assert_eq!(listed.chunks, 20, "{name}");
            let bytes = std::fs::read(directory.path().join(listed.id.to_string())).unwrap();
            table::Index::decode_file(&bytes).unwrap();
        }
    }

    #[test]
    fn there_is_no_file_without_chunks() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = PartialFile::open(directory.path(), "a").unwrap();
        assert_eq!(file.finish(directory.path()).unwrap(), None);
    }
}
