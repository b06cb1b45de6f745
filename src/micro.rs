//! Access to the plan's pure code for the micro-benchmarks, which use the crate from outside.

use crate::pool::record::VolumeRecord;
use crate::volume::plan::state::Observed;
use crate::volume::plan::{Goal, plan};

/// Plans the creation of a volume; returns the number of steps.
pub fn plan_creation(record: &VolumeRecord) -> usize {
    plan(Goal::Stored(record), &Observed::default()).map_or(0, |steps| steps.len())
}

/// Plans the activation of an ephemeral volume in a new boot, which is the longest plan; returns
/// the number of steps.
pub fn plan_activation(record: &VolumeRecord) -> usize {
    let observed = Observed {
        boot: "another".to_owned(),
        directory: true,
        record: Some(record.clone()),
        ..Observed::default()
    };
    plan(Goal::Active { record, view: true }, &observed).map_or(0, |steps| steps.len())
}

pub use crate::sys::micro::*;
