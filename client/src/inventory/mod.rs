//! What is in a store, chunk by chunk, so that others can check that nothing else went along.
//!
//! ```text
//! {"holdfast_inventory":1,"from":…,"branches":{…},"chunks":…,"tree":…,"made_at":…}
//! {"key":…,"public_key":…,"signature":…}      what the first line is signed with; {} if it is not
//! <address>                                    each chunk, ascending
//! …
//! ```
//!
//! `tree` is the hash over all addresses, so that the signature stands for the whole list. The signature is Ed25519 over
//! the bytes of the first line without its end, with the key pair that `dolt creds` made.

mod below;
mod error;
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

pub use error::InventoryError;

use self::error::io;
use self::tree::TreeHasher;
use crate::remote::credentials::{SigningKey, key_id};

/// The form that is written.
const FORM: u32 = 1;

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
    /// How many chunks there are.
    pub chunks: u64,
    /// The hash over the list, in hexadecimal.
    pub tree: String,
    /// When, as RFC 3339.
    pub made_at: String,
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
    /// When, as RFC 3339.
    pub made_at: String,
}

/// Which chunks of a store are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// All of them.
    Whole,
    /// Those that some of them reach, wherever they lie: what a push of these takes along.
    Below {
        /// The commits and tags that are pushed, which are listed too.
        heads: Vec<ChunkAddress>,
    },
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The first line.
    pub header: Header,
    /// The id of the key that signed it; nothing if nobody did.
    pub signed_by: Option<String>,
    /// How many chunks are listed and not in the store.
    pub missing: u64,
    /// How many chunks are in the store and not listed.
    pub extra: u64,
}

/// Writes the inventory of a store to `path`, durably, and returns its first line. Blocks.
pub fn write(
    store: &NomsDir,
    listing: &Listing,
    subject: Subject,
    key: Option<&SigningKey>,
    path: &Path,
) -> Result<Header, InventoryError> {
    let directory = directory_of(path);
    let addresses = addresses(store, listing, directory)?;
    let (mut tree, mut chunks) = (TreeHasher::default(), 0);
    for address in distinct(&addresses, directory)? {
        tree.push(&address?);
        chunks += 1;
    }
    let header = Header {
        holdfast_inventory: FORM,
        from: subject.from,
        branches: subject.branches,
        chunks,
        tree: HEXLOWER.encode(&tree.finish()),
        made_at: subject.made_at,
    };
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
    durable::replace(file, &named).map_err(io("write", path))?;
    Ok(header)
}

/// Checks an inventory against itself, its signature, and a store. Blocks.
pub fn compare(store: &NomsDir, path: &Path) -> Result<Compared, InventoryError> {
    let file = File::open(path).map_err(io("open", path))?;
    let mut input = BufReader::new(file);
    let first = line(&mut input, path)?;
    let wrong = |what: &'static str| InventoryError::Form {
        path: path.to_owned(),
        what,
    };
    let header: Header = serde_json::from_str(&first).map_err(|_| wrong("its first line"))?;
    if header.holdfast_inventory != FORM {
        return Err(wrong("its form, which is of another version"));
    }
    let second = line(&mut input, path)?;
    let signature: Signature =
        serde_json::from_str(&second).map_err(|_| wrong("its second line"))?;
    let signed_by = check_signature(&first, signature).map_err(wrong)?;
    let directory = directory_of(path);
    let addresses = addresses(store, &Listing::Whole, directory)?;
    let mut here = distinct(&addresses, directory)?;
    let mut at = here.next().transpose()?;
    let (mut tree, mut listed, mut last) = (TreeHasher::default(), 0, None);
    let (mut missing, mut extra) = (0, 0);
    for text in input.lines() {
        let text = text.map_err(io("read", path))?;
        let address: ChunkAddress = text.parse().map_err(|_| wrong("an address"))?;
        if last.is_some_and(|last| last >= address) {
            return Err(wrong("the order of its addresses"));
        }
        last = Some(address);
        tree.push(&address);
        listed += 1;
        while at.is_some_and(|at| at < address) {
            extra += 1;
            at = here.next().transpose()?;
        }
        match at == Some(address) {
            true => at = here.next().transpose()?,
            false => missing += 1,
        }
    }
    while at.is_some() {
        extra += 1;
        at = here.next().transpose()?;
    }
    if listed != header.chunks || HEXLOWER.encode(&tree.finish()) != header.tree {
        return Err(wrong(
            "its list, which is not the one that its first line is of",
        ));
    }
    Ok(Compared {
        header,
        signed_by,
        missing,
        extra,
    })
}

/// Checks the signature, and returns the id of its key.
fn check_signature(first: &str, signature: Signature) -> Result<Option<String>, &'static str> {
    use ring::signature::{ED25519, UnparsedPublicKey};
    let (key, public, signature) = match signature {
        Signature {
            key: Some(key),
            public_key: Some(public),
            signature: Some(signature),
        } => (key, public, signature),
        Signature {
            key: None,
            public_key: None,
            signature: None,
        } => return Ok(None),
        _ => return Err("its signature, of which a part is missing"),
    };
    let public = BASE32.decode(public.as_bytes()).ok();
    let public: Option<[u8; 32]> = public.and_then(|public| public.try_into().ok());
    let public = public.ok_or("its public key")?;
    if key_id(&public) != key {
        return Err("its key, whose id is another");
    }
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
    let signature = signature.map_err(|_| "its signature")?;
    UnparsedPublicKey::new(&ED25519, public)
        .verify(first.as_bytes(), &signature)
        .map_err(|_| "its signature, which is not that of the key")?;
    Ok(Some(key))
}

/// The directory of a file; what is sorted and does not fit into memory goes there as well.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The addresses of a store, sorted.
fn addresses(
    store: &NomsDir,
    listing: &Listing,
    directory: &Path,
) -> Result<Sorted<20>, InventoryError> {
    let mut sorter = Sorter::<20>::merging_equal(SortOptions {
        directory: directory.to_owned(),
        memory_bytes: SORTED_IN_MEMORY,
        room: None,
    });
    let sort = || io("sort the addresses in", directory);
    let mut list = |address: ChunkAddress| sorter.push(*address.as_bytes()).map_err(sort());
    match listing {
        Listing::Whole => {
            for address in store.files().iter().flat_map(|file| file.addresses()) {
                list(address.map_err(|source| InventoryError::Store { source })?)?;
            }
            let journal = store.journal().into_iter();
            journal
                .flat_map(|journal| journal.addresses())
                .try_for_each(list)?;
        }
        Listing::Below { heads } => below::walk(store, heads, directory, list)?,
    }
    sorter.finish().map_err(sort())
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
mod tests {
    use std::collections::BTreeSet;

    use holdfast_chunkstore::format::manifest::ListedFile;
    use holdfast_chunkstore::format::{FileKind, table};
    use holdfast_chunkstore::hash::hash_chunk;
    use holdfast_chunkstore::noms_dir::NewStore;
    use holdfast_chunkstore::{ErrorKind, RootAddress};
    use holdfast_doltdb::testing::TinyDb;

    use super::*;

    fn store(directory: &Path, chunks: &[&[u8]]) -> NomsDir {
        let store = NewStore::create(directory).unwrap();
        let mut writer = table::Writer::new(store.begin_file().unwrap());
        for chunk in chunks {
            writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
        }
        let (file, written) = writer.finish().unwrap();
        file.land(written.id, FileKind::Table).unwrap();
        let listed = ListedFile {
            id: written.id,
            chunks: written.count,
        };
        store.finish(RootAddress::ZERO, vec![listed]).unwrap();
        NomsDir::open(directory).unwrap()
    }

    fn subject() -> Subject {
        Subject {
            from: "https://h/a/b".to_owned(),
            branches: BTreeMap::from([("main".to_owned(), hash_chunk(b"one"))]),
            made_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    fn key() -> SigningKey {
        use ring::signature::{Ed25519KeyPair, KeyPair as _};
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        SigningKey::new(&[9; 32], &public).unwrap()
    }

    #[test]
    fn what_went_along_and_what_is_missing_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory");
        let moved = store(&folder.path().join("moved"), &[b"one", b"two", b"three"]);
        let header = write(&moved, &Listing::Whole, subject(), Some(&key()), &path).unwrap();
        assert_eq!(header.chunks, 3);
        let same = compare(&moved, &path).unwrap();
        assert_eq!((same.missing, same.extra), (0, 0));
        assert_eq!(same.header, header);
        assert_eq!(same.signed_by.as_deref(), Some(key().id()));
        let other = store(&folder.path().join("other"), &[b"two", b"four", b"five"]);
        let differs = compare(&other, &path).unwrap();
        assert_eq!((differs.missing, differs.extra), (2, 2));
        let header = write(&other, &Listing::Whole, subject(), None, &path).unwrap();
        let unsigned = compare(&other, &path).unwrap();
        assert_eq!((unsigned.header, unsigned.signed_by), (header, None));
    }

    #[test]
    fn what_some_heads_reach_is_listed_whatever_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory");
        let long: &[u8] = &[7; 100_000];
        let mut tiny = TinyDb::new();
        let mut wanted = tiny.commit_with("main", "first", &[("rows", long)]);
        let first_root = tiny.root();
        wanted.extend(tiny.commit_with("main", "second", &[("rows", &long[1..])]));
        let second_root = tiny.root();
        wanted.extend(tiny.tag("v1", "main"));
        let roots = [first_root, second_root, tiny.root()].map(|root| root.chunk());
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|chunk| hash_chunk(chunk))
            .filter(|address| !roots.contains(&Some(*address)))
            .collect();
        let heads = tiny.refs().values().copied().collect();
        let own: (&str, &[u8]) = ("own", b"secret");
        tiny.commit_on("other", "of somebody else", &[own], &[]);
        let chunks: Vec<&[u8]> = tiny.chunks().values().map(|chunk| &chunk[..]).collect();
        let all = store(&folder.path().join("all"), &chunks);
        write(&all, &Listing::Below { heads }, subject(), None, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().skip(2);
        let listed: BTreeSet<ChunkAddress> = lines.map(|line| line.parse().unwrap()).collect();
        assert_eq!(listed, wanted);

        let heads = vec![hash_chunk(b"nowhere")];
        let error = write(&all, &Listing::Below { heads }, subject(), None, &path).unwrap_err();
        assert!(matches!(error, InventoryError::Lacks { .. }), "{error}");
    }

    #[test]
    fn a_changed_inventory_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory");
        let moved = store(&folder.path().join("moved"), &[b"one", b"two", b"three"]);
        write(&moved, &Listing::Whole, subject(), Some(&key()), &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let without = [&lines[..3], &lines[4..]].concat().join("\n");
        let swapped = [lines[0], lines[1], lines[3], lines[2], lines[4]].join("\n");
        for (changed, words) in [
            (
                text.replace("https://h/a/b", "https://h/a/c"),
                "its signature, which",
            ),
            (without, "its list"),
            (swapped, "the order"),
            (text.replace(":1,\"from", ":2,\"from"), "its form"),
            ("{}".to_owned(), "its first line"),
            (
                text.replace(&format!("\n{}", &lines[2][..8]), "\nzzzzzzzz"),
                "an address",
            ),
        ] {
            durable::write_over(&path, "new-", 0o644, changed.as_bytes()).unwrap();
            let error = compare(&moved, &path).unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
