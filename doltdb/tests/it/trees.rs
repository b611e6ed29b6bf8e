//! Dataset maps of several levels: lookup, order, difference, and forgeries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_doltdb::testing::{TinyDb, address_of, messages};
use holdfast_doltdb::tree::{AddressMap, AddressMapDiff};
use holdfast_doltdb::{ChunkSource, ReadError, SourceError, TreeFault};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

type Changes = BTreeMap<String, (Option<ChunkAddress>, Option<ChunkAddress>)>;

fn address(number: u16) -> ChunkAddress {
    address_of(&number.to_be_bytes())
}

fn text(name: &[u8]) -> String {
    String::from_utf8(name.to_vec()).unwrap()
}

/// A source that counts what it is asked for.
struct Counting<'a> {
    tiny: &'a TinyDb,
    chunks: AtomicUsize,
    batches: AtomicUsize,
}

impl<'a> Counting<'a> {
    fn new(tiny: &'a TinyDb) -> Self {
        Self {
            tiny,
            chunks: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl ChunkSource for Counting<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        self.chunks.fetch_add(addresses.len(), Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.tiny.get_some(addresses).await
    }
}

async fn diff(
    source: &dyn ChunkSource,
    old: RootAddress,
    new: RootAddress,
) -> Result<Changes, ReadError> {
    let mut diff = AddressMapDiff::open(source, old, new).await?;
    let mut changes = Changes::new();
    let mut before = None;
    while let Some(change) = diff.next().await? {
        assert!(before < Some(change.name.clone()), "changes come in order");
        before = Some(change.name.clone());
        changes.insert(text(&change.name), (change.old, change.new));
    }
    Ok(changes)
}

fn datasets(tiny: &mut TinyDb, numbers: impl Iterator<Item = u16>) {
    let names: Vec<_> = numbers
        .map(|number| (format!("refs/heads/{number:05}"), address(number)))
        .collect();
    let sets: Vec<_> = names
        .iter()
        .map(|(name, address)| (&name[..], Some(*address)))
        .collect();
    tiny.set(&sets);
}

#[test]
fn a_map_of_three_levels_is_read_in_order_and_by_name() {
    let mut tiny = TinyDb::new();
    datasets(&mut tiny, 0..10_000);
    block_on(async {
        let map = AddressMap::open(&tiny, tiny.root()).await.unwrap();
        let mut entries = map.entries();
        let mut found = BTreeMap::new();
        while let Some(entry) = entries.next().await.unwrap() {
            assert!(
                found
                    .last_key_value()
                    .is_none_or(|(last, _)| *last < text(&entry.name))
            );
            found.insert(text(&entry.name), entry.address);
        }
        assert_eq!(&found, tiny.refs());
        for number in (0..10_000).step_by(37) {
            let name = format!("refs/heads/{number:05}");
            assert_eq!(
                map.get(name.as_bytes()).await.unwrap(),
                Some(address(number))
            );
            let absent = format!("refs/heads/{number:05}x");
            assert_eq!(map.get(absent.as_bytes()).await.unwrap(), None);
        }
    });
}

#[test]
fn the_difference_is_what_comparing_name_by_name_gives() {
    let seed = 20_261_123;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tiny = TinyDb::new();
    datasets(&mut tiny, 0..3000);
    for round in 0..60 {
        let (old_root, old) = (tiny.root(), tiny.refs().clone());
        let mut sets = Vec::new();
        for _ in 0..random.random_range(0..40) {
            let name = format!("refs/heads/{:05}", random.random_range(0..4000_u16));
            let value = random.random::<bool>().then(|| address(random.random()));
            sets.push((name, value));
        }
        // Every tenth round most of the map goes away, so that its height changes.
        if round % 10 == 9 {
            let all = old.keys().skip(100).map(|name| (name.clone(), None));
            sets.extend(all);
        }
        let sets: Vec<_> = sets
            .iter()
            .map(|(name, value)| (&name[..], *value))
            .collect();
        tiny.set(&sets);
        let mut expected = Changes::new();
        for name in old.keys().chain(tiny.refs().keys()) {
            let both = (old.get(name).copied(), tiny.refs().get(name).copied());
            if both.0 != both.1 {
                expected.insert(name.clone(), both);
            }
        }
        let found = block_on(diff(&tiny, old_root, tiny.root())).unwrap();
        assert_eq!(found, expected, "seed {seed}, round {round}");
    }
}

#[test]
fn a_small_difference_between_large_maps_costs_few_reads() {
    let mut tiny = TinyDb::new();
    datasets(&mut tiny, 0..20_000);
    let old = tiny.root();
    tiny.set(&[("refs/heads/10000", Some(address(1)))]);
    let source = Counting::new(&tiny);
    let changes = block_on(diff(&source, old, tiny.root())).unwrap();
    assert_eq!(changes.len(), 1);
    // Two store roots, and on each side one node of each of the two lower levels.
    assert_eq!(source.chunks.load(Ordering::Relaxed), 6);

    let source = Counting::new(&tiny);
    let changes = block_on(diff(&source, RootAddress::ZERO, tiny.root())).unwrap();
    assert_eq!(changes.len(), 20_000);
    assert!(source.batches.load(Ordering::Relaxed) < source.chunks.load(Ordering::Relaxed) / 20);
}

/// A store root over one inner node with the given children.
fn forge(tiny: &mut TinyDb, level: u8, children: &[(&[u8], ChunkAddress)]) -> RootAddress {
    let counts = vec![1; children.len()];
    let node = messages::address_map(children, level, Some(&counts));
    tiny.put_raw(messages::store_root(&node)).into()
}

fn leaf(tiny: &mut TinyDb, names: &[&[u8]], value: u16) -> ChunkAddress {
    let entries: Vec<_> = names.iter().map(|name| (*name, address(value))).collect();
    tiny.put_raw(messages::address_map(&entries, 0, None))
}

async fn read_all(tiny: &TinyDb, root: RootAddress) -> Result<usize, ReadError> {
    let mut entries = AddressMap::open(tiny, root).await?.entries();
    let mut count = 0;
    while entries.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn a_node_that_does_not_belong_where_it_hangs_is_refused() {
    let mut tiny = TinyDb::new();
    let low = leaf(&mut tiny, &[b"a", b"c"], 1);
    let high = leaf(&mut tiny, &[b"d", b"f"], 1);
    let overlapping = leaf(&mut tiny, &[b"b", b"f"], 1);
    let empty = leaf(&mut tiny, &[], 1);
    let whole = forge(&mut tiny, 1, &[(b"c", low), (b"f", high)]);
    assert_eq!(block_on(read_all(&tiny, whole)).unwrap(), 4);

    let wanted = |fault| move |error: &ReadError| matches!(error, ReadError::Tree { fault: found, .. } if *found == fault);
    let overlap = forge(&mut tiny, 1, &[(b"c", low), (b"f", overlapping)]);
    let longer = forge(&mut tiny, 1, &[(b"c", low), (b"g", high)]);
    let hollow = forge(&mut tiny, 1, &[(b"c", low), (b"g", empty)]);
    let steep = forge(&mut tiny, 2, &[(b"c", low)]);
    for (root, fault) in [
        (overlap, TreeFault::FirstKey),
        (longer, TreeFault::LastKey),
        (hollow, TreeFault::Empty),
        (
            steep,
            TreeFault::Level {
                wanted: 1,
                found: 0,
            },
        ),
    ] {
        let read = block_on(read_all(&tiny, root)).unwrap_err();
        assert!(wanted(fault)(&read), "{read:?}");
        assert_eq!(read.kind(), ErrorKind::Invalid);
        let compared = block_on(diff(&tiny, RootAddress::ZERO, root)).unwrap_err();
        assert!(wanted(fault)(&compared), "{compared:?}");
    }
}

#[test]
fn a_second_entry_for_a_name_cannot_hide_beside_a_shared_subtree() {
    let mut tiny = TinyDb::new();
    let low = leaf(&mut tiny, &[b"a"], 1);
    let shared = leaf(&mut tiny, &[b"protected", b"z"], 1);
    let old = forge(&mut tiny, 1, &[(b"a", low), (b"z", shared)]);
    // A lookup in the forged map finds "protected" in the first leaf; the shared leaf has it as well.
    let evil = leaf(&mut tiny, &[b"a", b"protected"], 2);
    let forged = forge(&mut tiny, 1, &[(b"protected", evil), (b"z", shared)]);
    let error = block_on(diff(&tiny, old, forged)).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Tree {
                fault: TreeFault::FirstKey,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_missing_node_is_named() {
    let mut tiny = TinyDb::new();
    datasets(&mut tiny, 0..100);
    let root = tiny.root();
    let low = leaf(&mut tiny, &[b"a"], 1);
    let forged = forge(&mut tiny, 1, &[(b"a", low)]);
    assert!(tiny.lose(low).is_some());
    let error = block_on(diff(&tiny, root, forged)).unwrap_err();
    assert!(matches!(error, ReadError::Missing { address } if address == low));
    assert_eq!(error.kind(), ErrorKind::Dangling);
    let absent = RootAddress::from(address(9));
    let error = block_on(read_all(&tiny, absent)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dangling);
}
