use super::super::testing::{Memory, chain, extend, files, first_form, id, root};
use super::*;
use crate::backup::files::Files;

#[test]
fn what_is_forgotten_is_not_listed_and_still_counts() {
    let names = [
        "0000000001.json",
        "0000000002.json",
        "0000000002.forgotten",
        "0000000004.json",
        "notes.txt",
    ];
    let catalog = Catalog::of_names(&names.map(str::to_owned));
    let listed: Vec<_> = catalog.listed().map(|id| id.to_string()).collect();
    assert_eq!(listed, ["4", "1"]);
    let newest = catalog.newest();
    assert_eq!(newest.map(|id| id.to_string()).as_deref(), Some("4"));
    let gaps: Vec<_> = catalog.gaps().map(|id| id.to_string()).collect();
    assert_eq!(gaps, ["4"]);
}

async fn catalog(memory: &Memory) -> Catalog {
    Catalog::read(memory).await.unwrap()
}

/// Every backup up to `count` has its files and its root.
async fn assert_all_restorable(memory: &Memory, count: u64, large: u64) {
    let catalog = catalog(memory).await;
    for number in 1..=count {
        let (records, found) = catalog.files_of(memory, id(number)).await.unwrap();
        assert_eq!(found, by_id(files(number, large)), "backup {number}");
        assert!(records.len() <= 8, "backup {number}: {records:?}");
        let record = catalog.load(memory, id(number)).await.unwrap().record;
        assert_eq!(record.root, root(number));
    }
}

#[tokio::test]
async fn every_list_of_files_is_found_again_in_few_records() {
    let memory = chain(300).await;
    assert_all_restorable(&memory, 300, 40).await;
}

#[tokio::test]
async fn a_list_reads_few_records_and_shows_all() {
    let memory = chain(300).await;
    memory.reset();
    let listed = list(&memory).await.unwrap();
    assert!(memory.gets() <= 32, "{} records were read", memory.gets());
    let numbers: Vec<_> = listed.iter().map(|backup| backup.id.number()).collect();
    assert!(numbers.into_iter().eq((1..=300).rev()));
    for backup in listed {
        let number = backup.id.number();
        assert_eq!(backup.root, root(number));
        assert_eq!(backup.files, files(number, 40).len() as u64);
        assert_eq!(backup.digest, memory.digest(number));
    }
}

#[tokio::test]
async fn a_vault_of_both_forms_is_listed_and_restored() {
    let memory = chain(40).await;
    first_form(&memory, 21).await;
    assert!(memory.text(21).contains("\"form\": 1"));
    assert!(memory.text(22).contains("\"form\":2"));
    assert_all_restorable(&memory, 40, 40).await;
    assert_eq!(list(&memory).await.unwrap().len(), 40);
    // The first one that tells of others told of all.
    memory.reset();
    list(&memory).await.unwrap();
    assert!(memory.gets() < 16, "{} records were read", memory.gets());
}

#[tokio::test]
async fn what_is_forgotten_leaves_every_other_backup_whole() {
    let memory = chain(60).await;
    let rules = KeepRules {
        last: 3,
        hourly: 1,
        ..KeepRules::default()
    };
    memory.reset();
    let now = Some(Timestamp(1));
    let (kept, others) = forget(&memory, &rules, now, None).await.unwrap();
    assert!(memory.gets() < 32, "{} records were read", memory.gets());
    assert_eq!((kept.len(), others.len()), (3, 57));
    assert_eq!(list(&memory).await.unwrap(), kept);
    assert_all_restorable(&memory, 60, 40).await;
    extend(&memory, 70, 40).await;
    assert_all_restorable(&memory, 70, 40).await;
    assert_eq!(list(&memory).await.unwrap().len(), 13);
}

#[tokio::test]
async fn a_damaged_base_is_named_and_stops_no_new_backup() {
    let memory = chain(40).await;
    memory.change(40, |text| text.replace("/data/shop", "/data/shoq"));
    memory.change(32, |text| text.replacen("\"gone\":[\"", "\"gone\":[\"0", 1));
    let broken = catalog(&memory).await.files_of(&memory, id(36)).await;
    let Err(BackupError::Record { id: named, .. }) = broken else {
        panic!("its base cannot be read")
    };
    assert_eq!(named, id(32));
    extend(&memory, 41, 40).await;
    let catalog = catalog(&memory).await;
    let (_, found) = catalog.files_of(&memory, id(41)).await.unwrap();
    assert_eq!(found, by_id(files(41, 40)));
    for spared in [16, 24, 31] {
        assert!(catalog.files_of(&memory, id(spared)).await.is_ok());
    }
}

#[tokio::test]
async fn the_files_of_each_backup_are_shown_with_one_reading() {
    let memory = chain(300).await;
    first_form(&memory, 21).await;
    memory.change(260, |text| text[..text.len() / 2].to_owned());
    let catalog = catalog(&memory).await;
    memory.reset();
    let mut shown = Vec::new();
    let visit = |id: BackupId, list: &Files| {
        assert_eq!(*list, by_id(files(id.number(), 40)), "backup {id}");
        shown.push(id.number());
    };
    catalog.each_list(&memory, visit).await.unwrap();
    // Lists that follow from one that cannot be read are left out too.
    let expected = (1..=300).filter(|number| !(260..264).contains(number));
    assert!(shown.iter().copied().eq(expected), "{shown:?}");
    assert!(memory.gets() <= 310, "{} records were read", memory.gets());
}

#[tokio::test]
async fn records_stay_short_however_many_there_are() {
    let memory = Memory::default();
    extend(&memory, 300, 400).await;
    // One whole list of 400 files is some 30 KB.
    assert!(memory.total() < 300 * 2_000, "{} bytes", memory.total());
    assert!(memory.longest() < 80_000, "{} bytes", memory.longest());
}

#[tokio::test]
async fn the_newest_backup_of_a_root_is_found() {
    let memory = chain(60).await;
    let catalog = catalog(&memory).await;
    for (wanted, found) in [(60, Some(60)), (7, Some(7)), (61, None)] {
        memory.reset();
        let id = catalog.newest_of(&memory, root(wanted)).await.unwrap();
        assert_eq!(id.map(BackupId::number), found);
        assert!(memory.gets() <= 32);
    }
}
