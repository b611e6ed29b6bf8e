//! What a dry run says is what the same command then does, and it leaves nothing behind.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::proxy::FaultProxy;
use holdfast_tests::remote::Remote;
use holdfast_tests::say;
use holdfast_tests::world::World;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::crossing::{Crossing, Transfer, noise};
use crate::holdfast::{holdfast, ours};
use crate::kill::kill;
use crate::scene::{cloned, forge, prod, published, remotesrv, state, workshop};

/// Runs a command as programs do.
#[track_caller]
fn told(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--format", "json"]].concat();
    let printed = holdfast(workshop, folder, &arguments).expect_success();
    let mut told: Value = serde_json::from_str(&printed).unwrap();
    // It differs from run to run.
    told.as_object_mut().unwrap().remove("seconds");
    told
}

/// What moves, of which the numbers are in every answer.
fn amount(told: &Value) -> (u64, u64, bool) {
    let number = |name: &str| told[name].as_u64().unwrap();
    let is_least = told["at_least"].as_bool().unwrap();
    (number("chunks"), number("bytes"), is_least)
}

/// A command, first dry and then wet, in a database.
#[track_caller]
fn says_what_it_does(database: &Database, arguments: &[&str]) -> Value {
    let (workshop, folder) = (database.workshop(), database.folder());
    let kept = folder.join(".dolt/holdfast");
    let before = state(database);
    let dry = told(workshop, folder, &[arguments, &["--dry-run"]].concat());
    assert!(!kept.exists(), "{arguments:?} left something");
    let text = ours(database, &[arguments, &["--dry-run"]].concat()).expect_success();
    let (chunks, _, is_least) = amount(&dry);
    assert!(chunks > 0 && !is_least, "{dry}");
    let line = format!("\n{chunks} chunks to move, ");
    assert!(text.contains(&line), "{text}");
    assert_eq!(state(database), before, "{arguments:?} changed something");
    let wet = told(workshop, folder, arguments);
    assert_eq!(dry, wet, "{arguments:?}");
    dry
}

/// The same for a clone.
#[track_caller]
fn says_what_it_clones(workshop: &Workshop, arguments: &[&str]) {
    let folder = workshop.folder();
    let (name, dry_run) = (arguments[2], ["--dry-run"]);
    let dry_run = [arguments, &dry_run].concat();
    let dry = told(workshop, folder, &dry_run);
    let text = holdfast(workshop, folder, &dry_run).expect_success();
    let (chunks, _, _) = amount(&dry);
    assert!(
        text.starts_with(&format!("would clone into {name}")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{chunks} chunks to move, ")),
        "{text}"
    );
    assert!(!folder.join(name).exists(), "{arguments:?} made something");
    let wet = told(workshop, folder, arguments);
    assert_eq!(dry, wet, "{arguments:?}");
    holdfast(workshop, folder, &dry_run).expect_code(4);
}

fn at(server: Box<dyn Remote>) {
    let Some(workshop) = workshop() else {
        return server.finish();
    };
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    // Values that are kept apart from their rows, and a tag on the commit that comes.
    owner.commit(
        "apart",
        "create table notes (id int primary key, text longtext);
         insert into notes select customer, repeat(concat('note ', customer, ' '), 9000) from orders group by customer;
         update orders set amount = 3 where customer = 3",
    );
    owner.ok(&["tag", "v-apart", "main"]);
    says_what_it_does(&owner, &["push", "origin", "main", "v-apart"]);
    let fetched = copy.copy_to("fetched");
    let dry = says_what_it_does(&fetched, &["fetch"]);
    let updates = dry["updates"].as_array().unwrap();
    assert!(
        updates
            .iter()
            .any(|update| update["ref"] == "refs/tags/v-apart"),
        "{dry}"
    );
    says_what_it_does(&copy, &["pull"]);

    says_what_it_clones(&workshop, &["clone", &url, "whole"]);
    says_what_it_clones(&workshop, &["clone", &url, "bare", "--bare"]);
    let one = ["clone", &url, "one", "--single-branch", "-b", "north"];
    says_what_it_clones(&workshop, &one);
    says_what_it_clones(&workshop, &["clone", &url, "shallow", "--depth", "1"]);
    server.finish();
}

#[test]
fn dry_runs_against_our_forge_say_what_would_move() {
    at(forge());
}

#[test]
fn dry_runs_against_dolts_own_server_say_what_would_move() {
    let Some(server) = remotesrv() else { return };
    at(server);
}

#[test]
fn many_rows_are_counted_and_not_read() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let runtime = Runtime::new().unwrap();
    let (_, port) = url.rsplit_once(':').unwrap();
    let (port, _) = port.split_once('/').unwrap();
    let backend = format!("127.0.0.1:{port}").parse().unwrap();
    let proxy = runtime.block_on(FaultProxy::start(backend, [])).unwrap();
    let through = format!("http://localhost:{}/acme/prod", proxy.address().port());
    let copy = cloned(&workshop, &through, &[]);
    owner.commit("noise", &noise(60_000));
    ours(&owner, &["push", "origin", "main"]).expect_success();

    let before = proxy.moved();
    let dry = told(&workshop, copy.folder(), &["fetch", "--dry-run"]);
    let moved = proxy.moved() - before;
    let text = ours(&copy, &["fetch", "--dry-run"]).expect_success();
    let (chunks, bytes, is_least) = amount(&dry);
    assert!(is_least, "{dry}");
    assert!(
        text.contains(&format!("\nat least {chunks} chunks to move")),
        "{text}"
    );
    let (wet_chunks, wet_bytes, is_least) = amount(&told(&workshop, copy.folder(), &["fetch"]));
    assert!(!is_least);
    // These rows point at nothing, so that nothing is missing.
    assert_eq!((chunks, bytes), (wet_chunks, wet_bytes));
    say::line(format_args!("{moved} bytes moved to say {bytes}"));
    assert!(
        bytes > 15_000_000 && moved < 6_000_000,
        "{moved} of {bytes}"
    );
    server.finish();
}

#[test]
fn a_dry_push_sends_nothing_of_what_an_earlier_one_kept() {
    let Some(mut crossing) = Crossing::start(forge(), 4000, 43) else {
        return;
    };
    let size = crossing.size(Transfer::Push);
    let trial = crossing.trial(Transfer::Push);
    assert!(kill(&crossing, &trial, size / 2));
    let outgoing = trial.folder.join(".dolt/holdfast/outgoing");
    let kept = || {
        let folder = std::fs::read_dir(&outgoing).unwrap().next().unwrap();
        let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
        let files = files.map(|file| file.unwrap()).map(|file| {
            let len = file.metadata().unwrap().len();
            (file.file_name(), len)
        });
        files.collect::<BTreeMap<_, _>>()
    };
    let before = kept();
    assert!(before.values().any(|len| *len >= 64 << 10), "{before:?}");
    let moved = crossing.proxy.moved();
    let mut arguments = trial.arguments();
    arguments.push("--dry-run");
    let printed = holdfast(&crossing.workshop, &trial.folder, &arguments).expect_success();
    assert!(printed.contains(" chunks to move, "), "{printed}");
    let moved = crossing.proxy.moved() - moved;
    assert!(moved * 10 < size, "{moved} of {size} bytes moved");
    assert_eq!(kept(), before);
    crossing.insist(&trial);
    crossing.assert_arrived(trial);
    crossing.finish();
}

#[test]
fn a_dry_pull_refuses_what_a_pull_would_refuse() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    owner.commit("owner", "update orders set amount = 3 where customer = 3");
    owner.push(&["origin", "main"]);
    copy.sql("update orders set amount = 4 where customer = 4");
    let printed = ours(&copy, &["pull", "--dry-run"]).expect_code(4);
    assert!(printed.contains("not committed"), "{printed}");
    copy.ok(&["commit", "-am", "copy"]);
    let printed = ours(&copy, &["pull", "--dry-run"]).expect_code(4);
    assert!(printed.contains("have diverged"), "{printed}");
    copy.ok(&["reset", "--hard", "HEAD~1"]);
    let printed = ours(&copy, &["pull", "--dry-run"]).expect_success();
    assert!(printed.contains("\nUpdating "), "{printed}");
    server.finish();
}
