//! An inventory against itself, its signature, and a store.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::address::BASE32;
use holdfast_chunkstore::noms_dir::NomsDir;

use super::below::Faults;
use super::error::{InventoryError, io};
use super::merge::Merge;
use super::stored::{bookkeeping, stored};
use super::tree::TreeHasher;
use super::{Header, Signature, directory_of, distinct, line, parse_header, reached};
use crate::remote::credentials::key_id;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The first line.
    pub header: Header,
    /// The id of the key that signed it; nothing if none did.
    pub signed_by: Option<String>,
    /// How many chunks are not in the store, and are listed, or are reached from the branches and tags of the inventory.
    pub missing: u64,
    /// How many chunks are in the store and not listed, but for those that hold its refs.
    pub extra: u64,
    /// How many chunks are listed and in the store, and are not reached from the branches and tags of the inventory.
    pub unreached: u64,
}

/// Checks an inventory against itself, its signature, and a store. Blocks.
pub fn compare(store: &NomsDir, path: &Path) -> Result<Compared, InventoryError> {
    let (header, signed_by, input) = open(path)?;
    let directory = directory_of(path);
    let stored = stored(store, directory)?;
    let reached = reached(store, &header, Faults::Passed, directory)?;
    let own = bookkeeping(store, &header);
    let mut list = ListCheck::default();
    let mut compared = Compared {
        header,
        signed_by,
        missing: 0,
        extra: 0,
        unreached: 0,
    };
    let merge = Merge::new(
        listed(input, path),
        distinct(&stored, directory)?,
        distinct(&reached, directory)?,
    );
    merge.each(|address, presence| {
        if presence.is_listed {
            list.push(&address);
        }
        match (presence.is_listed, presence.is_stored, presence.is_reached) {
            (true, true, true) => {}
            (_, false, _) => compared.missing += 1,
            (true, true, false) => compared.unreached += 1,
            (false, true, _) => compared.extra += u64::from(!own.contains(&address)),
        }
        Ok(())
    })?;
    list.finish(&compared.header, path)?;
    Ok(compared)
}

/// Checks an inventory against itself and its signature, and returns its first line.
pub(super) fn read(path: &Path) -> Result<Header, InventoryError> {
    let (header, _, input) = open(path)?;
    let mut list = ListCheck::default();
    for address in listed(input, path) {
        list.push(&address?);
    }
    list.finish(&header, path)?;
    Ok(header)
}

/// Opens an inventory up to its list, and tells the key that signed it.
fn open(path: &Path) -> Result<(Header, Option<String>, BufReader<File>), InventoryError> {
    let file = File::open(path).map_err(io("open", path))?;
    let mut input = BufReader::new(file);
    let first = line(&mut input, path)?;
    let header = parse_header(&first, path)?;
    let second = line(&mut input, path)?;
    let signature: Signature =
        serde_json::from_str(&second).map_err(|_| wrong(path, "its second line"))?;
    let signed_by = check_signature(&first, signature).map_err(|what| wrong(path, what))?;
    Ok((header, signed_by, input))
}

/// The list as far as it was read.
#[derive(Default)]
struct ListCheck {
    tree: TreeHasher,
    count: u64,
}

impl ListCheck {
    fn push(&mut self, address: &ChunkAddress) {
        self.tree.push(address);
        self.count += 1;
    }

    fn finish(self, header: &Header, path: &Path) -> Result<(), InventoryError> {
        let is_whole = self.count == header.chunks;
        match is_whole && HEXLOWER.encode(&self.tree.finish()) == header.tree {
            true => Ok(()),
            false => Err(wrong(
                path,
                "its list, which is not the one that its first line is of",
            )),
        }
    }
}

fn wrong(path: &Path, what: &'static str) -> InventoryError {
    InventoryError::Form {
        path: path.to_owned(),
        what,
    }
}

/// Reads the list, which must ascend.
fn listed(
    input: BufReader<File>,
    path: &Path,
) -> impl Iterator<Item = Result<ChunkAddress, InventoryError>> {
    let mut last = None;
    input.lines().map(move |text| {
        let text = text.map_err(io("read", path))?;
        let address: ChunkAddress = text.parse().map_err(|_| wrong(path, "an address"))?;
        if last.is_some_and(|last| last >= address) {
            return Err(wrong(path, "the order of its addresses"));
        }
        last = Some(address);
        Ok(address)
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
        .map_err(|_| "its signature")?;
    Ok(Some(key))
}
