//! By how much the volumes of a pool may promise more than the pool has.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// How many bytes volumes may still write, for each byte that is free in the pool above its reserve.
///
/// With 1, the pool has room for all that its volumes may write. With 4, it is enough if they write a
/// quarter of that.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct OvercommitRatio(f64);

impl OvercommitRatio {
    /// The smallest and the largest ratio.
    pub const RANGE: std::ops::RangeInclusive<f64> = 0.1..=1000.0;

    /// Checks a ratio.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a number outside of [`RANGE`](Self::RANGE).
    pub fn new(ratio: f64) -> Result<Self> {
        if Self::RANGE.contains(&ratio) {
            return Ok(Self(ratio));
        }
        Err(invalid(ratio, "it is not within 0.1 and 1000".to_owned()))
    }

    /// The ratio as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// What volumes may still write if `free` bytes are free.
    pub(crate) fn allowed(self, free: u64) -> u64 {
        (free as f64 * self.0) as u64
    }

    /// The least number of free bytes at which volumes may still write `promised` bytes.
    pub(crate) fn needed(self, promised: u64) -> u64 {
        (promised as f64 / self.0).ceil() as u64
    }
}

fn invalid(ratio: impl fmt::Display, why: String) -> Error {
    Error::invalid(format_args!("overcommit ratio {ratio}"), why)
        .remedy("give a number from 0.1 to 1000, such as 1.5; without a ratio, nothing is bounded")
}

// === impl Display, FromStr ===

impl fmt::Display for OvercommitRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OvercommitRatio {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let ratio = text.parse().map_err(|_| invalid(text, "it is not a number".to_owned()))?;
        Self::new(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratios_parse_as_written() {
        for (text, ratio) in [("1", 1.0), ("0.1", 0.1), ("2.50", 2.5), ("1000", 1000.0)] {
            assert_eq!(text.parse::<OvercommitRatio>().unwrap().get(), ratio, "{text}");
        }
        for text in ["", "0", "-1", "1:2", "NaN", "inf", "1e9", "150%"] {
            let error = text.parse::<OvercommitRatio>().unwrap_err();
            assert!(error.report().contains("0.1 to 1000"), "{}", error.report());
        }
        assert_eq!("2.50".parse::<OvercommitRatio>().unwrap().to_string(), "2.5");
    }

    proptest! {
        #[test]
        fn what_is_needed_suffices(promised in 0u64..1 << 50, ratio in 0.1f64..=1000.0) {
            let ratio = OvercommitRatio::new(ratio).unwrap();
            // A double has 53 bits.
            prop_assert!(ratio.allowed(ratio.needed(promised)) >= promised - promised.min(1));
        }
    }
}
