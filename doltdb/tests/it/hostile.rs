//! Any bytes: an error or an answer, never a panic.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_doltdb::testing::{TinyDb, fuzz, messages};
use holdfast_doltdb::{Message, MessageKind};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::databases::all_made;

const SEED: u64 = 3;
const ROUNDS: usize = 10_000;
const SAMPLES: usize = 20;

/// A few chunks of each kind, small ones first: in them a mutation hits something.
fn samples() -> BTreeMap<String, Vec<Bytes>> {
    let mut samples: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    for database in all_made() {
        for chunk in database.noms.chunks.values() {
            let kind = Message::decode(chunk).unwrap().kind();
            samples
                .entry(kind.to_string())
                .or_default()
                .push(chunk.clone());
        }
    }
    for kind in MessageKind::KNOWN {
        // Kinds that no database has are made from one whose table has as many fields.
        let borrowed = samples["TUPM"][0].clone();
        samples.entry(kind.to_string()).or_insert_with(|| {
            let mut chunk = borrowed.to_vec();
            chunk[8..12].copy_from_slice(&kind.file_id().0);
            vec![chunk.into()]
        });
    }
    for chunks in samples.values_mut() {
        chunks.sort_by_key(Bytes::len);
        chunks.dedup();
        chunks.truncate(SAMPLES);
    }
    samples
}

fn mutate(chunk: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(4..chunk.len());
        match random.random_range(0..5) {
            0 => chunk[at] = random.random(),
            1 => chunk[at] ^= 1 << random.random_range(0..8),
            2 => chunk[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => {
                let from = random.random_range(4..chunk.len());
                let len = random.random_range(1..9).min(chunk.len() - at.max(from));
                chunk.copy_within(from..from + len, at);
            }
            _ => chunk.truncate(at.max(16)),
        }
    }
    // The envelope is made right again, or nothing behind it would be looked at.
    let len = u32::try_from(chunk.len() - 4).unwrap().to_be_bytes();
    chunk[1..4].copy_from_slice(&len[1..]);
    chunk
}

#[test]
fn mutated_and_random_chunks_of_every_kind_never_panic() {
    let mut random = SmallRng::seed_from_u64(SEED);
    for (kind, chunks) in samples() {
        for round in 0..ROUNDS {
            let sample = &chunks[round % chunks.len()];
            let mut chunk = mutate(sample, &mut random);
            if round % 10 == 0 {
                random.fill_bytes(&mut chunk[12..]);
            }
            fuzz::chunk(&chunk);
        }
        assert!(!chunks.is_empty(), "{kind}");
    }
    for len in 0..300 {
        let mut bytes = vec![0; len];
        random.fill_bytes(&mut bytes);
        fuzz::chunk(&bytes);
    }
}

#[test]
fn mutated_trees_never_panic() {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut tiny = TinyDb::new();
    for number in 0..200 {
        tiny.commit(&format!("branch-{number}"), "");
    }
    let store_root = tiny.chunks()[&tiny.root().chunk().unwrap()].clone();
    let node = Message::decode(&store_root).map(|_| {
        let names: Vec<_> = tiny.refs().iter().take(64).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|(name, at)| (name.as_bytes(), **at))
            .collect();
        messages::address_map(&entries, 0, None)
    });
    let node = node.unwrap();
    fuzz::tree(&store_root, &node);
    for _ in 0..ROUNDS {
        fuzz::tree(
            &mutate(&store_root, &mut random),
            &mutate(&node, &mut random),
        );
    }
}
