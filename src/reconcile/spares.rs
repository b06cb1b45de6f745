//! The warm pool: as many spares of a template as its record asks for.
//!
//! The number is in the pool, so it holds for whoever tends it: the driver in idle time, `calf template
//! warm`, a program with the library. Making a spare takes what making a volume takes, and is refused
//! like it where the pool is short of space.

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

/// What was done to have the spares that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpareReport {
    /// Spares that were made.
    pub made: usize,
    /// Spares that were removed: too many, broken, or of content that no name points to.
    pub removed: usize,
    /// Spares still missing, because the run was stopped.
    pub missing: usize,
    /// What could not be removed, in words; the rest was done.
    pub failed: Vec<String>,
}

/// Removes spares that nobody wants and makes those that are missing, asking `cancel` before
/// each. Does nothing while another process does it.
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

/// How many spares there are, by template.
pub(crate) fn spares(pool: &PoolDir) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for token in spare::tokens(pool)? {
        if let Some(spare) = spare::read(pool, &token)? {
            *counts.entry(spare.template().to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// How many spares of a content there are to be.
pub(crate) struct Wanted {
    /// A name of it.
    template: String,
    count: u32,
}

/// What is wanted, by the content's digest.
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

/// Whether one more of the content is wanted; from now on, one less.
fn take_one(wanted: &mut BTreeMap<Digest, Wanted>, digest: &Digest) -> bool {
    match wanted.get_mut(digest) {
        Some(Wanted { count, .. }) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// Removes spares that nobody wants, and devices of spares that are no more; returns what is still
/// wanted. `names` are those of all devices, asked for before. A spare whose lock is held is
/// skipped: another call is working on it.
pub(crate) fn tidy(
    pool: &PoolDir,
    names: &BTreeSet<String>,
    dry_run: bool,
    report: &mut ReconcileReport,
) -> Result<BTreeMap<Digest, Wanted>> {
    let boot = pool.host().boot_id()?;
    let mut wanted = wanted(pool)?;
    let tokens = spare::tokens(pool)?;
    for token in &tokens {
        let Some(guard) = pool.try_lock_spare(token)? else { continue };
        if pool.host().file(&pool.layout().spare_directory(token))?.is_none() {
            continue;
        }
        let (spare, name) = (spare::read(pool, token)?, device_id::spare_name(pool.id(), token));
        // It may have been made since the names were asked for.
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
        // It may be claimed, made or gone since the names were asked for.
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
