use super::*;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use std::collections::HashSet;

fn set_in(directory: &std::path::Path, memory_bytes: usize) -> AddressSet {
    AddressSet::new(SetOptions {
        directory: directory.to_owned(),
        memory_bytes,
    })
}

fn random_address(random: &mut StdRng) -> ChunkAddress {
    let mut bytes = [0; 20];
    random.fill_bytes(&mut bytes);
    ChunkAddress::new(bytes)
}

/// One of `count` addresses, some of which share their prefix.
fn one_of(random: &mut StdRng, count: u32) -> ChunkAddress {
    let number: u32 = random.random_range(0..count);
    let prefix = u64::from(number / 3).wrapping_mul(0x1234_5678_9abc_def1);
    let mut suffix = [0; 12];
    suffix[8..].copy_from_slice(&number.to_be_bytes());
    ChunkAddress::from_parts(prefix, suffix)
}

#[test]
fn it_answers_as_a_set_in_memory_does() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let memory_bytes = [0, 1000, 20_000, 1 << 20][random.random_range(0..4)];
        let count = random.random_range(1..20_000);
        let mut set = set_in(directory.path(), memory_bytes);
        let mut model = HashSet::new();
        assert!(set.is_empty());
        for step in 0..6000 {
            let address = one_of(&mut random, count);
            if random.random() {
                let is_new = set.insert(address).unwrap();
                assert_eq!(is_new, model.insert(address), "seed {seed}, step {step}");
            } else {
                let is_in = set.contains(address).unwrap();
                assert_eq!(is_in, model.contains(&address), "seed {seed}, step {step}");
            }
        }
        assert_eq!(set.len(), model.len() as u64, "seed {seed}");
        for address in &model {
            assert!(set.contains(*address).unwrap(), "seed {seed}: {address}");
        }
    }
}

#[test]
fn a_batch_keeps_what_is_new_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut set = set_in(directory.path(), 500);
        let mut model = HashSet::new();
        for _ in 0..100 {
            let len = random.random_range(0..100);
            let mut batch: Vec<_> = (0..len).map(|_| one_of(&mut random, 3000)).collect();
            let mut wanted = batch.clone();
            wanted.retain(|address| model.insert(*address));
            set.insert_new(&mut batch).unwrap();
            assert_eq!(batch, wanted, "seed {seed}");
        }
        assert_eq!(set.len(), model.len() as u64);
    }
}

#[test]
fn runs_are_merged_and_leave_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let mut set = set_in(directory.path(), 0);
    let addresses: Vec<_> = (0..20_000).map(|_| random_address(&mut random)).collect();
    for address in &addresses {
        assert!(set.insert(*address).unwrap());
    }
    assert!(set.levels.len() >= 5, "14 addresses to a table");
    assert!(set.levels.iter().all(|runs| runs.len() <= FAN_IN));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    for address in &addresses {
        assert!(!set.insert(*address).unwrap());
    }
    assert_eq!(set.len(), 20_000);
}

#[test]
fn what_fits_into_memory_needs_no_directory() {
    let mut random = StdRng::seed_from_u64(6);
    let mut set = set_in(std::path::Path::new("/nowhere/at/all"), 1 << 20);
    for _ in 0..30_000 {
        assert!(set.insert(random_address(&mut random)).unwrap());
    }
    assert_eq!(set.len(), 30_000);
}

#[test]
fn a_disk_that_fails_is_an_error_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("gone");
    std::fs::create_dir(&place).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut set = set_in(&place, 0);
    let mut inside = Vec::new();
    // The second disk failure meets a merge that is due.
    for rounds in [40, 17] {
        for _ in 0..rounds * 14 {
            let address = random_address(&mut random);
            assert!(set.insert(address).unwrap());
            inside.push(address);
        }
        std::fs::remove_dir(&place).unwrap();
        let refused = loop {
            let address = random_address(&mut random);
            match set.insert(address) {
                Ok(_) => inside.push(address),
                Err(error) => break (address, error),
            }
        };
        assert_eq!(refused.1.kind(), io::ErrorKind::NotFound);
        assert!(!set.contains(refused.0).unwrap());
        assert_eq!(set.len(), inside.len() as u64);
        let mut batch = vec![inside[0], refused.0];
        assert!(set.insert_new(&mut batch).is_err());
        assert_eq!(batch, [inside[0], refused.0]);
        for address in &inside {
            assert!(set.contains(*address).unwrap());
            assert!(!set.insert(*address).unwrap());
        }
        std::fs::create_dir(&place).unwrap();
        assert!(set.insert(refused.0).unwrap());
        inside.push(refused.0);
    }
}

#[test]
fn the_address_of_zeros_is_one_like_any() {
    let mut set = set_in(&std::env::temp_dir(), 0);
    assert!(!set.contains(ChunkAddress::ZERO).unwrap());
    assert!(set.insert(ChunkAddress::ZERO).unwrap());
    assert!(!set.insert(ChunkAddress::ZERO).unwrap());
    assert!(set.contains(ChunkAddress::ZERO).unwrap());
    assert_eq!(set.len(), 1);
}
