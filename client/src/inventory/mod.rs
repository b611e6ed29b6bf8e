//! What was moved, chunk by chunk, so that it can be checked that nothing else went along.
//!
//! ```text
//! {"holdfast_inventory":2,"from":…,"branches":{…},"tags":{…},"chunks":…,"tree":…,"made_at":…}
//! {"key":…,"public_key":…,"signature":…}      what the first line is signed with; {} if it is not
//! <address>                                    each chunk, ascending
//! …
//! ```
//!
//! Listed is what the branches and tags reach, them included, and not what happens to lie in a store beside it. `tree` is
//! the hash over all addresses, so that the signature stands for the whole list. The signature is Ed25519 over the bytes
//! of the first line without its end, with the key pair that `dolt creds` made.

mod below;
mod compare;
mod error;
mod merge;
mod stored;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::address::BASE32;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::sort::{SortOptions, Sorted, Sorter};
use serde::{Deserialize, Serialize};

pub use compare::{Compared, compare};
pub use error::InventoryError;

use self::below::{Faults, walk};
use self::error::io;
use self::merge::{Merge, Presence};
use self::stored::{bookkeeping, stored};
use self::tree::TreeHasher;
use crate::remote::credentials::SigningKey;

/// The form that is written, and the only one that is read.
const FORM: u32 = 2;

/// How much of the list is sorted in memory; the rest goes to the disk.
const SORTED_IN_MEMORY: usize = 16 << 20;

/// The longest first line that is read.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the file.
    holdfast_inventory: u32,
    /// Where the chunks came from.
    pub from: String,
    /// The branches that were taken, and the commits that they were at.
    pub branches: BTreeMap<String, ChunkAddress>,
    /// The tags that were taken along, and where they were.
    pub tags: BTreeMap<String, ChunkAddress>,
    /// How many chunks there are.
    pub chunks: u64,
    /// The hash over the list, in hexadecimal.
    pub tree: String,
    /// When, as RFC 3339.
    pub made_at: String,
}

impl Header {
    /// What the list begins at.
    fn heads(&self) -> Vec<ChunkAddress> {
        let all = self.branches.values().chain(self.tags.values());
        all.copied().collect()
    }

    /// Whether both are of the same chunks, moved from the same place; when and by whom they were written is all one.
    fn is_of_the_same(&self, other: &Self) -> bool {
        let (made_at, mut same) = (&self.made_at, other.clone());
        same.made_at.clone_from(made_at);
        *self == same
    }
}

/// The second line.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Signature {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    signature: Option<String>,
}

/// What an inventory is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Where the chunks came from.
    pub from: String,
    /// The branches that were taken, and where they were.
    pub branches: BTreeMap<String, ChunkAddress>,
    /// The tags that were taken along, and where they were.
    pub tags: BTreeMap<String, ChunkAddress>,
    /// When, as RFC 3339.
    pub made_at: String,
}

/// What becomes of chunks that lie in a store beside those that are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// There may be none but those that hold the refs: the store itself is what was moved.
    Refused,
    /// They are not looked at: what was moved went on from there.
    Passed,
}

/// Writes the inventory of what the branches and tags of `subject` reach in a store to `path`, durably, and returns its
/// first line. The same inventory may be there already, and stays. Blocks.
///
/// # Errors
/// [`InventoryError::Exists`] where anything else is at `path`.
pub fn write(
    store: &NomsDir,
    subject: Subject,
    beside: Beside,
    key: Option<&SigningKey>,
    path: &Path,
) -> Result<Header, InventoryError> {
    let directory = directory_of(path);
    let mut header = Header {
        holdfast_inventory: FORM,
        from: subject.from,
        branches: subject.branches,
        tags: subject.tags,
        chunks: 0,
        tree: String::new(),
        made_at: subject.made_at,
    };
    let addresses = reached(store, &header, Faults::Refused, directory)?;
    if beside == Beside::Refused {
        check_alone(store, &header, &addresses, directory)?;
    }
    let mut tree = TreeHasher::default();
    for address in distinct(&addresses, directory)? {
        tree.push(&address?);
        header.chunks += 1;
    }
    header.tree = HEXLOWER.encode(&tree.finish());
    if path.symlink_metadata().is_ok() {
        return check_same(&header, path);
    }
    let first = serde_json::to_string(&header).expect("text and maps of text can be written");
    let signature = key.map_or_else(Signature::default, |key| Signature {
        key: Some(key.id().to_owned()),
        public_key: Some(BASE32.encode(key.public_key())),
        signature: Some(BASE64URL_NOPAD.encode(&key.sign(first.as_bytes()))),
    });
    let second = serde_json::to_string(&signature).expect("text can be written");
    let file = tempfile::NamedTempFile::new_in(directory).map_err(io("write", path))?;
    let mut output = BufWriter::new(file.as_file());
    writeln!(output, "{first}\n{second}").map_err(io("write", path))?;
    for address in distinct(&addresses, directory)? {
        writeln!(output, "{}", address?).map_err(io("write", path))?;
    }
    output.flush().map_err(io("write", path))?;
    drop(output);
    file.as_file().sync_all().map_err(io("write", path))?;
    let named = directory.join(path.file_name().unwrap_or(path.as_os_str()));
    match durable::link(file.path(), &named) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            check_same(&header, path)
        }
        linked => linked.map(|()| header).map_err(io("write", path)),
    }
}

/// Reads the first line of an inventory. Blocks.
pub fn read_header(path: &Path) -> Result<Header, InventoryError> {
    let file = File::open(path).map_err(io("open", path))?;
    let first = line(&mut BufReader::new(file), path)?;
    parse_header(&first, path)
}

fn parse_header(first: &str, path: &Path) -> Result<Header, InventoryError> {
    let wrong = |what| InventoryError::Form {
        path: path.to_owned(),
        what,
    };
    /// What every form has.
    #[derive(Deserialize)]
    struct Form {
        holdfast_inventory: u32,
    }
    let form: Form = serde_json::from_str(first).map_err(|_| wrong("its first line"))?;
    if form.holdfast_inventory > FORM {
        return Err(InventoryError::Newer {
            path: path.to_owned(),
            form: form.holdfast_inventory,
            known: FORM,
        });
    }
    if form.holdfast_inventory != FORM {
        return Err(wrong("its form, which an older version wrote"));
    }
    serde_json::from_str(first).map_err(|_| wrong("its first line"))
}

/// Checks that what stands in the way of an inventory is the same one, as an earlier run wrote it.
fn check_same(header: &Header, path: &Path) -> Result<Header, InventoryError> {
    match compare::read(path) {
        Ok(there) if there.is_of_the_same(header) => {
            // The earlier run may not have come so far.
            durable::sync_directory(directory_of(path)).map_err(io("sync", path))?;
            Ok(there)
        }
        Err(error @ InventoryError::Io { .. }) => Err(error),
        _ => Err(InventoryError::Exists {
            path: path.to_owned(),
        }),
    }
}

/// Checks that nothing lies in a store but what is listed, and what holds the refs.
fn check_alone(
    store: &NomsDir,
    header: &Header,
    listed: &Sorted<20>,
    directory: &Path,
) -> Result<(), InventoryError> {
    let own = bookkeeping(store, header);
    let stored = stored(store, directory)?;
    let none = std::iter::empty();
    let merge = Merge::new(
        distinct(listed, directory)?,
        distinct(&stored, directory)?,
        none,
    );
    let mut count = 0;
    merge.each(|address, presence| {
        if presence == Presence::STORED && !own.contains(&address) {
            count += 1;
        }
        Ok(())
    })?;
    match count {
        0 => Ok(()),
        count => Err(InventoryError::Beside {
            directory: store.directory().to_owned(),
            count,
        }),
    }
}

/// The directory of a file; what is sorted and does not fit into memory goes there as well.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What the branches and tags of a header reach in a store, sorted.
fn reached(
    store: &NomsDir,
    header: &Header,
    faults: Faults,
    directory: &Path,
) -> Result<Sorted<20>, InventoryError> {
    let mut sorter = sorter(directory);
    let sort = || io("sort the addresses in", directory);
    walk(store, &header.heads(), faults, directory, |address| {
        sorter.push(*address.as_bytes()).map_err(sort())
    })?;
    sorter.finish().map_err(sort())
}

fn sorter(directory: &Path) -> Sorter<20> {
    Sorter::merging_equal(SortOptions {
        directory: directory.to_owned(),
        memory_bytes: SORTED_IN_MEMORY,
        room: None,
    })
}

fn distinct<'a>(
    addresses: &Sorted<20>,
    directory: &'a Path,
) -> Result<impl Iterator<Item = Result<ChunkAddress, InventoryError>> + use<'a>, InventoryError> {
    let records = addresses.distinct();
    let records = records.map_err(io("sort the addresses in", directory))?;
    Ok(records.map(|record| {
        let record = record.map_err(io("sort the addresses in", directory))?;
        Ok(ChunkAddress::new(record))
    }))
}

fn line(input: &mut BufReader<File>, path: &Path) -> Result<String, InventoryError> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = input.take(MAX_LINE_BYTES).read_line(&mut text);
    read.map_err(io("read", path))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests;
