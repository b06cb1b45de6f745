//! Clearing away what imports and removals that were cut short left behind.

use std::path::Path;
use std::time::Duration;

use super::journal::{ImportRecord, Origin};
use super::source::Identity;
use super::store;
use crate::error::Result;
use crate::pool::Pool;
use crate::pool::layout::{IMPORT_PREFIX, Layout};
use crate::pool::record;
use crate::units::format_size;
use crate::volume::{ReconcileReport, Removal, RemovalKind};

/// How long an interrupted import waits to be taken up again.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes abandoned imports, and content that no name and no volume refers to; with `dry_run`, only
/// reports it. Safe at any time.
pub(crate) fn sweep(pool: &Pool, dry_run: bool, report: &mut ReconcileReport) {
    let mut take = |kind, result: Result<Vec<String>>| match result {
        Ok(removed) => {
            report.removed.extend(removed.into_iter().map(|what| Removal { kind, what }))
        }
        Err(error) => report.failed.push(error.report()),
    };
    take(RemovalKind::Import, sweep_abandoned(pool, dry_run));
    take(RemovalKind::Content, sweep_content(pool, dry_run));
    if !dry_run && let Err(error) = sweep_temporary(pool) {
        report.failed.push(error.report());
    }
}

/// Removes content that nothing refers to.
fn sweep_content(pool: &Pool, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for digest in store::image_digests(pool)? {
        let unused = match dry_run {
            true => store::is_unused(pool, &digest)?,
            false => store::release_image(pool, &digest)?,
        };
        if unused {
            removed.push(format!("template content {digest}, to which nothing refers"));
        }
    }
    Ok(removed)
}

/// Removes imports that nobody runs and nobody can take up again.
pub(super) fn sweep_abandoned(pool: &Pool, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in store::entries(&pool.layout().images())? {
        let Some(id) = name.strip_prefix(IMPORT_PREFIX) else { continue };
        let Some(_lock) = pool.try_lock_import(id)? else { continue };
        let directory = pool.layout().import_directory(id);
        if let Some(reason) = abandoned(&directory) {
            let size = store::allocated(&Layout::import_image(&directory)).unwrap_or(0);
            if !dry_run {
                pool.host().remove_directory(&directory)?;
            }
            removed.push(format!("unfinished import of {} {reason}", format_size(size)));
        }
    }
    Ok(removed)
}

/// Removes what writes of template records that were cut short left: small, and of no interest
/// to anyone, so not told.
fn sweep_temporary(pool: &Pool) -> Result<()> {
    let templates = pool.layout().templates();
    for name in store::entries(&templates)? {
        let path = templates.join(&name);
        if !name.ends_with(".json") && is_old(&path) {
            pool.host().remove_file(&path)?;
        }
    }
    Ok(())
}

/// Why an import will not be taken up again, if so.
fn abandoned(directory: &Path) -> Option<String> {
    let path = Layout::import_record(directory);
    let Ok(Some(import)) = record::read::<ImportRecord>(&path) else {
        return Some("without a record".into());
    };
    if let Origin::File(identity) = &import.identity
        && Identity::of(Path::new(&import.source)).as_ref() != Some(identity)
    {
        return Some(format!("from {}, which has changed or gone", import.source));
    }
    is_old(&path).then(|| format!("from {}, a day old", import.source))
}

/// Whether a file was last written so long ago that nobody works on it.
fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > PATIENCE)
}
