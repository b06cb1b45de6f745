//! Completes or undoes what a crash left behind, for everything that exists.
//!
//! Each volume is judged under its lock, by its record and the kernel alone. One that works is
//! left alone; one whose lock is held is someone's business already.

use super::execute::Executor;
use super::plan::{Goal, Observed, plan};
use super::step::Step;
use super::{ReconcileReport, direct, lifecycle, observe};
use crate::error::Result;
use crate::key::{DeviceId, Key, Role, uuid_prefix};
use crate::pool::Pool;
use crate::template;

impl Pool {
    /// Completes or undoes what a crash left behind; live volumes are not touched. To be called
    /// at start; safe at any time.
    pub fn reconcile(&self) -> Result<ReconcileReport> {
        let mut report = ReconcileReport::default();
        for key in observe::keys(self)? {
            volume(self, &key, &mut report);
        }
        orphaned_devices(self, &mut report)?;
        if let Err(error) = direct::reconcile(self, &mut report) {
            report.failed.push(error.report());
        }
        match template::sweep_imports(self) {
            Ok(removed) => report.removed.extend(removed),
            Err(error) => report.failed.push(error.report()),
        }
        Ok(report)
    }
}

fn volume(pool: &Pool, key: &Key, report: &mut ReconcileReport) {
    let result = (|| -> Result<()> {
        let Some(_lock) = pool.try_lock_key(key)? else { return Ok(()) };
        let observed = observe::observe(pool, key)?;
        let (steps, name) = judge(&observed, key)?;
        if steps.is_empty() {
            report.live += usize::from(!observed.devices().is_empty());
            return Ok(());
        }
        if observed.record.is_none() {
            lifecycle::refuse_if_mounted(pool, &observed, key, "remove what is left of volume")?;
        }
        Executor::new(pool, key, None, &observed).run(&steps)?;
        match observed.record {
            Some(_) => report.repaired.push(name),
            None => report.removed.push(name),
        }
        Ok(())
    })();
    if let Err(error) = result {
        report.failed.push(error.report());
    }
}

/// What a volume needs, and its name for the report.
fn judge(observed: &Observed, key: &Key) -> Result<(Vec<Step>, String)> {
    let Some(record) = &observed.record else {
        let name = format!("directory of a volume that was never made or half deleted ({key})");
        return Ok((plan(Goal::Absent, observed)?, name));
    };
    let half_made = |device: &crate::sys::Device| device.table.is_none();
    let goal = match &observed.snapshot {
        // Nobody can have used it yet.
        Some(device) if half_made(device) => Goal::Inactive,
        None if observed.copies.is_empty() => return Ok((Vec::new(), record.id.clone())),
        // A live one: whatever stopped in the middle, growth for instance, is completed.
        _ => Goal::Active { record, view: false },
    };
    Ok((plan(goal, observed)?, record.id.clone()))
}

/// Devices of this pool whose volume has no directory any more.
fn orphaned_devices(pool: &Pool, report: &mut ReconcileReport) -> Result<()> {
    let devices = pool.host().devices(&uuid_prefix(pool.id()))?;
    let mut orphans: Vec<(Role, Key, DeviceId)> = devices
        .into_iter()
        .filter_map(|id| {
            let (key, role) = DeviceId::parse_uuid(pool.id(), &id.uuid)?;
            Some((role, key, id))
        })
        .collect();
    // Views first: they hold the snapshots open.
    orphans.sort_by_key(|(role, ..)| std::cmp::Reverse(*role));
    for (role, key, id) in orphans {
        let result = (|| -> Result<bool> {
            let Some(_lock) = pool.try_lock_key(&key)? else { return Ok(false) };
            let observed = observe::observe(pool, &key)?;
            if observed.directory {
                return Ok(false);
            }
            lifecycle::refuse_if_mounted(pool, &observed, &key, "remove what is left of volume")?;
            Executor::new(pool, &key, None, &observed).run(&[Step::RemoveDevice(role)])?;
            Ok(true)
        })();
        match result {
            Ok(true) => report.removed.push(format!("device {}", id.name)),
            Ok(false) => {}
            Err(error) => report.failed.push(error.report()),
        }
    }
    Ok(())
}
