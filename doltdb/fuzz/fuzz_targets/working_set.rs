#![no_main]

use holdfast_doltdb::MessageKind;
use holdfast_doltdb::testing::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::message(MessageKind::WorkingSet, bytes));
