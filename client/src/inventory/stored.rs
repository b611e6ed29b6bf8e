//! What lies in a store, whether or not something leads to it.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::JOURNAL_ID;
use holdfast_chunkstore::noms_dir::{NomsDir, StoredFile};
use holdfast_chunkstore::sort::Sorted;
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use holdfast_doltdb::RefName;
use holdfast_doltdb::model::StoreRoot;
use holdfast_doltdb::tree::Node;

use super::error::{InventoryError, io};
use super::{Header, sorter};

/// The folder of Dolt's older files.
const OLD_GENERATION: &str = "oldgen";

/// Lists each chunk of a store: of its files, of its journal, and of files that lie there and are not part of it.
pub(super) fn stored(store: &NomsDir, directory: &Path) -> Result<Sorted<20>, InventoryError> {
    let mut sorter = sorter(directory);
    let sort = || io("sort the addresses in", directory);
    let unlisted = unlisted(store)?;
    let files = store.files().iter().map(|file| &**file);
    for address in files.chain(&unlisted).flat_map(|file| file.addresses()) {
        let address = address.map_err(|source| InventoryError::Store { source })?;
        sorter.push(*address.as_bytes()).map_err(sort())?;
    }
    let journal = store.journal().into_iter();
    for address in journal.flat_map(|journal| journal.addresses()) {
        sorter.push(*address.as_bytes()).map_err(sort())?;
    }
    sorter.finish().map_err(sort())
}

/// Table files and archives that lie in a store and that no manifest lists.
fn unlisted(store: &NomsDir) -> Result<Vec<StoredFile>, InventoryError> {
    let known: HashSet<_> = store.files().iter().map(|file| file.id()).collect();
    let mut found = Vec::new();
    let old = store.directory().join(OLD_GENERATION);
    for directory in [store.directory(), &old] {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io("list", directory)(error)),
        };
        for entry in entries {
            let name = entry.map_err(io("list", directory))?.file_name();
            let name = name.to_str().unwrap_or_default();
            let id = name
                .strip_suffix(FileKind::Archive.suffix())
                .unwrap_or(name);
            let Ok(id) = id.parse::<TableFileId>() else {
                continue;
            };
            if id != JOURNAL_ID && !known.contains(&id) {
                let opened = StoredFile::open(directory, id);
                found.extend(opened.map_err(|source| InventoryError::Store { source })?);
            }
        }
    }
    Ok(found)
}

/// The chunks that a database needs to hold the branches and tags of an inventory, and that are not theirs: its root,
/// what its map of refs is made of, and the working sets of these branches. Of what cannot be read nothing is told.
pub(super) fn bookkeeping(store: &NomsDir, header: &Header) -> HashSet<ChunkAddress> {
    let mut own = HashSet::new();
    let Some(root) = store.root().chunk() else {
        return own;
    };
    own.insert(root);
    let mut decoder = Decoder::new();
    let chunk = read(store, root, &mut decoder).unwrap_or_default();
    let map = StoreRoot::decode(&chunk)
        .ok()
        .and_then(|root| root.dataset_map);
    let mut waiting: Vec<Bytes> = map.map(|node| chunk.slice_ref(node)).into_iter().collect();
    while let Some(node) = waiting.pop() {
        let Ok(node) = Node::decode(&node) else {
            continue;
        };
        for index in 0..node.len() {
            let (Some(name), Some(address)) = (node.key(index), node.address(index)) else {
                continue;
            };
            if node.level() > 0 {
                // Each node is looked at once, whatever leads to it.
                if own.insert(address) {
                    waiting.extend(read(store, address, &mut decoder));
                }
            } else if let RefName::WorkingSet(branch) =
                RefName::parse(&String::from_utf8_lossy(&name))
                && header.branches.contains_key(&branch)
            {
                own.insert(address);
            }
        }
    }
    own
}

fn read(store: &NomsDir, address: ChunkAddress, decoder: &mut Decoder) -> Option<Bytes> {
    let place = store.find(address).ok()??;
    let mut chunk = Vec::new();
    store.read_chunk(place, decoder, &mut chunk).ok()?;
    Some(chunk.into())
}
