//! At how much free space the guard suspends volumes, and at how much it lets them go on.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::units::{format_size, parse_size};
use crate::pool::Capacity;

/// Part of the disk below which kubelet evicts pods, by its default thresholds (15 % for images, 10 %
/// for everything else), and one percent more.
const ABOVE_EVICTION: Watermark = Watermark::Percent(16);

/// An amount of free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// In bytes.
    Bytes(u64),
    /// In percent of the pool's file system.
    Percent(u8),
}

impl Watermark {
    fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

/// How a guard watches its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardOptions {
    /// At which free space volumes that write are suspended; no bytes switch the guard off. By default,
    /// at half of the pool's reserve; at 16 % of a disk that is kubelet's too, if that is more.
    pub low: Option<Watermark>,
    /// At which free space they go on. By default, at half of the reserve more than `low`, or at a
    /// sixteenth more if that is more.
    pub resume: Option<Watermark>,
    /// The directory of the node's kubelet. If it is on the pool's file system, kubelet evicts pods when
    /// that gets full.
    pub kubelet: Option<PathBuf>,
}

impl GuardOptions {
    /// Sets at which free space volumes that write are suspended; no bytes switch the guard off.
    #[must_use]
    pub fn low(mut self, low: impl Into<Option<Watermark>>) -> Self {
        self.low = low.into();
        self
    }

    /// Sets at which free space they go on.
    #[must_use]
    pub fn resume(mut self, resume: impl Into<Option<Watermark>>) -> Self {
        self.resume = resume.into();
        self
    }

    /// Sets the directory of the node's kubelet.
    #[must_use]
    pub fn kubelet(mut self, directory: impl Into<Option<PathBuf>>) -> Self {
        self.kubelet = directory.into();
        self
    }
}

/// Both watermarks of a pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) low: u64,
    pub(super) resume: u64,
}

impl Marks {
    /// The watermarks of a pool with this capacity, `shared` with kubelet or not.
    pub(super) fn of(options: &GuardOptions, capacity: &Capacity, shared: bool) -> Self {
        let total = capacity.total;
        let half = capacity.reserve / 2;
        let low = match options.low {
            Some(low) => low.of(total),
            None if shared => half.max(ABOVE_EVICTION.of(total)),
            None => half,
        };
        let resume = match options.resume {
            Some(resume) => resume.of(total),
            None => low.saturating_add(half.max(low / 16)),
        };
        Self { low, resume: resume.max(low) }
    }

    /// Above which free space a driver that was killed is expected back before the pool is full.
    pub(super) fn ample(self, reserve: u64) -> u64 {
        self.resume.max(reserve).saturating_mul(2)
    }

    /// Whether the guard suspends anything.
    pub(super) fn is_on(self) -> bool {
        self.low > 0
    }
}

// === impl Display, FromStr ===

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&format_size(*bytes)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Watermark {
    type Err = Error;

    /// Parses a size such as `2Gi`, or a percentage such as `16%`.
    fn from_str(text: &str) -> Result<Self> {
        let Some(number) = text.strip_suffix('%') else {
            return parse_size("watermark", text).map(Self::Bytes);
        };
        match number.parse() {
            Ok(percent @ 0..=99) => Ok(Self::Percent(percent)),
            _ => Err(Error::invalid(
                format_args!("watermark {text:?}"),
                "it is not a part of a file system".to_owned(),
            )
            .remedy("give 0% to 99%, or a size such as 2Gi")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn watermarks_parse_as_written() {
        for (text, mark) in [
            ("2Gi", Watermark::Bytes(2 * GIB)),
            ("0", Watermark::Bytes(0)),
            ("16%", Watermark::Percent(16)),
        ] {
            assert_eq!(text.parse::<Watermark>().unwrap(), mark, "{text}");
        }
        for text in ["", "%", "100%", "-1%", "1.5%", "much"] {
            assert!(text.parse::<Watermark>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_follow_the_reserve_and_kubelet() {
        let capacity = |total, reserve| Capacity { total, free: 0, available: 0, reserve };
        let none = GuardOptions::default();
        let bytes =
            |low, resume| none.clone().low(Watermark::Bytes(low)).resume(Watermark::Bytes(resume));
        for (options, total, reserve, shared, expected) in [
            (none.clone(), 100 * GIB, GIB, false, (GIB / 2, GIB)),
            (none.clone(), 100 * GIB, 0, false, (0, 0)),
            (none.clone(), 100 * GIB, GIB, true, (16 * GIB, 17 * GIB)),
            (none.clone(), 2 * GIB, GIB, true, (GIB / 2, GIB)),
            (none.clone().low(Watermark::Bytes(0)), 100 * GIB, GIB, true, (0, GIB / 2)),
            (none.clone().low(Watermark::Percent(5)), 100 * GIB, 0, true, (5 * GIB, 85 * GIB / 16)),
            (bytes(GIB, 3 * GIB), 100 * GIB, GIB, true, (GIB, 3 * GIB)),
            (bytes(3 * GIB, GIB), 100 * GIB, GIB, true, (3 * GIB, 3 * GIB)),
        ] {
            // Percentages are of whole bytes.
            let Marks { low, resume } = Marks::of(&options, &capacity(total, reserve), shared);
            let close = |found: u64, wanted: u64| found.abs_diff(wanted) < 200;
            assert!(close(low, expected.0), "{options:?} {total}: {low}");
            assert!(close(resume, expected.1), "{options:?} {total}: {resume}");
        }
    }
}
