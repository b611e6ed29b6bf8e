//! Which ranges of which files are read, so that few requests bring all that is wanted.

use std::cmp::Reverse;
use std::ops::Range;

use holdfast_chunkstore::index::ByteSpan;

use super::Reach;

/// How long a region becomes by joining: several run at once in little memory, and what is decoded early is taken early.
const MAX_REGION_BYTES: u64 = 2 << 20;

/// Bytes that are wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// The number of the file's place.
    pub(super) place: usize,
    /// Which bytes.
    pub(super) span: ByteSpan,
    /// The number of the chunk whose bytes they are.
    pub(super) chunk: usize,
}

/// A range that is read by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// The number of the file's place.
    pub(super) place: usize,
    /// The range.
    pub(super) range: Range<u64>,
    /// What is wanted of it; at least one thing, each inside it.
    pub(super) wants: Vec<Want>,
}

impl Want {
    /// Where they end.
    pub(super) fn end(&self) -> u64 {
        end(self.span)
    }
}

impl Region {
    fn new(want: Want) -> Self {
        Self {
            place: want.place,
            range: want.span.offset..want.end(),
            wants: vec![want],
        }
    }

    /// Whether a want that begins behind all others may be part of it, over a gap of fewer than `gap_bytes`.
    fn takes(&self, want: &Want, gap_bytes: u64) -> bool {
        if self.place != want.place {
            return false;
        }
        let is_near = match want.span.offset.checked_sub(self.range.end) {
            None | Some(0) => true,
            Some(gap) => gap < gap_bytes,
        };
        let end = self.range.end.max(want.end());
        is_near && (end == self.range.end || end - self.range.start <= MAX_REGION_BYTES)
    }

    /// Whether a span lies inside.
    pub(super) fn holds(&self, span: ByteSpan) -> bool {
        self.range.start <= span.offset && end(span) <= self.range.end
    }

    /// Where a span that lies inside is in the region's bytes.
    pub(super) fn within(&self, span: ByteSpan) -> Range<usize> {
        let at = |offset: u64| {
            usize::try_from(offset - self.range.start).expect("a region fits into memory")
        };
        at(span.offset)..at(end(span))
    }

    /// How long it is.
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// How many of its bytes are wanted, those that are wanted twice counted twice.
    pub(super) fn wanted_len(&self) -> u64 {
        self.wants.iter().map(|want| u64::from(want.span.len)).sum()
    }

    /// Whether less than half of it is wanted.
    pub(super) fn is_sparse(&self) -> bool {
        self.wanted_len().saturating_mul(2) < self.len()
    }
}

/// Joins what is wanted to regions, the largest first: what takes longest begins first. A near read goes over gaps of
/// fewer than `gap_bytes`, which cost less than another request does.
pub(super) fn plan(mut wants: Vec<Want>, reach: Reach, gap_bytes: u64) -> Vec<Region> {
    let gap_bytes = match reach {
        Reach::Exact => 0,
        Reach::Near => gap_bytes,
    };
    wants.sort_by_key(|want| (want.place, want.span));
    let mut regions: Vec<Region> = Vec::new();
    for want in wants {
        match regions.last_mut() {
            Some(region) if region.takes(&want, gap_bytes) => {
                region.range.end = region.range.end.max(want.end());
                region.wants.push(want);
            }
            _ => regions.push(Region::new(want)),
        }
    }
    regions.sort_by_key(|region| Reverse(region.len()));
    regions
}

/// Where a span ends. Spans come from the wire, where it was checked that they have an end.
fn end(span: ByteSpan) -> u64 {
    span.offset.saturating_add(u64::from(span.len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP_BYTES: u64 = 8 << 10;

    fn wants(spans: &[(usize, u64, u32)]) -> Vec<Want> {
        let wants = spans.iter().enumerate();
        wants
            .map(|(chunk, &(place, offset, len))| Want {
                place,
                span: ByteSpan { offset, len },
                chunk,
            })
            .collect()
    }

    fn ranges(spans: &[(usize, u64, u32)], reach: Reach) -> Vec<(usize, Range<u64>)> {
        let mut regions = plan(wants(spans), reach, GAP_BYTES);
        regions.sort_by_key(|region| (region.place, region.range.start));
        let ranges = regions.into_iter();
        ranges.map(|region| (region.place, region.range)).collect()
    }

    #[test]
    fn an_exact_read_joins_only_what_touches() {
        let spans = [(0, 10, 5), (0, 0, 10), (0, 16, 4)];
        assert_eq!(ranges(&spans, Reach::Exact), [(0, 0..15), (0, 16..20)]);
    }

    #[test]
    fn a_near_read_joins_over_gaps_below_eight_kib() {
        let below = [(0, 0, 10), (0, 10 + 8191, 1)];
        assert_eq!(ranges(&below, Reach::Near), [(0, 0..8202)]);
        let at = [(0, 0, 10), (0, 10 + 8192, 1)];
        assert_eq!(ranges(&at, Reach::Near), [(0, 0..10), (0, 8202..8203)]);
    }

    #[test]
    fn files_are_never_joined() {
        let spans = [(1, 0, 10), (0, 10, 10)];
        assert_eq!(ranges(&spans, Reach::Near), [(0, 10..20), (1, 0..10)]);
    }

    #[test]
    fn spans_that_overlap_are_read_once() {
        let spans = [(0, 0, 100), (0, 10, 5), (0, 0, 100), (0, 50, 100)];
        let regions = plan(wants(&spans), Reach::Exact, GAP_BYTES);
        assert_eq!(regions.len(), 1);
        assert_eq!(regions[0].range, 0..150);
        let mut chunks: Vec<_> = regions[0].wants.iter().map(|want| want.chunk).collect();
        chunks.sort_unstable();
        assert_eq!(chunks, [0, 1, 2, 3]);
        assert_eq!(regions[0].within(ByteSpan { offset: 50, len: 7 }), 50..57);
    }

    #[test]
    fn a_region_grows_to_two_mib_and_one_chunk_may_be_longer() {
        let half = 1 << 20;
        let spans = [(0, 0, half), (0, 1 << 20, half), (0, 2 << 20, 1)];
        assert_eq!(
            ranges(&spans, Reach::Exact),
            [(0, 0..2 << 20), (0, 2 << 20..(2 << 20) + 1)]
        );
        let long = [(0, 0, 12 << 20), (0, 5, 5), (0, 12 << 20, 1)];
        assert_eq!(
            ranges(&long, Reach::Exact),
            [(0, 0..12 << 20), (0, 12 << 20..(12 << 20) + 1)]
        );
    }

    #[test]
    fn the_largest_comes_first() {
        let spans = [(0, 0, 1), (1, 0, 100), (2, 0, 10)];
        let regions = plan(wants(&spans), Reach::Near, GAP_BYTES).into_iter();
        let places: Vec<_> = regions.map(|region| region.place).collect();
        assert_eq!(places, [1, 2, 0]);
    }

    #[test]
    fn a_region_that_is_mostly_gap_says_so() {
        let sparse = plan(wants(&[(0, 0, 10), (0, 1000, 10)]), Reach::Near, GAP_BYTES);
        assert!(sparse[0].is_sparse());
        let dense = plan(wants(&[(0, 0, 10), (0, 15, 10)]), Reach::Near, GAP_BYTES);
        assert!(!dense[0].is_sparse());
    }

    #[test]
    fn a_region_knows_what_lies_inside() {
        let region = &plan(wants(&[(0, 10, 10)]), Reach::Near, GAP_BYTES)[0];
        for (offset, len, is_inside) in
            [(10, 10, true), (12, 3, true), (9, 2, false), (15, 6, false)]
        {
            assert_eq!(region.holds(ByteSpan { offset, len }), is_inside);
        }
    }
}
