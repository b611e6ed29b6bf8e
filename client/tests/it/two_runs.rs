//! Two commands in one directory at once: the second says which process works there and leaves all as it is, and the first
//! comes to its end.

use std::path::PathBuf;
use std::sync::mpsc;

use holdfast_tests::process::{self, Finished};
use holdfast_tests::proxy::Stop;
use holdfast_tests::{say, wait};

use crate::crossing::Crossing;
use crate::holdfast::{LIMIT, command, holdfast, ours, run};
use crate::scene::{assert_whole, forge};

const SEED: u64 = 45;

/// What makes a database in a directory.
const VERBS: [&[&str]; 4] = [
    &["clone"],
    &["clone", "--depth", "1"],
    &["backup", "restore"],
    &["move-out", "--branch", "main"],
];

struct Trial<'a> {
    crossing: &'a Crossing,
    url: String,
    name: String,
}

impl<'a> Trial<'a> {
    fn new(crossing: &'a Crossing, name: String) -> Self {
        let port = crossing.proxy.address().port();
        Self {
            crossing,
            url: format!("http://127.0.0.1:{port}/acme/prod"),
            name,
        }
    }

    fn arguments<'t>(&'t self, verb: &[&'t str]) -> Vec<&'t str> {
        [verb, &[&self.url, &self.name]].concat()
    }

    fn run(&self, verb: &[&str]) -> Finished {
        let shop = &self.crossing.workshop;
        holdfast(shop, shop.folder(), &self.arguments(verb))
    }

    /// Where the database is.
    fn folder(&self) -> PathBuf {
        self.crossing.workshop.folder().join(&self.name)
    }

    /// How many bytes move when nothing interrupts it.
    fn size(&self, verb: &[&str]) -> u64 {
        let before = self.crossing.proxy.moved();
        self.run(verb).expect_success();
        self.crossing.proxy.moved() - before
    }

    /// Holds a first run when so many bytes have passed, tries others in its directory, and lets it go on.
    fn collide(&self, verb: &[&str], point: u64, others: &[&[&str]]) {
        let (shop, proxy) = (&self.crossing.workshop, &self.crossing.proxy);
        proxy.stop_after(point, Stop::Hold);
        let first = command(shop, shop.folder(), &self.arguments(verb));
        let (to_first, held) = mpsc::sync_channel(1);
        let (told, go_on) = mpsc::sync_channel(1);
        // The end of the first is not taken note of before the second has ended.
        let watch = move |process| {
            to_first.send(process).unwrap();
            go_on.recv().unwrap()
        };
        let (finished, ()) = std::thread::scope(move |scope| {
            let running = scope.spawn(move || process::run_watched(first, "", LIMIT, watch));
            let process = held.recv().unwrap();
            wait::until("the first to stand still", || proxy.is_holding());
            for other in others {
                let refused = self.run(other).expect_code(11);
                let words = format!("could not use {}: process {process} works in it", self.name);
                assert!(refused.contains(&words), "{refused}");
                assert!(refused.contains("hint: wait until"), "{refused}");
            }
            assert!(proxy.is_holding(), "nothing else was moved");
            proxy.go_on();
            told.send(()).unwrap();
            running.join().unwrap()
        });
        // Its connections were cut, which may end it; what it has done so far counts.
        if !finished.success {
            assert_eq!(finished.code, Some(5), "{finished:#?}");
            self.run(verb).expect_success();
        }
    }

    fn assert_made(&self, verb: &[&str]) {
        let database = self.crossing.workshop.database(&self.name);
        let is_shallow = verb.contains(&"--depth");
        let check = || match is_shallow {
            true => drop(ours(&database, &["verify"]).expect_success()),
            false => assert_whole(&database),
        };
        check();
        let left = self.folder().join(".holdfast-lock");
        assert!(!left.exists(), "{verb:?}");
        assert!(!self.folder().join(".dolt/holdfast").exists(), "{verb:?}");
        if !is_shallow {
            assert_eq!(database.log(), self.crossing.owner.log());
        }
        // Now something is there.
        self.run(verb).expect_code(4);
        std::fs::remove_dir_all(self.folder()).unwrap();
    }
}

fn collide_at(points: u64, rows: usize, is_with_each: bool) {
    let Some(crossing) = Crossing::start(forge(), rows, SEED) else {
        return;
    };
    for (number, verb) in VERBS.into_iter().enumerate() {
        let trial = Trial::new(&crossing, format!("whole-{number}"));
        let size = trial.size(verb);
        std::fs::remove_dir_all(trial.folder()).unwrap();
        for index in 0..points {
            let trial = Trial::new(&crossing, format!("trial-{number}-{index}"));
            // From the first byte on; one run moves a few bytes less than another.
            let point = 1 + size * index / points;
            match is_with_each {
                true => trial.collide(verb, point, &VERBS),
                false => trial.collide(verb, point, &[verb, VERBS[(number + 1) % 4]]),
            }
            trial.assert_made(verb);
        }
        say::line(format_args!(
            "{verb:?}: {size} bytes, met at {points} points"
        ));
    }
    crossing.finish();
}

#[test]
fn a_second_run_leaves_the_first_alone() {
    collide_at(2, 300, false);
}

#[test]
#[ignore = "long: takes minutes; run by ./dev test --long"]
fn a_second_run_at_forty_steps_leaves_the_first_alone() {
    collide_at(40, 4000, true);
}

#[test]
fn of_several_that_start_at_once_one_makes_the_database() {
    let Some(crossing) = Crossing::start(forge(), 100, SEED) else {
        return;
    };
    for (round, verb) in VERBS.into_iter().enumerate() {
        let trial = Trial::new(&crossing, format!("race-{round}"));
        let shop = &crossing.workshop;
        let codes: Vec<_> = std::thread::scope(|scope| {
            let command = || command(shop, shop.folder(), &trial.arguments(verb));
            let commands: Vec<_> = (0..4).map(|_| command()).collect();
            let start = |command| scope.spawn(move || run(command));
            let runs: Vec<_> = commands.into_iter().map(start).collect();
            let ended = runs.into_iter().map(|run| run.join().unwrap());
            ended.map(|finished| finished.code.unwrap()).collect()
        });
        let won = codes.iter().filter(|code| **code == 0).count();
        assert_eq!(won, 1, "{verb:?}: {codes:?}");
        let is_told = |code: &i32| matches!(code, 0 | 4 | 11);
        assert!(codes.iter().all(is_told), "{verb:?}: {codes:?}");
        trial.assert_made(verb);
    }
    crossing.finish();
}

/// What fails before anything came leaves not even the directory, and one that was there as it was.
#[test]
fn a_run_that_comes_to_nothing_leaves_nothing() {
    let Some(crossing) = Crossing::start(forge(), 100, SEED) else {
        return;
    };
    let trial = Trial::new(&crossing, "nothing".to_owned());
    for verb in [
        &["clone", "--branch", "nosuch"][..],
        &["clone", "--depth", "1", "--branch", "nosuch"],
        &["backup", "restore", "--branch", "nosuch"],
        &["move-out", "--branch", "nosuch"],
    ] {
        trial.run(verb).expect_code(3);
        assert!(!trial.folder().exists(), "{verb:?}");
        std::fs::create_dir(trial.folder()).unwrap();
        trial.run(verb).expect_code(3);
        assert_eq!(std::fs::read_dir(trial.folder()).unwrap().count(), 0);
        std::fs::remove_dir(trial.folder()).unwrap();
    }
    crossing.finish();
}
