//! How far an overlay has come, as the devices tell: pure.

use crate::sys::Table;
use crate::volume::plan::state::Observed;

/// How far an overlay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The volume has no device. The overlay may hold what was written to it.
    AtRest,
    /// The volume is over its own store alone, and the overlay holds nothing of it: it was not used yet, or it was
    /// merged.
    Alone,
    /// The base has the exceptions. The volume waits for a table over the overlay.
    HandedOver,
    /// The volume is over the overlay.
    Stacked,
    /// The kernel merges the overlay.
    Merging,
}

impl Stage {
    /// The stage of the overlay of a volume; `None` if it has none.
    pub(super) fn of(observed: &Observed) -> Option<Self> {
        observed.overlay.as_ref()?;
        let table = observed.snapshot.as_ref().and_then(|device| device.table.as_ref());
        Some(match table {
            None => Self::AtRest,
            Some(Table::Merge { .. }) => Self::Merging,
            Some(_) if observed.is_over_base() => Self::Stacked,
            Some(_) if observed.is_handed_over() => Self::HandedOver,
            Some(_) => Self::Alone,
        })
    }
}
