//! Brings a volume to a goal, and back after a failure.

use crate::error::{Error, Result};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::volume::machine::execute::Executor;
use crate::volume::machine::observe;
use crate::volume::plan::state::Observed;
use crate::volume::plan::{Goal, plan};
use crate::volume::usage::refuse_if_mounted;

/// Plans from `observed` to `goal` and runs the steps.
pub(crate) fn reach(
    pool: &PoolDir,
    guard: &VolumeGuard,
    goal: Goal<'_>,
    observed: &Observed,
) -> Result<()> {
    let taken_down = matches!(goal, Goal::Inactive | Goal::Absent);
    let result = Executor::new(pool, guard).run(&plan(goal, observed)?);
    match (&observed.record, taken_down) {
        // The steps know only the devices.
        (Some(record), true) => {
            result.map_err(|error| Error::new(error.kind(), "take down volume", &record.id, error))
        }
        _ => result,
    }
}

/// Goes back to `goal` after a failure. If that fails too, the next call or start completes it.
pub(crate) fn undo(pool: &PoolDir, guard: &VolumeGuard, goal: Goal<'_>) {
    let key = guard.key();
    let mut id = key.to_string();
    let result = observe::observe(pool, key).and_then(|observed| {
        if let Some(record) = &observed.record {
            id.clone_from(&record.id);
        }
        refuse_if_mounted(pool, key, &observed, &id, "undo the failed operation on volume")?;
        reach(pool, guard, goal, &observed)
    });
    if let Err(error) = result {
        let error = error.report();
        tracing::warn!(
            volume = id,
            error,
            "could not undo a failed operation; reconciliation will retry"
        );
    }
}
