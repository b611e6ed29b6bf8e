use super::super::testing::{Memory, chain, extend, first_form, id};
use super::*;

async fn survey(memory: &Memory) -> Survey {
    let catalog = Catalog::read(memory).await.unwrap();
    let newest = catalog.newest().unwrap();
    let survey = Survey::read(&catalog, memory, BackupId::FIRST, newest);
    survey.await.unwrap()
}

async fn faults(memory: &Memory) -> Vec<String> {
    let faults = survey(memory).await.into_faults();
    faults.into_iter().map(crate::transfer::described).collect()
}

#[tokio::test]
async fn few_records_tell_of_all() {
    let memory = chain(300).await;
    memory.reset();
    let survey = survey(&memory).await;
    assert_eq!(survey.len(), 300);
    assert!(memory.gets() <= 32, "{} records were read", memory.gets());
    assert!(survey.into_faults().is_empty());
}

#[tokio::test]
async fn every_changed_record_is_found_by_those_that_tell_of_it() {
    let memory = chain(40).await;
    for number in 1..=40 {
        let memory = memory.copied();
        memory.change(number, |text| text.replace("/data/shop", "/data/shoq"));
        let catalog = Catalog::read(&memory).await.unwrap();
        let mut survey = survey(&memory).await;
        // As when it is restored or verified.
        let read = survey.add_all(&catalog, &memory, vec![id(number)]);
        read.await.unwrap();
        let faults = survey.into_faults();
        // Nothing vouches for the newest one.
        assert_eq!(faults.is_empty(), number == 40, "{number}: {faults:?}");
    }
}

#[tokio::test]
async fn a_changed_list_in_a_record_that_tells_of_others_is_found() {
    let memory = chain(40).await;
    let other = memory.digest(5);
    memory.change(16, |text| text.replace(&other, &"0".repeat(64)));
    let told = faults(&memory).await;
    assert!(
        told.iter().any(|fault| fault.contains("backup 16")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_read_hides_no_other() {
    let memory = chain(40).await;
    memory.change(32, |text| text[..text.len() / 2].to_owned());
    let survey = survey(&memory).await;
    // What it is itself, no record tells that can be read.
    assert_eq!(survey.len(), 39);
    let faults = survey.into_faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[tokio::test]
async fn a_chain_of_both_forms_is_one_chain() {
    let memory = chain(40).await;
    first_form(&memory, 21).await;
    assert_eq!(faults(&memory).await, [""; 0]);
    assert_eq!(survey(&memory).await.len(), 40);
    // Record 32 tells of all before it, as no record of the first form does.
    memory.reset();
    survey(&memory).await;
    assert!(memory.gets() < 16, "{} records were read", memory.gets());
    memory.change(7, |text| text.replace("/data/shop", "/data/shoq"));
    let catalog = Catalog::read(&memory).await.unwrap();
    let mut survey = survey(&memory).await;
    survey
        .add_all(&catalog, &memory, vec![id(7)])
        .await
        .unwrap();
    assert_eq!(survey.into_faults().len(), 1);
}

#[tokio::test]
async fn a_changed_record_is_found_however_many_records_tell_of_it_later() {
    for changed in [3, 10, 14, 15] {
        let memory = chain(15).await;
        memory.change(changed, |text| text.replace("/data/shop", "/data/shoq"));
        extend(&memory, 100, 40).await;
        let catalog = Catalog::read(&memory).await.unwrap();
        let mut survey = survey(&memory).await;
        let read = survey.add_all(&catalog, &memory, vec![id(changed)]);
        read.await.unwrap();
        // The last one before the change has nothing behind it that vouches for it.
        assert_eq!(survey.into_faults().is_empty(), changed == 15, "{changed}");
    }
}
