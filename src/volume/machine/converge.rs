//! Brings a volume to a goal, and back after a failure.

use crate::error::Result;
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
    Executor::new(pool, guard).run(&plan(goal, observed)?)
}

/// Goes back to `goal` after a failure. If that fails too, the next call or start completes it.
pub(crate) fn undo(pool: &PoolDir, guard: &VolumeGuard, goal: Goal<'_>) {
    let result = observe::observe(pool, guard.key()).and_then(|observed| {
        refuse_if_mounted(
            pool,
            guard.key(),
            &observed,
            guard.key(),
            "undo the failed operation on volume",
        )?;
        reach(pool, guard, goal, &observed)
    });
    if let Err(error) = result {
        tracing::warn!(volume = %guard.key(), error = error.report(), "could not undo a failed operation; reconciliation will retry");
    }
}
