//! A client that is killed at any moment: dolt opens the directory, and the same command goes on.

use holdfast_tests::process::Daemon;
use holdfast_tests::proxy::Stop;
use holdfast_tests::{say, wait};

use crate::crossing::{Crossing, TRANSFERS, Transfer, Trial};
use crate::holdfast::command;
use crate::scene::{assert_whole, forge};

const SEED: u64 = 42;

/// Runs the command until everything stands still, and kills it there. Says whether it did not end before.
pub(crate) fn kill(crossing: &Crossing, trial: &Trial, point: u64) -> bool {
    let (proxy, shop) = (&crossing.proxy, &crossing.workshop);
    proxy.stop_after(point, Stop::Hold);
    let mut client = Daemon::start(command(shop, &trial.folder, &trial.arguments()));
    wait::until("the client to stand still or to end", || {
        proxy.is_holding() || client.has_ended()
    });
    let is_killed = !client.has_ended();
    client.kill();
    proxy.go_on();
    is_killed
}

/// What a killed command left is a database as before, or none yet.
fn assert_opens(trial: &Trial, transfer: Transfer, before: &[String]) {
    let database = &trial.database;
    if transfer == Transfer::Clone {
        let is_there = |name: &str| database.folder().join(name).exists();
        if !trial.is_done() {
            let is_nothing = !is_there("");
            assert!(is_nothing || is_there(".dolt_safe_to_ignore"));
            return;
        }
    } else {
        assert_eq!(database.log(), before);
    }
    database.ok(&["log"]);
    database.fsck();
}

fn kill_at(points: usize, rows: usize) {
    let Some(mut crossing) = Crossing::start(forge(), rows, SEED) else {
        return;
    };
    let mut kills = 0;
    for transfer in TRANSFERS {
        let size = crossing.size(transfer);
        let mut most = 0;
        for index in 0..points {
            let trial = crossing.trial(transfer);
            let moved_before = crossing.proxy.moved();
            let before = match transfer {
                Transfer::Clone => Vec::new(),
                Transfer::Fetch | Transfer::Push => trial.database.log(),
            };
            // Killed twice: what the first one left is met by another that does not come to its end.
            for _ in 0..2 {
                // At first where all has come and is being put into place.
                let point = match index {
                    0 => size - 1,
                    _ => crossing.point(size),
                };
                kills += usize::from(kill(&crossing, &trial, point));
                assert_opens(&trial, transfer, &before);
                if trial.is_done() {
                    break;
                }
            }
            if !trial.is_done() {
                crossing.insist(&trial);
            }
            most = most.max(crossing.proxy.moved() - moved_before);
            crossing.assert_arrived(trial);
        }
        say::line(format_args!(
            "seed {SEED}: {transfer:?} of {size} bytes killed twice at {points} points: at most {most} bytes moved"
        ));
    }
    assert!(kills >= points * TRANSFERS.len(), "{kills} kills");
    crossing.finish();
}

/// A clone of one branch that is killed when all of it is in the store, and is no database yet.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "tests make files as no program may"
)]
fn a_part_that_has_landed_does_not_come_again() {
    let Some(mut crossing) = Crossing::start(forge(), 4000, SEED) else {
        return;
    };
    let mut trial = crossing.trial(Transfer::Clone);
    let only_main = ["--single-branch", "--branch", "main"].map(str::to_owned);
    trial.arguments.extend(only_main);
    // What the marker says is taken from an attempt that is killed early.
    assert!(kill(&crossing, &trial, 100_000));
    let origin = trial.database.folder().join(".dolt/holdfast/clone-origin");
    let told = std::fs::read(&origin).unwrap();
    let before = crossing.proxy.moved();
    crossing.insist(&trial);
    let size = crossing.proxy.moved() - before;
    assert!(size > 500_000, "{size} bytes moved");

    // As it is before the last step, and before the manifest.
    let folder = trial.database.folder();
    for is_without_manifest in [false, true] {
        std::fs::remove_file(folder.join(".dolt/repo_state.json")).unwrap();
        std::fs::write(folder.join(".dolt_safe_to_ignore"), "").unwrap();
        std::fs::create_dir_all(origin.parent().unwrap()).unwrap();
        std::fs::write(&origin, &told).unwrap();
        if is_without_manifest {
            std::fs::remove_file(folder.join(".dolt/noms/manifest")).unwrap();
        }
        let before = crossing.proxy.moved();
        assert_eq!(crossing.insist(&trial), 1);
        let moved = crossing.proxy.moved() - before;
        assert!(moved * 10 < size, "{moved} of {size} bytes moved again");
        assert_whole(&trial.database);
        assert_eq!(trial.database.log(), crossing.owner.log());
        assert!(!folder.join(".dolt/holdfast").exists());
    }
    crossing.finish();
}

#[test]
fn clients_that_are_killed_leave_a_database_and_go_on() {
    kill_at(3, 1000);
}

#[test]
#[ignore = "takes minutes; run by ./dev test --long"]
fn clients_that_are_killed_at_a_hundred_points_leave_a_database_and_go_on() {
    kill_at(34, 30_000);
}
