//! Which stretches of a file are read for some chunks.

use std::ops::Range;

use holdfast_chunkstore::index::ByteSpan;

use crate::remote::Reach;

/// A gap that costs less to read than another request does.
const SMALL_GAP: u64 = 512 << 10;

/// How long a stretch becomes by reading over gaps, and by joining what is adjacent.
const LONGEST: u64 = 8 << 20;

/// A stretch that is read in one request, and the numbers of the spans in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) range: Range<u64>,
    pub(super) spans: Vec<usize>,
}

/// Joins numbered spans of one file to stretches that are read at once. A span may come several times.
pub(super) fn stretches(mut spans: Vec<(usize, ByteSpan)>, reach: Reach) -> Vec<Stretch> {
    let gap = match reach {
        Reach::Exact => 0,
        Reach::Near => SMALL_GAP,
    };
    spans.sort_unstable_by_key(|(_, span)| *span);
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, span) in spans {
        let end = span.offset + u64::from(span.len);
        match stretches.last_mut() {
            Some(last)
                if span.offset <= last.range.end.saturating_add(gap)
                    && end - last.range.start <= LONGEST =>
            {
                last.range.end = last.range.end.max(end);
                last.spans.push(number);
            }
            _ => stretches.push(Stretch {
                range: span.offset..end,
                spans: vec![number],
            }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(spans: &[(u64, u32)], reach: Reach) -> Vec<(Range<u64>, usize)> {
        let spans = spans
            .iter()
            .map(|(offset, len)| ByteSpan {
                offset: *offset,
                len: *len,
            })
            .enumerate();
        let stretches = stretches(spans.collect(), reach).into_iter();
        stretches
            .map(|stretch| (stretch.range, stretch.spans.len()))
            .collect()
    }

    #[test]
    fn an_exact_reach_joins_only_what_is_adjacent() {
        let spans = [(20, 10), (0, 10), (10, 10), (31, 5), (20, 10)];
        assert_eq!(ranges(&spans, Reach::Exact), [(0..30, 4), (31..36, 1)]);
    }

    #[test]
    fn a_near_reach_goes_over_small_gaps_and_not_on_forever() {
        let far = 30 + SMALL_GAP;
        let spans = [(0, 10), (20, 10), (far, 5), (far + 6 + SMALL_GAP, 7)];
        assert_eq!(
            ranges(&spans, Reach::Near),
            [
                (0..far + 5, 3),
                (far + 6 + SMALL_GAP..far + 13 + SMALL_GAP, 1)
            ]
        );
        let many: Vec<_> = (0..40).map(|at| (at << 18, 1 << 18)).collect();
        let joined = ranges(&many, Reach::Near);
        assert_eq!(joined, [(0..8 << 20, 32), (8 << 20..10 << 20, 8)]);
        // One that is longer than any stretch is read alone.
        assert_eq!(
            ranges(&[(0, 9 << 20), (9 << 20, 1)], Reach::Near),
            [(0..9 << 20, 1), (9 << 20..(9 << 20) + 1, 1)]
        );
    }
}
