//! The warm pool: as many spares of a template as its record requests.
//!
//! The number is in the pool, so it applies to each program that maintains the spares: the driver
//! in idle time, `calf template warm`, or a program that uses the library. Making a spare takes the
//! same resources as making a volume, and fails likewise if the pool is short of space.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::device_id;
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::pool::locks::SpareGuard;
use crate::reconcile::report::{ReconcileReport, Removal, RemovalKind};
use crate::template::catalog;
use crate::volume::spare;

/// Report of a run that removes unwanted spares and makes missing ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpareReport {
    /// Spares that were made.
    pub made: usize,
    /// Spares that were removed: in excess, broken, or of content that no name points to.
    pub removed: usize,
    /// Spares still missing, because the run was stopped.
    pub missing: usize,
    /// Descriptions of removals that failed. The run continued with the rest.
    pub failed: Vec<String>,
}

/// Removes unwanted spares and makes missing ones, checking `cancel` before each. Does nothing
/// while another process is doing the same.
pub(crate) fn tend_spares(pool: &PoolDir, cancel: &Cancel) -> Result<SpareReport> {
    let Some(_lock) = pool.try_lock_spares()? else { return Ok(SpareReport::default()) };
    let names = pool.host().device_names()?;
    let mut tidied = ReconcileReport::default();
    let mut missing = tidy(pool, &names, false, &mut tidied)?;
    let removed = tidied.removed.len();
    let mut report = SpareReport { removed, failed: tidied.failed, ..SpareReport::default() };
    for Wanted { template, count } in missing.values_mut() {
        while *count > 0 && !cancel.is_requested() {
            spare::make(pool, template)?;
            *count -= 1;
            report.made += 1;
        }
    }
    report.missing = missing.values().map(|wanted| wanted.count as usize).sum();
    Ok(report)
}

/// Counts the spares of each template.
pub(crate) fn spares(pool: &PoolDir) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for token in spare::tokens(pool)? {
        if let Some(spare) = spare::read(pool, &token)? {
            *counts.entry(spare.template().to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The number of spares that a content should have.
pub(crate) struct Wanted {
    /// A template with this content.
    template: String,
    count: u32,
}

/// Counts the wanted spares of each content, by digest.
fn wanted(pool: &PoolDir) -> Result<BTreeMap<Digest, Wanted>> {
    let mut wanted = BTreeMap::<Digest, Wanted>::new();
    for template in catalog::survey(pool)?.0.into_iter().filter(|template| template.warm > 0) {
        wanted
            .entry(template.digest)
            .and_modify(|wanted| wanted.count += template.warm)
            .or_insert(Wanted { template: template.name, count: template.warm });
    }
    Ok(wanted)
}

/// Takes one spare of the content off the wanted ones. Returns false if none is wanted.
fn take_one(wanted: &mut BTreeMap<Digest, Wanted>, digest: &Digest) -> bool {
    match wanted.get_mut(digest) {
        Some(Wanted { count, .. }) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// Removes unwanted spares, and devices of spares whose directory is gone. Returns which spares are
/// still wanted. `names` are the names of all devices, listed by the caller before. A spare whose
/// lock is held is skipped: another call is working on it.
pub(crate) fn tidy(
    pool: &PoolDir,
    names: &BTreeSet<String>,
    dry_run: bool,
    report: &mut ReconcileReport,
) -> Result<BTreeMap<Digest, Wanted>> {
    let boot = pool.incarnation()?;
    let mut wanted = wanted(pool)?;
    let tokens = spare::tokens(pool)?;
    for token in &tokens {
        let Some(guard) = pool.try_lock_spare(token)? else { continue };
        if pool.host().file(&pool.layout().spare_directory(token))?.is_none() {
            continue;
        }
        let (spare, name) = (spare::read(pool, token)?, device_id::spare_name(pool.id(), token));
        // The device may have been made since the names were listed.
        let live = names.contains(&name) || pool.host().device_names()?.contains(&name);
        let useful = spare
            .as_ref()
            .is_some_and(|r| live && r.boot() == boot && take_one(&mut wanted, r.digest()));
        if !useful {
            let of = spare.map_or("an unknown template".to_owned(), |r| r.template().to_owned());
            remove(pool, &guard, format!("spare {token} of {of}"), dry_run, report);
        }
    }
    for name in names {
        let Some(token) = device_id::parse_spare_name(pool.id(), name) else { continue };
        if tokens.binary_search(&token).is_ok() {
            continue;
        }
        // The spare may have been claimed, made or removed since the names were listed.
        let Some(guard) = pool.try_lock_spare(&token)? else { continue };
        let kept = pool.host().file(&pool.layout().spare_directory(&token))?.is_some();
        if !kept && pool.host().device_names()?.contains(name) {
            remove(pool, &guard, format!("spare device {name}"), dry_run, report);
        }
    }
    Ok(wanted)
}

fn remove(
    pool: &PoolDir,
    guard: &SpareGuard,
    what: String,
    dry_run: bool,
    report: &mut ReconcileReport,
) {
    let removed = if dry_run { Ok(()) } else { spare::discard(pool, guard) };
    match removed {
        Ok(()) => report.removed.push(Removal { kind: RemovalKind::Spare, what }),
        Err(error) => report.failed.push(error.report()),
    }
}
