//! Completes or undoes what a crash left behind, and removes what nobody needs any more.
//!
//! Each volume is judged by its record and the kernel alone: at a glance, then closely if that does not
//! show that all is well, and again under its lock if there is something to do. A volume whose lock is
//! held is skipped: another call is working on it. Healthy volumes are never locked, so reconciliation
//! cannot make a call fail. The kernel is asked once which devices there are, and then one thing of each
//! live volume: that is what a start with a thousand of them waits for (ADR 0047).
//!
//! | what | goes when |
//! | --- | --- |
//! | remains of a volume without a record | at once |
//! | a device of this pool without a directory | at once |
//! | a spare that is broken, or one more than its template is to have | at once |
//! | what tells Kata of a volume without a record | at once |
//! | an inline volume | nobody uses it, and the directory of its target has been gone for a while |
//! | a volume with a time to live | that is over, and nobody uses it |
//! | an unfinished import | its source changed or is gone, or a day has passed |
//! | template content | no name and no volume refers to it |
//!
//! Nobody uses a volume if no device of it is open and nothing of it is mounted.

pub(crate) mod content;
mod kata;
pub(crate) mod report;
pub(crate) mod spares;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::{Backing, Reserve};
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, index, record};
use crate::reconcile::report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind, Repair};
use crate::sys::FileKind;
use crate::volume::machine::execute::Executor;
use crate::volume::machine::observe;
use crate::volume::plan::health::Health;
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::{Step, store_length};
use crate::volume::plan::{Goal, plan};
use crate::volume::usage::mounts_of_device;
use crate::volume::{kata as volume_kata, lifecycle, publish, spare, status, usage};

/// `abandoned`: since when the directory of an inline volume's target has been gone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Abandoned {
    since: Timestamp,
}

impl record::Record for Abandoned {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Completes or undoes what a crash left behind, and removes what nobody needs any more; what is
/// in use is not touched. To be called at start; safe at any time.
pub(crate) fn reconcile(pool: &PoolDir) -> Result<ReconcileReport> {
    reconcile_with(pool, &ReconcileOptions::default())
}

/// The same, with options: to learn what would be done, for instance.
pub(crate) fn reconcile_with(
    pool: &PoolDir,
    options: &ReconcileOptions,
) -> Result<ReconcileReport> {
    let mut report = ReconcileReport::default();
    // In this order: a volume's directory is there before its devices are.
    let names = pool.host().device_names()?;
    let keys = index::keys(pool)?;
    let may_claim = pool.host().file(&pool.layout().spares())?.is_some();
    for key in &keys {
        if options.is_cancelled() {
            return Ok(report);
        }
        match glance(pool, key, &names, may_claim) {
            Some(Glance::Inactive) => {}
            Some(Glance::Live) => report.live += 1,
            None => {
                if let Err(error) = volume(pool, key, options, &mut report) {
                    report.failed.push(error.report());
                }
            }
        }
    }
    orphaned_devices(pool, &keys, &names, options, &mut report)?;
    // After the volumes: what a claim took out of a spare's directory has gone to its volume.
    spares::tidy(pool, &names, options.dry_run, &mut report)?;
    if let Err(error) = kata::reconcile(pool, options, &mut report) {
        report.failed.push(error.report());
    }
    if !options.is_cancelled() {
        content::sweep(pool, options.dry_run, &mut report);
    }
    Ok(report)
}

/// What is to be done about a volume.
enum Verdict {
    /// Nothing; whether it is active.
    Well { active: bool },
    /// These steps.
    Repair(Repair, Vec<Step>),
    /// It, or what is left of it, is to go.
    Remove(Removal),
}

/// A volume about which there is nothing to do.
enum Glance {
    Inactive,
    Live,
}

/// Looks at a volume in as few calls as will do: at its record, and at its store and its device if
/// that is among `names`. `None` wherever that does not show that all is well: then a closer look
/// tells. What it asks for is what [`plan`] would find nothing to do about. `may_claim` says that the
/// pool has had spares.
fn glance(pool: &PoolDir, key: &Key, names: &BTreeSet<String>, may_claim: bool) -> Option<Glance> {
    let record = observe::read_record(pool, key).ok()??;
    let may_go = record.inline || record.ttl.is_some();
    let [snapshot, view] =
        [Role::Snapshot, Role::ReadOnlyView].map(|role| DeviceId::new(pool.id(), key, role));
    let plain = record.backing == Backing::Snapshot && !may_go;
    if !plain || names.contains(&view.name) || may_claim && spare::is_claiming(pool, key).ok()? {
        return None;
    }
    if !names.contains(&snapshot.name) {
        return Some(Glance::Inactive);
    }
    let device = pool.host().glance(&snapshot).ok()??;
    let well = Health::at_a_glance(&device, &record).is_well();
    let store = pool.host().file(&pool.layout().store(key, record.backing)).ok()??;
    let length = store_length(&record);
    let reserved = record.reserve == Reserve::None || store.allocated >= length;
    let stored = store.kind == FileKind::Regular && store.length >= length && reserved;
    (well && stored).then_some(Glance::Live)
}

fn volume(
    pool: &PoolDir,
    key: &Key,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    let claiming = spare::is_claiming(pool, key)?;
    let first = judge(pool, key, &observe::observe(pool, key)?, options)?;
    if let (false, Verdict::Well { active }) = (claiming, first) {
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
                    publish::kata::withdraw(pool, key, Path::new(target))?;
                }
                lifecycle::delete(pool, &guard, &removal.what, &observed)?;
            }
            report.removed.push(removal);
        }
    }
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
        let what = format!("remains of a volume that was never made or half deleted ({key})");
        return Ok(Verdict::Remove(Removal { kind: RemovalKind::Remains, what }));
    };
    let lost = status::is_lost(pool, key, record, observed);
    if let Some(kind) = superfluous(pool, key, record, observed, options)? {
        return Ok(Verdict::Remove(Removal { kind, what: record.id.clone() }));
    }
    if lost {
        // That was told; its owner deletes it.
        return Ok(well);
    }
    let goal = match &observed.snapshot {
        // Nobody can have used it yet.
        Some(device) if device.table.is_none() => Goal::Inactive,
        None if observed.copies.is_empty() => return Ok(well),
        // A live one: whatever stopped in the middle, growth for instance, is completed.
        _ => Goal::Active { record, view: false },
    };
    let steps = plan(goal, observed)?;
    if steps.is_empty() {
        return Ok(well);
    }
    let words = steps.iter().map(ToString::to_string).collect();
    Ok(Verdict::Repair(Repair { volume: record.id.clone(), steps: words }, steps))
}

/// Why nobody needs the volume any more, if so.
fn superfluous(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    observed: &Observed,
    options: &ReconcileOptions,
) -> Result<Option<RemovalKind>> {
    let kind = if record.expires().is_some_and(|end| end <= Timestamp::now()) {
        RemovalKind::Expired
    } else if record.inline && is_abandoned(pool, key, record, options)? {
        RemovalKind::Inline
    } else {
        return Ok(None);
    };
    // What tells Kata of a pod that is gone goes with the volume.
    let shown = kind == RemovalKind::Expired && !volume_kata::targets(pool, record)?.is_empty();
    Ok((!shown && !is_used(pool, key, observed)?).then_some(kind))
}

/// Whether somebody has the volume open or mounted, or its node bound.
fn is_used(pool: &PoolDir, key: &Key, observed: &Observed) -> Result<bool> {
    // The view's table holds the snapshot open.
    let view = observed.view.as_ref().map_or(0, |view| view.open_count);
    let held = u32::from(observed.view.as_ref().is_some_and(|view| view.table.is_some()));
    let open = observed.snapshot.as_ref().map_or(0, |snapshot| snapshot.open_count);
    if view > 0 || open > held {
        return Ok(true);
    }
    for number in observed.devices() {
        if !mounts_of_device(pool, key, number)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the directory around an inline volume's target has been gone for the time of grace. The
/// first look that misses it writes down when that was.
fn is_abandoned(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    options: &ReconcileOptions,
) -> Result<bool> {
    let Some(parent) = record.target.as_deref().and_then(|t| Path::new(t).parent()) else {
        return Ok(false);
    };
    let path = pool.layout().abandoned(key);
    if pool.host().file(parent)?.is_some() {
        if !options.dry_run && pool.host().file(&path)?.is_some() {
            pool.host().remove_file(&path)?;
        }
        return Ok(false);
    }
    let now = Timestamp::now();
    let since = match record::read::<Abandoned>(pool.host(), &path)? {
        Some(abandoned) => abandoned.since,
        None if options.dry_run => now,
        None => {
            let abandoned = Abandoned { since: now };
            pool.host().write_record(&path, &record::to_bytes(&abandoned))?;
            now
        }
    };
    let grace = SignedDuration::try_from(options.grace).unwrap_or(SignedDuration::MAX);
    Ok(now.duration_since(since) >= grace)
}

/// Devices of this pool whose volume has no directory any more.
fn orphaned_devices(
    pool: &PoolDir,
    keys: &[Key],
    names: &BTreeSet<String>,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    let mut orphans: Vec<(Role, Key, DeviceId)> = Vec::new();
    for name in names {
        let known =
            DeviceId::parse_name(name).is_some_and(|(key, _)| keys.binary_search(&key).is_ok());
        if known {
            continue;
        }
        // The UUID says whose it is: somebody may have given it another name.
        let Some(id) = pool.host().device_id(name)? else { continue };
        if let Some((key, role)) = DeviceId::parse_uuid(pool.id(), &id.uuid) {
            orphans.push((role, key, id));
        }
    }
    // Views first: they hold the snapshots open.
    orphans.sort_by_key(|(role, ..)| std::cmp::Reverse(*role));
    for (role, key, id) in orphans {
        match orphaned_device(pool, role, &key, options) {
            Ok(true) => {
                let what = format!("device {}", id.name);
                report.removed.push(Removal { kind: RemovalKind::Device, what });
            }
            Ok(false) => {}
            Err(error) => report.failed.push(error.report()),
        }
    }
    Ok(())
}

fn orphaned_device(
    pool: &PoolDir,
    role: Role,
    key: &Key,
    options: &ReconcileOptions,
) -> Result<bool> {
    // The common case, without a lock. What is there instead of a directory is told elsewhere.
    if pool.host().file(&pool.layout().volume_directory(key))?.is_some() {
        return Ok(false);
    }
    let Some(guard) = pool.try_lock_volume(key)? else { return Ok(false) };
    let observed = observe::observe(pool, key)?;
    if observed.directory {
        return Ok(false);
    }
    if !options.dry_run {
        usage::refuse_if_mounted(pool, key, &observed, key, "remove what is left of volume")?;
        Executor::new(pool, &guard).run(&[Step::RemoveDevice(role)])?;
    }
    Ok(true)
}
