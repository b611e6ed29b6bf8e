//! Clones that a real dolt goes on with.

use std::path::Path;

use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::proxy::{Fault, FaultProxy};
use holdfast_tests::remote::{Remote as _, Remotesrv};
use holdfast_tests::world::{BRANCHES, Contents, Side, World};

use crate::holdfast::{exit_code, holdfast};
use crate::scene::{cloned, published};

/// A clone by us is what a clone by dolt is, and dolt goes on with it.
pub(crate) fn assert_dolt_goes_on(owner: &Database, copy: &Database) {
    assert_eq!(
        Contents::of(copy, Side::Origin, &BRANCHES),
        Contents::of(owner, Side::Local, &BRANCHES)
    );
    assert_eq!(copy.log(), owner.log());
    let status = copy.ok(&["status"]);
    assert!(status.contains("nothing to commit"), "{status}");
    if copy.workshop().dolt().has_fsck() {
        copy.fsck();
    }
    copy.commit("from the clone", "create table added (id int primary key)");
    copy.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);
    assert_eq!(copy.log(), owner.log());
    copy.ok(&["gc"]);
    assert_eq!(copy.log(), owner.log());
}

#[test]
fn dolt_goes_on_with_a_clone_from_our_forge() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let forge = Forge::start(Plan::on_local_disk());
    let url = format!("{}/acme/prod", forge.base_url());
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    let verified = holdfast(&workshop, copy.folder(), &["verify"]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    assert_dolt_goes_on(&owner, &copy);
    forge.finish();
}

#[test]
fn dolt_goes_on_with_a_clone_from_dolts_own_server() {
    let Some(dolt) = Dolt::find() else { return };
    for settings in [&[][..], &[("DOLT_ARCHIVE_PULL_STREAMER", "0")]] {
        let workshop = Workshop::new(&dolt);
        let all: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let workshop = workshop.with(&all);
        let Some(server) = Remotesrv::start(&[]) else {
            return;
        };
        let url = format!("{}/acme/prod", server.base_url());
        let owner = published(&workshop, World::SMALL, &url);
        let copy = cloned(&workshop, &url, &[]);
        assert_dolt_goes_on(&owner, &copy);
        Box::new(server).finish();
    }
}

#[test]
fn old_dolts_go_on_with_a_clone_of_what_they_pushed() {
    for dolt in Dolt::find_old() {
        let workshop = Workshop::new(&dolt);
        let forge = Forge::start(Plan::on_local_disk());
        let url = format!("{}/acme/prod", forge.base_url());
        let owner = published(&workshop, World::FOR_OLD_DOLTS, &url);
        let copy = cloned(&workshop, &url, &[]);
        assert_dolt_goes_on(&owner, &copy);
        forge.finish();
    }
}

#[test]
fn a_branch_is_chosen_and_for_one_that_is_missing_nothing_comes() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let forge = Forge::start(Plan::on_local_disk());
    let url = format!("{}/acme/prod", forge.base_url());
    published(&workshop, World::SMALL, &url);

    let arguments = ["clone", &url, "copy", "--branch", "west"];
    let refused = holdfast(&workshop, workshop.folder(), &arguments).expect_failure();
    assert!(
        refused.contains("could not find branch \"west\" at the remote"),
        "{refused}"
    );
    assert_eq!(exit_code(&workshop, workshop.folder(), &arguments), Some(3));
    assert!(!workshop.folder().join("copy").exists());
    let other = format!("{}/acme/other", forge.base_url());
    let arguments = ["clone", &other, "copy"];
    assert_eq!(
        exit_code(&workshop, workshop.folder(), &arguments),
        Some(3),
        "nothing is there"
    );

    let copy = cloned(&workshop, &url, &["--branch", "north"]);
    assert_eq!(copy.ok(&["branch", "--show-current"]).trim(), "north");
    assert!(!copy.folder().join(".dolt_safe_to_ignore").exists());
    assert!(!copy.folder().join(".dolt/holdfast").exists());
    copy.fsck();

    let arguments = ["clone", &url, "copy"];
    let refused = holdfast(&workshop, workshop.folder(), &arguments).expect_failure();
    assert!(
        refused.contains("it exists and is not an empty directory"),
        "{refused}"
    );
    assert_eq!(exit_code(&workshop, workshop.folder(), &arguments), Some(4));
    copy.fsck();
    forge.finish();
}

/// After so many bytes a connection is cut, so many times.
const CUT: usize = 60_000;
const CUTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_whose_connections_are_cut_goes_on() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let forge = tokio::task::block_in_place(|| Forge::start(Plan::on_local_disk()));
    let direct = format!("{}/acme/prod", forge.base_url());
    let owner = tokio::task::block_in_place(|| published(&workshop, World::SMALL, &direct));
    let address = forge
        .base_url()
        .trim_start_matches("http://")
        .replace("localhost", "127.0.0.1");
    // Calls and data go through it: what the forge hands out begins with the address that it was asked under. Each
    // connection ends at the same place: a file that began anew each time would never come whole.
    let faults = std::iter::repeat_n(Fault::CutAfter(CUT), CUTS);
    let proxy = FaultProxy::start(address.parse().unwrap(), faults)
        .await
        .unwrap();
    let url = format!("http://{}/acme/prod", proxy.address());
    let copy = tokio::task::block_in_place(|| cloned(&workshop, &url, &[]));
    let store = copy.folder().join(".dolt/noms");
    let lens = std::fs::read_dir(store).unwrap();
    let longest = lens
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .max();
    assert!(longest.unwrap() > 2 * CUT as u64, "no file was cut twice");
    let cuts = CUTS - proxy.faults_left();
    assert!(cuts > 2 && cuts < CUTS, "{cuts} cuts");
    tokio::task::block_in_place(|| {
        assert_eq!(copy.log(), owner.log());
        copy.fsck();
        forge.finish();
    });
}

#[test]
fn what_cannot_be_cloned_says_why() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let folder: &Path = workshop.folder();
    let forge = Forge::start(Plan::on_local_disk());
    let nothing = format!("{}/acme/nothing", forge.base_url());
    let refused = holdfast(&workshop, folder, &["clone", &nothing]).expect_failure();
    assert!(refused.contains("it contains no Dolt data"), "{refused}");
    assert!(!folder.join("nothing").exists());
    let bad = format!("{}/Not%20A/Name", forge.base_url());
    let refused = holdfast(&workshop, folder, &["clone", &bad]).expect_failure();
    assert!(refused.contains("NOT_FOUND"), "{refused}");
    for (url, words) in [
        ("one", "could not understand the address"),
        ("ssh://host/a/b", "a remote of the kind ssh://"),
        ("https://u:p@host/a/b", "DOLT_REMOTE_PASSWORD"),
    ] {
        let refused = holdfast(&workshop, folder, &["clone", url]).expect_failure();
        assert!(refused.contains(words), "{url}: {refused}");
        assert_eq!(
            exit_code(&workshop, folder, &["clone", url]),
            Some(2),
            "{url}"
        );
    }
    let refused = holdfast(&workshop, folder, &["clone", &nothing, "--user", "admin"]);
    let refused = refused.expect_failure();
    assert!(refused.contains("DOLT_REMOTE_PASSWORD"), "{refused}");
    forge.finish();
}
