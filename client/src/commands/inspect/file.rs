//! What a file of a store is: a table file, an archive, a manifest or a journal.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::archive::{self, Checksums, Version};
use holdfast_chunkstore::format::manifest::{CHUNK_FORMAT, JOURNAL_ID, MAX_LEN, Manifest};
use holdfast_chunkstore::format::{DecodeError, FileKind, TAIL_LEN, table};
use holdfast_chunkstore::index::{ChunkEntry, ChunkSpan};
use holdfast_chunkstore::noms_dir::{Journal, StoreError};
use holdfast_client::transfer::CheckError;
use serde_json::json;

use crate::ui::facts::Facts;

/// A file that was read.
pub(super) struct Inspected {
    pub(super) facts: Facts,
    /// Its chunks in the order of the file.
    pub(super) chunks: Vec<ChunkEntry>,
}

/// Reads the facts of a file, and its index: 40 bytes of memory a chunk. Blocks.
pub(super) fn read(path: &Path) -> anyhow::Result<Inspected> {
    let bytes = Bytes::open(path)?;
    let mut facts = Facts::default();
    facts.add("file", path);
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    let id: Option<TableFileId> = name.and_then(|name| name.split('.').next()?.parse().ok());
    if bytes.begins_as_a_manifest()? {
        manifest(&bytes, &mut facts)?;
        let chunks = Vec::new();
        return Ok(Inspected { facts, chunks });
    }
    if id == Some(JOURNAL_ID) {
        let chunks = journal(&bytes, &mut facts)?;
        return Ok(Inspected { facts, chunks });
    }
    let tail = bytes.tail()?;
    let kind = FileKind::detect(&tail).map_err(|source| bytes.wrong(source))?;
    let chunks = match kind {
        FileKind::Table => table_file(&bytes, &tail, id, &mut facts)?,
        FileKind::Archive => archive_file(&bytes, &tail, &mut facts)?,
    };
    Ok(Inspected { facts, chunks })
}

/// An open file.
struct Bytes<'a> {
    path: &'a Path,
    file: File,
    len: u64,
}

impl<'a> Bytes<'a> {
    fn open(path: &'a Path) -> Result<Self, CheckError> {
        let io = |source| CheckError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        Ok(Self { path, file, len })
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>, CheckError> {
        let io = |source| CheckError::Io {
            path: self.path.to_owned(),
            source,
        };
        let len = usize::try_from(range.end - range.start);
        let len = len.map_err(|_| io(std::io::ErrorKind::FileTooLarge.into()))?;
        let mut bytes = vec![0; len];
        self.file
            .read_exact_at(&mut bytes, range.start)
            .map_err(io)?;
        Ok(bytes)
    }

    fn tail(&self) -> Result<Vec<u8>, CheckError> {
        self.read(self.len.saturating_sub(TAIL_LEN as u64)..self.len)
    }

    fn begins_as_a_manifest(&self) -> Result<bool, CheckError> {
        let beginning = self.read(0..self.len.min(32))?;
        let text = std::str::from_utf8(&beginning).unwrap_or_default();
        let mut fields = text.split(':');
        let is_version = |version: &str| version.bytes().all(|byte| byte.is_ascii_digit());
        Ok(fields.next().is_some_and(is_version) && fields.next() == Some(CHUNK_FORMAT))
    }

    fn wrong(&self, source: DecodeError) -> CheckError {
        CheckError::File {
            path: self.path.to_owned(),
            source,
        }
    }
}

fn manifest(bytes: &Bytes<'_>, facts: &mut Facts) -> anyhow::Result<()> {
    let text = bytes.read(0..bytes.len.min(MAX_LEN as u64 + 1))?;
    let decoded = Manifest::decode(&text).map_err(|source| StoreError::Manifest {
        path: bytes.path.to_owned(),
        source,
    })?;
    let version = text.split(|byte| *byte == b':').next().unwrap_or_default();
    facts.add("kind", "manifest");
    facts.add("version", String::from_utf8_lossy(version));
    facts.add("len", bytes.len);
    facts.add("root", decoded.root);
    facts.add("lock", decoded.lock.to_string());
    facts.add("gc_generation", decoded.gc_generation.to_string());
    let listed = decoded.files.iter().map(|file| match file.id {
        JOURNAL_ID => json!({ "id": file.id, "chunks": "journal" }),
        id => json!({ "id": id, "chunks": file.chunks }),
    });
    facts.add("files", listed.collect::<Vec<_>>());
    Ok(())
}

fn journal(bytes: &Bytes<'_>, facts: &mut Facts) -> anyhow::Result<Vec<ChunkEntry>> {
    let journal = Journal::open_file(bytes.path)?;
    facts.add("kind", "journal");
    facts.add("len", bytes.len);
    facts.add("valid_len", journal.end());
    facts.add("chunks", journal.count());
    facts.add("root", journal.root());
    let chunks = journal.in_file_order().into_iter();
    let entry = |(address, data)| ChunkEntry {
        address,
        span: ChunkSpan {
            data,
            dictionary: None,
        },
    };
    Ok(chunks.map(entry).collect())
}

fn table_file(
    bytes: &Bytes<'_>,
    tail: &[u8],
    id: Option<TableFileId>,
    facts: &mut Facts,
) -> anyhow::Result<Vec<ChunkEntry>> {
    let layout = table::Layout::decode(tail, bytes.len);
    let layout = layout.map_err(|source| bytes.wrong(source))?;
    let index = bytes.read(layout.index())?;
    let index = table::Index::decode(&layout, &index).map_err(|source| bytes.wrong(source))?;
    facts.add("kind", "table file");
    facts.add("len", bytes.len);
    facts.add("chunks", layout.count());
    facts.add("data_len", layout.data_len());
    facts.add("index_len", bytes.len - layout.data_len());
    facts.add("chunks_len", layout.uncompressed_len());
    facts.add("id", index.file_id());
    facts.add("name_fits", id.map(|id| id == index.file_id()));
    Ok(index.in_file_order().collect())
}

fn archive_file(
    bytes: &Bytes<'_>,
    tail: &[u8],
    facts: &mut Facts,
) -> anyhow::Result<Vec<ChunkEntry>> {
    let layout = archive::Layout::decode(tail, bytes.len);
    let layout = layout.map_err(|source| bytes.wrong(source))?;
    let index = bytes.read(layout.index())?;
    let index = archive::Index::decode(&layout, &index).map_err(|source| bytes.wrong(source))?;
    let metadata = bytes.read(layout.metadata())?;
    let metadata = archive::decode_metadata(&metadata).map_err(|source| bytes.wrong(source))?;
    let version = match layout.version() {
        Version::One => 1,
        Version::Two => 2,
        Version::Three => 3,
    };
    facts.add("kind", "archive");
    facts.add("version", version);
    facts.add("len", bytes.len);
    facts.add("chunks", layout.count());
    facts.add("data_len", layout.data_len());
    facts.add("index_len", layout.footer().index_len);
    facts.add("spans", layout.span_count());
    facts.add("dictionaries", index.dictionaries().len());
    facts.add("checksums", layout.footer().checksums != Checksums::NONE);
    facts.add("metadata", metadata);
    Ok(index.in_file_order().collect())
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::RootAddress;
    use holdfast_chunkstore::format::manifest::ListedFile;
    use holdfast_chunkstore::hash::hash_chunk;
    use holdfast_chunkstore::objects::durable;

    use super::*;

    fn told(path: &Path) -> (String, usize) {
        let inspected = read(path).unwrap();
        (inspected.facts.lines().join("\n"), inspected.chunks.len())
    }

    #[test]
    fn each_kind_of_file_is_told_from_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            durable::write_over(&path, "new-", 0o644, bytes).unwrap();
            path
        };
        let address = hash_chunk(b"a chunk");
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = table::Writer::new(file.reopen().unwrap());
        writer.append_chunk(address, b"a chunk").unwrap();
        let (_, written) = writer.finish().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        let (text, chunks) = told(&put(&written.id.to_string(), &bytes));
        assert!(text.contains("kind           table file"), "{text}");
        assert!(text.contains("name fits      yes"), "{text}");
        assert_eq!(chunks, 1);
        let (text, _) = told(&put(&"1".repeat(32), &bytes));
        assert!(text.contains("name fits      no"), "{text}");

        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = archive::Writer::new(file.reopen().unwrap());
        writer.append_chunk(address, b"a chunk").unwrap();
        writer.finish(&Default::default()).unwrap();
        let (text, chunks) = told(&put("x.darc", &std::fs::read(file.path()).unwrap()));
        assert!(text.contains("kind           archive"), "{text}");
        assert!(text.contains("version        3"), "{text}");
        assert_eq!(chunks, 1);

        let listed = ListedFile {
            id: written.id,
            chunks: 1,
        };
        let root = RootAddress::from(address);
        let manifest = Manifest::new(root, vec![listed]).encode();
        let (text, _) = told(&put("manifest", manifest.as_bytes()));
        assert!(text.contains("version        5"), "{text}");
        assert!(
            text.contains(&format!("root           {address}")),
            "{text}"
        );
        assert!(text.contains(&written.id.to_string()), "{text}");

        let mut stored = Vec::new();
        table::record::Encoder::new()
            .encode(b"a chunk", &mut stored)
            .unwrap();
        let mut journal = Vec::new();
        let encoded = holdfast_chunkstore::format::journal::encode_chunk;
        encoded(address, &stored, &mut journal).unwrap();
        let end = journal.len();
        journal.extend([0; 50]);
        let (text, chunks) = told(&put(&JOURNAL_ID.to_string(), &journal));
        assert!(text.contains("kind           journal"), "{text}");
        assert!(text.contains(&format!("valid len      {end}\n")), "{text}");
        assert_eq!(chunks, 1);

        let error = read(&put("other", b"something else")).err().unwrap();
        assert!(error.is::<CheckError>(), "{error:?}");
        let empty = read(&put("empty", b"")).err().unwrap();
        assert!(empty.is::<CheckError>(), "{empty:?}");
    }
}
