//! The choice of a volume's size from a requested range.

/// Unit of chosen sizes, in bytes: the block size of the file systems in templates. The exception
/// is the size of the template itself, which a volume may always have.
const GRANULARITY: u64 = 4096;

/// The sizes that a volume may have, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeRange {
    least: u64,
    most: Option<u64>,
}

impl SizeRange {
    /// Returns the range from `least` bytes to `most`, or without an upper limit.
    pub fn new(least: u64, most: Option<u64>) -> Self {
        Self { least, most }
    }

    /// The smallest size in the range.
    pub fn least(self) -> u64 {
        self.least
    }

    /// The largest size in the range.
    pub fn most(self) -> Option<u64> {
        self.most
    }

    /// Whether the range contains `size`.
    pub fn contains(self, size: u64) -> bool {
        size >= self.least && self.most.is_none_or(|most| size <= most)
    }

    /// Chooses the smallest size in the range for a volume whose template, or whose present size,
    /// has `existing` bytes. Returns the smallest possible size as `Err` if it is beyond the range.
    pub fn choose(self, existing: u64) -> Result<u64, u64> {
        let size = if self.least <= existing { existing } else { Self::round_up(self.least) };
        if self.most.is_some_and(|most| size > most) { Err(size) } else { Ok(size) }
    }

    /// Rounds up to a size that the file systems in templates can fill.
    pub fn round_up(size: u64) -> u64 {
        size.checked_next_multiple_of(GRANULARITY).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_size_that_fits_is_chosen() {
        let template = 8192 + 512;
        for (least, most, size) in [
            (0, None, Ok(template)),
            (1, None, Ok(template)),
            (8704, Some(8704), Ok(template)),
            (8705, None, Ok(12288)),
            (12288, Some(12288), Ok(12288)),
            (12289, Some(20000), Ok(16384)),
            (0, Some(4096), Err(template)),
            (8705, Some(8800), Err(12288)),
        ] {
            assert_eq!(SizeRange::new(least, most).choose(template), size, "{least} {most:?}");
        }
        assert_eq!(SizeRange::default().choose(template), Ok(template));
    }

    proptest! {
        #[test]
        fn a_chosen_size_is_in_the_range_and_holds_the_template(
            least in 0..(1_u64 << 45), extra in 0..(1_u64 << 30), sectors in 1..(1_u64 << 33),
        ) {
            let template = sectors * 512;
            let range = SizeRange::new(least, Some(least + extra));
            if let Ok(size) = range.choose(template) {
                prop_assert!(range.contains(size));
                prop_assert!(size >= template && size % 512 == 0);
            }
        }
    }
}
