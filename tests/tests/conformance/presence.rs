//! Statements 27 to 31: which chunks are there.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::children;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::peer::{Peer, hashes};
use holdfast_tests::say;
use holdfast_tests::table::TableFile;
use tonic::Code;

use crate::Setup;

pub(crate) async fn s27_has_chunks_answers_16384_hashes(setup: Setup) {
    const ASKED: usize = 16_384;
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let content = vec![b'x'; 400_000];
    let mut database = TinyDb::new();
    let fresh = database.commit_with("main", "one", &[("table", &numbered(content))]);
    peer.push(&database, &fresh).await;

    let present: Vec<ChunkAddress> = database.chunks().keys().copied().collect();
    assert!(present.len() > 90, "{}", present.len());
    // Every third hash is of a chunk that is there, as long as there are any.
    let mut addresses = Vec::new();
    let mut wanted = BTreeSet::new();
    for index in 0..ASKED {
        match present.get(index / 3).filter(|_| index % 3 == 0) {
            Some(address) => addresses.push(*address),
            None => {
                wanted.insert(i32::try_from(index).unwrap());
                addresses.push(absent_address(index));
            }
        }
    }

    let answered = peer.absent(hashes(&addresses)).await.unwrap();
    let absent: BTreeSet<i32> = answered.iter().copied().collect();
    assert_eq!(answered.len(), absent.len(), "no index twice");
    assert_eq!(absent, wanted);
    forge.finish();
}

pub(crate) async fn s28_duplicate_hashes_give_no_wrong_indexes(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    peer.push(&database, &fresh).await;
    let (there, not_there) = (database.head("main").unwrap(), absent_address(1));

    let asked = [not_there, there, not_there, there, not_there];
    let answered = peer.absent(hashes(&asked)).await.unwrap();

    let absent: BTreeSet<i32> = answered.iter().copied().collect();
    assert_eq!(answered.len(), absent.len(), "no index twice: {answered:?}");
    assert!(
        !absent.is_empty() && absent.iter().all(|index| [0, 2, 4].contains(index)),
        "{answered:?}"
    );
    assert_eq!(
        peer.absent(Vec::new()).await.unwrap(),
        [0; 0],
        "no hashes, no absent ones"
    );
    forge.finish();
}

pub(crate) async fn s29_a_hash_of_19_bytes_is_invalid(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    for len in [0, 19, 21] {
        let asked = vec![Bytes::from_static(&[7; 20]), Bytes::from(vec![7; len])];
        let refused = peer.absent(asked).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{len} bytes: {refused}"
        );
    }
    forge.finish();
}

pub(crate) async fn s30_a_chunk_is_present_once_its_file_is_added_and_not_before(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let addresses: Vec<ChunkAddress> = database.chunks().keys().copied().collect();
    let file = TableFile::classic(&fresh);
    let nowhere = vec![false; addresses.len()];

    assert_eq!(peer.has(&addresses).await, nowhere);
    peer.store(&file).await;
    for _ in 0..2 {
        assert_eq!(
            peer.has(&addresses).await,
            nowhere,
            "uploaded is not yet there"
        );
    }
    assert!(peer.add(&[&file]).await.unwrap().success);
    for url in forge.server_urls() {
        let everywhere = vec![true; addresses.len()];
        assert_eq!(
            Peer::new(&url, "acme/prod").has(&addresses).await,
            everywhere,
            "at {url}"
        );
    }
    assert!(
        peer.read(database.head("main").unwrap()).await.is_some(),
        "and readable at once"
    );
    forge.finish();
}

pub(crate) async fn s31_what_is_present_is_present_with_all_below_it(setup: Setup) {
    const SEED: u64 = 20_261_123;
    say::line(format_args!("s31: seed {SEED}"));
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    for step in 0..6 {
        let content = numbered(vec![b'a' + step; 30_000]);
        database.commit_with("main", &format!("step {step}"), &[("table", &content)]);
    }
    let database = Arc::new(database);
    let all: Vec<ChunkAddress> = database.chunks().keys().copied().collect();

    let uploading = tokio::spawn(upload_parts(
        peer.clone(),
        Arc::clone(&database),
        Chance(SEED),
    ));
    let (mut answers, mut seen) = (0, BTreeSet::new());
    loop {
        let is_last = uploading.is_finished();
        let present = present_of(&peer, &all).await;
        assert_closed(&database, &present);
        answers += 1;
        seen.insert(present.len());
        if is_last {
            break;
        }
    }
    let [taken, refused] = uploading.await.unwrap();
    assert!(
        taken > 0 && refused > 0,
        "{taken} taken, {refused} refused: both must occur"
    );
    assert!(
        answers > 10 && seen.len() > 2,
        "{answers} answers, of {seen:?} chunks: nobody asked while files came"
    );
    forge.finish();
}

/// Uploads files of chunks at random, some of which have all that they refer to. How many were added and refused.
async fn upload_parts(peer: Peer, database: Arc<TinyDb>, mut chance: Chance) -> [usize; 2] {
    const ROUNDS: usize = 25;
    let all: Vec<ChunkAddress> = database.chunks().keys().copied().collect();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        // Sometimes any chunks, sometimes a chunk with everything below it.
        let chosen = match chance.below(2) {
            0 => (0..1 + chance.below(10))
                .map(|_| all[chance.below(all.len())])
                .collect(),
            _ => closure(&database, all[chance.below(all.len())]),
        };
        let file = TableFile::classic(chosen.iter().map(|address| &database.chunks()[address]));
        peer.store(&file).await;
        match peer.add(&[&file]).await {
            Ok(answer) => {
                assert!(answer.success);
                taken += 1;
                let present = present_of(&peer, &all).await;
                let missing: Vec<_> = chosen.difference(&present).collect();
                assert!(missing.is_empty(), "added and absent: {missing:?}");
            }
            Err(status) => {
                assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                refused += 1;
            }
        }
    }
    [taken, refused]
}

async fn present_of(peer: &Peer, all: &[ChunkAddress]) -> BTreeSet<ChunkAddress> {
    let has = peer.has(all).await;
    let there = all.iter().zip(has).filter(|(_, has)| *has);
    there.map(|(address, _)| *address).collect()
}

fn assert_closed(database: &TinyDb, present: &BTreeSet<ChunkAddress>) {
    for address in present {
        let missing: Vec<_> = children_of(&database.chunks()[address])
            .into_iter()
            .filter(|child| !present.contains(child))
            .collect();
        assert!(
            missing.is_empty(),
            "{address} is said to be there without {missing:?}"
        );
    }
}

/// A chunk and all below it.
pub(crate) fn closure(database: &TinyDb, from: ChunkAddress) -> BTreeSet<ChunkAddress> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(address) = open.pop() {
        if seen.insert(address) {
            open.extend(children_of(&database.chunks()[&address]));
        }
    }
    seen
}

/// The addresses in a chunk.
pub(crate) fn children_of(chunk: &[u8]) -> Vec<ChunkAddress> {
    let mut found = Vec::new();
    children(chunk, &mut |address| found.push(address)).unwrap();
    found
}

/// Content of which no two pieces are equal.
pub(crate) fn numbered(mut content: Vec<u8>) -> Vec<u8> {
    for (index, piece) in content.chunks_mut(100).enumerate() {
        let number = format!("{index:08}");
        if piece.len() >= 8 {
            piece[..8].copy_from_slice(number.as_bytes());
        }
    }
    content
}

/// An address that no chunk has.
pub(crate) fn absent_address(number: usize) -> ChunkAddress {
    let mut bytes = [0xee; 20];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ChunkAddress::new(bytes)
}

/// A linear congruential generator: enough to choose, the same on every machine.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(bound).unwrap()).unwrap()
    }
}
