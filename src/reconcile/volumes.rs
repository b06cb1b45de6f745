//! Completes, undoes or deletes one volume.

use std::path::Path;

use crate::error::Result;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::reconcile::disuse;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind, Repair};
use crate::volume::machine::execute::Executor;
use crate::volume::machine::observe;
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::Step;
use crate::volume::plan::{Goal, plan};
use crate::volume::{lifecycle, overlay, publish, spare, status};

/// What a volume needs.
enum Verdict {
    /// Nothing. `active` if it has a device.
    Well { active: bool },
    /// The steps of a repair.
    Repair(Repair, Vec<Step>),
    /// The removal of the volume, or of its remains.
    Remove(Removal),
}

/// Looks closely at a volume, and does what it needs under its lock.
pub(super) fn reconcile(
    pool: &PoolDir,
    key: &Key,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    let claiming = spare::is_claiming(pool, key)?;
    let observed = observe::observe(pool, key)?;
    let overlaid = observed.overlay.is_some() && observed.is_live();
    if !claiming
        && !overlaid
        && let Verdict::Well { active } = judge(pool, key, &observed, options)?
    {
        report.live += usize::from(active);
        return Ok(());
    }
    let Some(guard) = pool.try_lock_volume(key)? else { return Ok(()) };
    if claiming {
        if !options.dry_run {
            spare::settle(pool, &guard)?;
        }
        let volume = observe::read_record(pool, key)?.map_or(key.to_string(), |record| record.id);
        let steps = vec!["complete the claim for a spare".to_owned()];
        report.repaired.push(Repair { volume, steps });
    }
    if overlaid {
        merge_overlay(pool, &guard, options, report)?;
    }
    let observed = observe::observe(pool, key)?;
    match judge(pool, key, &observed, options)? {
        Verdict::Well { active } => report.live += usize::from(active),
        Verdict::Repair(repair, steps) => {
            if !options.dry_run {
                Executor::new(pool, &guard).run(&steps)?;
            }
            report.repaired.push(repair);
        }
        Verdict::Remove(removal) => {
            if !options.dry_run {
                if let Some(target) = observed.record.as_ref().and_then(|r| r.target.as_deref()) {
                    let id = &removal.what;
                    publish::kata::withdraw_and_unseal(pool, &guard, id, Path::new(target))?;
                }
                lifecycle::delete(pool, &guard, &removal.what, &observed)?;
            }
            report.removed.push(removal);
        }
    }
    Ok(())
}

/// Merges the overlay that an interrupted snapshot left, unless another call did so meanwhile.
fn merge_overlay(
    pool: &PoolDir,
    guard: &VolumeGuard,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    let observed = observe::observe(pool, guard.key())?;
    let (Some(record), Some(_)) = (&observed.record, &observed.overlay) else { return Ok(()) };
    if !options.dry_run {
        overlay::settle(pool, guard)?;
        overlay::finish(pool, guard, record)?;
    }
    let steps = vec!["merge what was written while a snapshot was made".to_owned()];
    report.repaired.push(Repair { volume: record.id.clone(), steps });
    Ok(())
}

fn judge(
    pool: &PoolDir,
    key: &Key,
    observed: &Observed,
    options: &ReconcileOptions,
) -> Result<Verdict> {
    let well = Verdict::Well { active: !observed.devices().is_empty() };
    let Some(record) = &observed.record else {
        if plan(Goal::Absent, observed)?.is_empty() {
            return Ok(well);
        }
        let what = format!("remains of an interrupted creation or deletion of a volume ({key})");
        return Ok(Verdict::Remove(Removal { kind: RemovalKind::Remains, what }));
    };
    let stopped = status::is_stopped(pool, key, record, observed);
    if let Some(kind) = disuse::superfluous(pool, key, record, observed, options)? {
        return Ok(Verdict::Remove(Removal { kind, what: record.id.clone() }));
    }
    let goal = match &observed.snapshot {
        // Staging or its owner recovers the volume; until then its device answers.
        _ if stopped => Goal::Answering,
        // A device without a table cannot have been used yet.
        Some(device) if device.table.is_none() => Goal::Inactive,
        // It waits for room, and the guard lets it go on.
        _ if observed.held => return Ok(well),
        None if observed.copies.is_empty() => return Ok(well),
        // A live device: complete what was interrupted, such as growth.
        _ => Goal::Active { record, view: false },
    };
    let steps = plan(goal, observed)?;
    if steps.is_empty() {
        return Ok(well);
    }
    let words = steps.iter().map(ToString::to_string).collect();
    Ok(Verdict::Repair(Repair { volume: record.id.clone(), steps: words }, steps))
}
