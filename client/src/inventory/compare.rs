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
    let file = File::open(path).map_err(io("open", path))?;
    let mut input = BufReader::new(file);
    let first = line(&mut input, path)?;
    let wrong = |what: &'static str| InventoryError::Form {
        path: path.to_owned(),
        what,
    };
    let header = parse_header(&first, path)?;
    let second = line(&mut input, path)?;
    let signature: Signature =
        serde_json::from_str(&second).map_err(|_| wrong("its second line"))?;
    let signed_by = check_signature(&first, signature).map_err(wrong)?;
    let directory = directory_of(path);
    let stored = stored(store, directory)?;
    let reached = reached(store, &header, Faults::Passed, directory)?;
    let own = bookkeeping(store, &header);
    let (mut tree, mut count) = (TreeHasher::default(), 0);
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
            tree.push(&address);
            count += 1;
        }
        match (presence.is_listed, presence.is_stored, presence.is_reached) {
            (true, true, true) => {}
            (_, false, _) => compared.missing += 1,
            (true, true, false) => compared.unreached += 1,
            (false, true, _) => compared.extra += u64::from(!own.contains(&address)),
        }
        Ok(())
    })?;
    if count != compared.header.chunks || HEXLOWER.encode(&tree.finish()) != compared.header.tree {
        return Err(wrong(
            "its list, which is not the one that its first line is of",
        ));
    }
    Ok(compared)
}

/// Reads the list, which must ascend.
fn listed(
    input: BufReader<File>,
    path: &Path,
) -> impl Iterator<Item = Result<ChunkAddress, InventoryError>> {
    let wrong = |what: &'static str| InventoryError::Form {
        path: path.to_owned(),
        what,
    };
    let mut last = None;
    input.lines().map(move |text| {
        let text = text.map_err(io("read", path))?;
        let address: ChunkAddress = text.parse().map_err(|_| wrong("an address"))?;
        if last.is_some_and(|last| last >= address) {
            return Err(wrong("the order of its addresses"));
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
        .map_err(|_| "its signature, which is not that of the key")?;
    Ok(Some(key))
}
