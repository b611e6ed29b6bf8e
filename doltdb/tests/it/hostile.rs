//! Every decoder takes 10,000 random and mutated inputs, and all that fuzzing found: an error or an answer, never
//! a panic.
//!
//! The seed is fixed and printed; `HOLDFAST_SEED` chooses another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::messages::{self, CommitFields};
use holdfast_doltdb::testing::{TinyDb, fuzz};
use holdfast_doltdb::{Message, MessageKind, children};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::databases::all_made;

const ROUNDS: usize = 10_000;
const SAMPLES: usize = 20;
/// What stands in front of a message's FlatBuffer.
const ENVELOPE_LEN: usize = 4;

/// A decoder under the name by which `fuzz/` and the folders of `tests/data` know it.
struct Target {
    name: &'static str,
    decode: fn(&[u8]),
    samples: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident: $decode:expr, $samples:expr;)*) => {
        const TARGETS: &[Target] = &[$(
            Target { name: stringify!($name), decode: $decode, samples: $samples },
        )*];

        mod takes_anything {
            $(
                #[test]
                fn $name() {
                    super::run(stringify!($name));
                }
            )*
        }
    };
}

macro_rules! messages {
    ($($name:ident: $kind:ident;)*) => {
        /// The kinds that have a target.
        const KINDS: &[MessageKind] = &[$(MessageKind::$kind),*];

        targets! {
            $($name: |body| fuzz::message(MessageKind::$kind, body), || bodies(MessageKind::$kind);)*
            chunk: fuzz::chunk, chunks;
            tree: fuzz::tree, trees;
            ref_name: fuzz::ref_name, ref_names;
        }
    };
}

messages! {
    store_root: StoreRoot;
    address_map: AddressMap;
    commit: Commit;
    tag: Tag;
    working_set: WorkingSet;
    stash_list: StashList;
    stash: Stash;
    statistic: Statistic;
    tuple: Tuple;
    root_value: RootValue;
    table: Table;
    table_schema: TableSchema;
    foreign_keys: ForeignKeys;
    prolly_node: ProllyNode;
    commit_closure: CommitClosure;
    merge_artifacts: MergeArtifacts;
    blob: Blob;
    vector_index: VectorIndex;
}

#[test]
fn every_kind_has_a_target() {
    assert_eq!(KINDS, MessageKind::KNOWN);
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seed =
        std::env::var_os("HOLDFAST_SEED").map_or(3, |seed| seed.to_str().unwrap().parse().unwrap());
    eprintln!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let samples = (target.samples)();
    for sample in &samples {
        (target.decode)(sample);
    }
    for round in 0..ROUNDS {
        let mut input = mutated(&samples[round % samples.len()], &mut random);
        match round % 20 {
            0 => {
                input = vec![0; random.random_range(0..300)];
                random.fill_bytes(&mut input);
            }
            10 => {
                let from = random.random_range(0..=input.len());
                random.fill_bytes(&mut input[from..]);
            }
            _ => {}
        }
        (target.decode)(&input);
    }
}

fn mutated(sample: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => {
                let from = random.random_range(0..bytes.len());
                let len = random.random_range(1..9).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + len, at);
            }
            _ => bytes.truncate(at.max(16)),
        }
    }
    bytes
}

/// A few chunks of each kind, small ones first: in them a mutation hits something.
fn samples() -> BTreeMap<String, Vec<Bytes>> {
    let mut samples: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    for database in all_made() {
        for chunk in database.noms.chunks.values() {
            let kind = Message::decode(chunk).unwrap().kind();
            let of_kind = samples.entry(kind.to_string()).or_default();
            of_kind.push(chunk.clone());
        }
    }
    for kind in MessageKind::KNOWN {
        let of_kind = samples.entry(kind.to_string()).or_default();
        if of_kind.is_empty() {
            let mut chunk = alike(*kind);
            chunk[8..12].copy_from_slice(&kind.file_id().0);
            of_kind.push(chunk.into());
        }
    }
    for chunks in samples.values_mut() {
        chunks.sort_by_key(|chunk| (chunk.len(), chunk.clone()));
        chunks.dedup();
        chunks.truncate(SAMPLES);
    }
    samples
}

/// A chunk of another kind whose table has the fields that one of this kind would have.
fn alike(kind: MessageKind) -> Vec<u8> {
    match kind {
        // The name stands where the children do, and the date where the level does.
        MessageKind::VectorIndex => messages::commit(&CommitFields {
            root: ChunkAddress::ZERO,
            height: 1,
            parents: &[],
            closure: ChunkAddress::ZERO,
            name: &"child".repeat(8),
            email: "",
            description: "",
            timestamp_millis: 1,
            user_timestamp_millis: 1,
            signature: None,
            committer: [None, None],
        }),
        // One field, which an address fits as well as anything.
        _ => messages::store_root(&[7; 20]),
    }
}

/// The FlatBuffers of a few chunks of one kind.
fn bodies(kind: MessageKind) -> Vec<Vec<u8>> {
    let chunks = &samples()[&kind.to_string()];
    let bodies = chunks.iter().map(|chunk| chunk[ENVELOPE_LEN..].to_vec());
    bodies.collect()
}

/// Chunks of all kinds as they are, envelope and all.
fn chunks() -> Vec<Vec<u8>> {
    let chunks = samples().into_values().flatten();
    chunks.map(|chunk| chunk.to_vec()).collect()
}

/// Pairs of dataset maps: of one level, of two that have a leaf in common, and of different heights.
fn trees() -> Vec<Vec<u8>> {
    let address = |last: u8| ChunkAddress::new([last; 20]);
    let leaf = |names: &[(&str, u8)]| {
        let entries: Vec<_> = names
            .iter()
            .map(|(name, last)| (name.as_bytes(), address(*last)))
            .collect();
        messages::address_map(&entries, 0, None)[ENVELOPE_LEN..].to_vec()
    };
    let inner = |names: &[(&str, u8)]| {
        let entries: Vec<_> = names
            .iter()
            .map(|(name, last)| (name.as_bytes(), address(*last)))
            .collect();
        let counts = vec![2; names.len()];
        messages::address_map(&entries, 1, Some(&counts))[ENVELOPE_LEN..].to_vec()
    };
    let even = leaf(&[("refs/heads/a", 9), ("refs/heads/b", 10)]);
    let odd = leaf(&[("refs/heads/c", 11), ("refs/heads/d", 12)]);
    let both = inner(&[("refs/heads/b", 2), ("refs/heads/d", 3)]);
    let same_leaf = inner(&[("refs/heads/b", 4), ("refs/heads/d", 3)]);
    let one = inner(&[("refs/heads/b", 2)]);
    let flat = leaf(&[("refs/heads/b", 10), ("refs/tags/v1", 1)]);
    let pairs = [
        [&both, &same_leaf],
        [&both, &one],
        [&flat, &both],
        [&one, &flat],
        [&even, &flat],
    ];
    let pairs = pairs.map(|[old, new]| fuzz::tree_input([old, new, &even, &odd]));
    pairs.into_iter().collect()
}

/// The names of a database's datasets, and others.
fn ref_names() -> Vec<Vec<u8>> {
    let mut tiny = TinyDb::new();
    tiny.commit("feature/x", "");
    tiny.tag("v1", "feature/x");
    let others = ["refs/remotes/origin/main", "workingSets/heads/main", "HEAD"];
    let others = others.map(str::to_owned);
    let names = tiny.refs().keys().cloned().chain(others);
    names.map(String::into_bytes).collect()
}

#[test]
fn the_messages_to_begin_with_are_sound() {
    for chunk in chunks() {
        children(&chunk, &mut |_| {}).unwrap();
    }
}

#[test]
fn the_trees_to_begin_with_are_sound() {
    for input in trees() {
        assert_eq!(fuzz::compare(&input), 3);
    }
}

/// Inputs that once broke a decoder, and those by which a fuzzer reached all it could reach in it.
#[test]
fn what_fuzzing_found_is_taken() {
    let corpora = folders("corpus");
    for target in TARGETS {
        let name = target.name;
        assert!(corpora.contains_key(name), "{name} has no corpus");
    }
    for (name, paths) in folders("reproducers").into_iter().chain(corpora) {
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("{name} is no target"));
        assert!(!paths.is_empty(), "{name} has an empty folder");
        for path in paths {
            eprintln!("{}", path.display());
            (target.decode)(&std::fs::read(path).unwrap());
        }
    }
}

/// The folders below one of `tests/data` by their names, each with the files in it.
fn folders(of: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let list = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths
    };
    let name = |folder: &PathBuf| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let folders = list(data.join(of)).into_iter();
    folders
        .map(|folder| (name(&folder), list(folder)))
        .collect()
}
