//! Medians, quartiles and percentiles.

use serde::Serialize;

/// The summary of a series of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) count: usize,
    pub(super) least: f64,
    /// The lower and upper quartile: half of the values are between them.
    pub(super) quartiles: [f64; 2],
    pub(super) median: f64,
    pub(super) p99: f64,
    pub(super) most: f64,
}

impl Summary {
    /// Summarizes at least one value.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            // The nearest rank: always a value that was measured.
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1]
        };
        Self {
            count: sorted.len(),
            least: sorted[0],
            quartiles: [at(0.25), at(0.75)],
            median: at(0.5),
            p99: at(0.99),
            most: sorted[sorted.len() - 1],
        }
    }
}
