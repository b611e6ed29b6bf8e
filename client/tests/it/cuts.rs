//! Connections that are cut at any byte: what was moved is not moved again.

use holdfast_tests::proxy::Stop;
use holdfast_tests::remote::Remote;
use holdfast_tests::say;

use crate::crossing::{Crossing, TRANSFERS, Transfer};
use crate::scene::{forge, remotesrv};

const SEED: u64 = 41;

/// So many files of a push, of so many bytes each, may be under way when a connection is cut: a server takes a file
/// whole or not at all.
const UNDER_WAY: u64 = 3 * (24 << 20);

/// Cuts each transfer at so many points. With much to move little of it is moved twice.
fn cut(server: Box<dyn Remote>, points: usize, rows: usize) {
    let Some(mut crossing) = Crossing::start(server, rows, SEED) else {
        return;
    };
    for transfer in TRANSFERS {
        let size = crossing.size(transfer);
        let mut most = 0;
        for _ in 0..points {
            let trial = crossing.trial(transfer);
            let point = crossing.point(size);
            let before = crossing.proxy.moved();
            crossing.proxy.stop_after(point, Stop::Cut);
            crossing.insist(&trial);
            crossing.proxy.go_on();
            let moved = crossing.proxy.moved() - before;
            let is_long = rows > MUCH;
            let in_flight = if transfer == Transfer::Push {
                UNDER_WAY.min(point)
            } else {
                0
            };
            assert!(
                !is_long || moved <= size + size / 10 + in_flight,
                "{transfer:?} cut at {point}: {moved} bytes moved of {size}"
            );
            most = most.max(moved);
            crossing.assert_arrived(trial);
        }
        say::line(format_args!(
            "seed {SEED}: {transfer:?} of {size} bytes cut at {points} points: at most {most} bytes moved"
        ));
    }
    crossing.finish();
}

/// Fewer rows than these are moved faster than it is noticed that they came.
const MUCH: usize = 10_000;

#[test]
fn transfers_that_are_cut_go_on() {
    cut(forge(), 4, 1000);
}

/// It takes no range without an end. With so many rows there is a file that is checked while it comes.
#[test]
fn transfers_to_and_from_dolts_own_server_that_are_cut_go_on() {
    if let Some(server) = remotesrv() {
        cut(server, 4, 24_000);
    }
}

#[test]
#[ignore = "takes minutes; run by ./dev test --long"]
fn transfers_that_are_cut_at_a_hundred_points_move_little_twice() {
    cut(forge(), 34, 100_000);
}
