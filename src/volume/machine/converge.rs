//! Getting a volume to a goal, and back after a failure.

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

/// Goes back after a failure. What cannot be undone now, the next call or start completes.
pub(crate) fn undo(pool: &PoolDir, guard: &VolumeGuard, goal: Goal<'_>) {
    let result = observe::observe(pool, guard.key()).and_then(|observed| {
        refuse_if_mounted(pool, guard.key(), &observed, guard.key(), "undo what failed of volume")?;
        reach(pool, guard, goal, &observed)
    });
    if let Err(error) = result {
        tracing::warn!(volume = %guard.key(), error = error.report(), "cannot undo a failed operation yet");
    }
}
