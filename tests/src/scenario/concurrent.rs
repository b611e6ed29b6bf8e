//! Two writers at once.

use crate::dolt::Database;
use crate::process::Finished;
use crate::world::{Contents, Side};

use super::Scene;

pub fn two_writers_to_two_branches_both_win(scene: &Scene) {
    let [one, other] = writers(scene);
    one.sql("call dolt_checkout('north'); insert into orders values (900001, 1, 'one', 1); call dolt_commit('-am', 'one');");
    other.sql("call dolt_checkout('south'); insert into orders values (900002, 1, 'two', 2); call dolt_commit('-am', 'two');");

    let [first, second] = at_once(
        || one.run(&["push", "origin", "north"]),
        || other.run(&["push", "origin", "south"]),
    );

    first.expect_success();
    second.expect_success();
    let reader = scene
        .workshop()
        .clone_from(&scene.url("prod"), "reader", &[]);
    let rows = |database, side, branch| Contents::of(database, side, &[branch]).rows;
    assert_eq!(
        rows(&reader, Side::Origin, "north"),
        rows(&one, Side::Local, "north")
    );
    assert_eq!(
        rows(&reader, Side::Origin, "south"),
        rows(&other, Side::Local, "south")
    );
}

pub fn of_two_writers_to_one_branch_one_is_rejected(scene: &Scene) {
    let [one, other] = writers(scene);
    one.commit("one", "insert into orders values (900001, 1, 'one', 1)");
    other.commit("two", "insert into orders values (900002, 1, 'two', 2)");
    let push = |database: &Database| database.run(&["push", "origin", "main"]);

    let results = at_once(|| push(&one), || push(&other));

    let [winner, loser] = match results.each_ref().map(|result| result.success) {
        [true, false] => [&one, &other],
        [false, true] => [&other, &one],
        both => panic!("exactly one must win, {both:?}: {results:#?}"),
    };
    let rejected = results
        .iter()
        .find(|result| !result.success)
        .map(Finished::text)
        .unwrap();
    assert!(rejected.contains("! [rejected]"), "{rejected}");
    let rows = |database| Contents::of(database, Side::Local, &["main"]).rows;
    let reader = scene
        .workshop()
        .clone_from(&scene.url("prod"), "reader", &[]);
    assert_eq!(rows(&reader), rows(winner));

    loser.pull(&["origin", "main"]);
    loser.push(&["origin", "main"]);
    reader.pull(&[]);
    assert_eq!(rows(&reader), rows(loser));
    assert_eq!(reader.count("orders", "customer > 900000"), 2);
    reader.fsck();
}

fn writers(scene: &Scene) -> [Database; 2] {
    scene.published("owner", "prod");
    ["one", "other"].map(|name| scene.workshop().clone_from(&scene.url("prod"), name, &[]))
}

fn at_once(
    one: impl FnOnce() -> Finished + Send,
    other: impl FnOnce() -> Finished,
) -> [Finished; 2] {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let second = other();
        [one.join().unwrap(), second]
    })
}
