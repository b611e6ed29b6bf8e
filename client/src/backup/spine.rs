//! Which records say what, so that few of them have to be read.
//!
//! ```text
//! number          1 … 15  16  17 … 31  32 … 127  128 … 1023  1024 … 2048
//! tells of before          1-15         16-31     1-127       1-1023  1024-2047
//! ```
//!
//! * Each sixteenth record tells what lists show of the sixteen before it, each 128th of 128, each 1,024th of 1,024.
//!   All backups are listed by the *spine*: the newest record, then always the one before all that the last one told of.
//!   For n backups these are n / 1,024 records and some thirty.
//! * A list of files is written as a change of the list of an earlier backup: of that whose number lacks the last one
//!   bit. It is made of eight records at most, and each change stands in few of them. Each 128th lists all files.
//!
//! These are rules for the writer alone. A record says itself what it tells of and what it follows from.

use super::backup_id::BackupId;

/// So many records are told of, by records whose numbers can be divided by it.
const SPANS: [u64; 3] = [1024, 128, 16];

/// Each such record lists all files.
const WHOLE: u64 = 128;

/// How many records before it a record tells of; none but for few.
pub(super) fn span(id: BackupId) -> Option<u64> {
    let mut spans = SPANS.into_iter();
    spans.find(|span| id.number().is_multiple_of(*span))
}

/// The newest record that is not told of, where this one tells what it should.
fn below(id: BackupId) -> Option<BackupId> {
    let step = span(id).unwrap_or(1);
    BackupId::of_number(id.number().saturating_sub(step))
}

/// The records from which all up to `newest` can be known, the newest first: of those that are there.
pub(super) fn spine(
    newest: BackupId,
    is_there: impl Fn(BackupId) -> bool,
) -> impl Iterator<Item = BackupId> {
    let next = |id: BackupId, is_there: bool| match is_there {
        true => below(id),
        false => BackupId::of_number(id.number() - 1),
    };
    let first = (newest, is_there(newest));
    let all = std::iter::successors(Some(first), move |(id, was_there)| {
        let id = next(*id, *was_there)?;
        Some((id, is_there(id)))
    });
    all.filter_map(|(id, is_there)| is_there.then_some(id))
}

/// The backup whose list of files is the base of that of another; none where all files are listed.
pub(super) fn base(id: BackupId) -> Option<BackupId> {
    let number = id.number();
    let without_last_bit = number & (number - 1);
    match number == 1 || number.is_multiple_of(WHOLE) {
        true => None,
        false => BackupId::of_number(without_last_bit.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> BackupId {
        BackupId::of_number(number).unwrap()
    }

    #[test]
    fn the_spine_is_short_and_leaves_no_record_out() {
        for newest in [1, 2, 15, 16, 17, 31, 128, 1023, 1024, 10_000, 999_999] {
            let spine: Vec<_> = spine(id(newest), |_| true).collect();
            assert!(spine.len() as u64 <= newest / 1024 + 32, "{newest}");
            let mut expected = newest;
            for one in spine {
                assert_eq!(one.number(), expected);
                expected -= span(one).unwrap_or(1).min(expected);
            }
            assert_eq!(expected, 0);
        }
    }

    #[test]
    fn where_a_record_is_gone_those_below_it_are_read_one_by_one() {
        let spine = spine(id(33), |id| id.number() != 32);
        let numbers: Vec<_> = spine.map(BackupId::number).collect();
        let expected: Vec<_> = [33].into_iter().chain((16..32).rev()).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn a_list_of_files_follows_from_few_others() {
        for number in 1..5_000 {
            let bases = std::iter::successors(Some(id(number)), |id| base(*id));
            let numbers: Vec<_> = bases.map(BackupId::number).collect();
            assert!(numbers.len() <= 8, "{numbers:?}");
            assert!(numbers.is_sorted_by(|one, next| one > next), "{numbers:?}");
            let last = numbers.last().unwrap();
            assert!(*last == 1 || last.is_multiple_of(WHOLE), "{numbers:?}");
        }
    }
}
