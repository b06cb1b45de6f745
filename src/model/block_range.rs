//! Ranges of a volume's bytes.

use serde::Serialize;

/// A range of a volume's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct BlockRange {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; at least 1.
    pub length: u64,
}

/// Ranges in ascending order, none of which touches another, up to the end of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: Vec<BlockRange>,
    end: u64,
}

impl Ranges {
    /// No ranges, of a volume of `end` bytes.
    pub(crate) fn new(end: u64) -> Self {
        Self { ranges: Vec::new(), end }
    }

    /// Adds a range that begins at or after the beginning of the last one. What is behind the end of the volume is
    /// left out.
    pub(crate) fn add(&mut self, offset: u64, length: u64) {
        let until = offset.saturating_add(length).min(self.end);
        match self.ranges.last_mut() {
            Some(last) if offset <= last.offset + last.length => {
                last.length = last.length.max(until.saturating_sub(last.offset));
            }
            _ if offset < until => self.ranges.push(BlockRange { offset, length: until - offset }),
            _ => {}
        }
    }

    /// The ranges that are in this or in the other.
    pub(crate) fn union(self, other: Self) -> Self {
        let mut all = Self::new(self.end.max(other.end));
        let mut both = [self.ranges, other.ranges].concat();
        both.sort_unstable_by_key(|range| range.offset);
        for range in both {
            all.add(range.offset, range.length);
        }
        all
    }

    pub(crate) fn into_vec(self) -> Vec<BlockRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(end: u64, parts: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::new(end);
        for (offset, length) in parts {
            ranges.add(*offset, *length);
        }
        ranges
    }

    fn told(ranges: Ranges) -> Vec<(u64, u64)> {
        ranges.into_vec().iter().map(|it| (it.offset, it.length)).collect()
    }

    #[test]
    fn ranges_that_touch_are_one_and_none_exceeds_the_volume() {
        let parts = [(0, 5), (5, 5), (7, 1), (20, 10), (25, 100), (90, 20), (200, 5)];
        assert_eq!(told(ranges(100, &parts)), [(0, 10), (20, 80)]);
        assert_eq!(told(ranges(100, &[(100, 5), (u64::MAX, 9)])), []);
        assert_eq!(told(ranges(100, &[(99, u64::MAX)])), [(99, 1)]);
    }

    #[test]
    fn a_union_has_both() {
        let one = ranges(100, &[(0, 5), (50, 10)]);
        let other = ranges(100, &[(5, 1), (40, 15), (99, 1)]);
        assert_eq!(told(one.clone().union(other.clone())), [(0, 6), (40, 20), (99, 1)]);
        assert_eq!(other.clone().union(one.clone()), one.union(other));
    }
}
