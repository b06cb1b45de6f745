//! Removes what interrupted imports and removals left behind.

use crate::error::Result;
use crate::pool::{PoolDir, index};
use crate::reconcile::report::{ReconcileReport, Removal, RemovalKind};
use crate::template::catalog;
use crate::template::import::abandoned;
use crate::volume::reclaim;

/// Removes abandoned imports, and content that no name and no volume refers to. With `dry_run`,
/// only reports them. Safe at any time.
pub(crate) fn sweep(pool: &PoolDir, dry_run: bool, report: &mut ReconcileReport) {
    let mut take = |kind, result: Result<Vec<String>>| match result {
        Ok(removed) => {
            report.removed.extend(removed.into_iter().map(|what| Removal { kind, what }))
        }
        Err(error) => report.failed.push(error.report()),
    };
    take(RemovalKind::Import, abandoned::sweep(pool, dry_run));
    take(RemovalKind::Content, sweep_content(pool, dry_run));
    if !dry_run && let Err(error) = sweep_temporary(pool) {
        report.failed.push(error.report());
    }
}

/// Removes unreferenced content.
fn sweep_content(pool: &PoolDir, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for digest in catalog::image_digests(pool)? {
        let unused = match dry_run {
            true => reclaim::is_unused(pool, &digest)?,
            false => reclaim::release_image(pool, &digest)?,
        };
        if unused {
            removed.push(format!("unreferenced template content {digest}"));
        }
    }
    Ok(removed)
}

/// Removes the temporary files of interrupted writes of template records. They are small and of no
/// interest to users, so the report omits them.
fn sweep_temporary(pool: &PoolDir) -> Result<()> {
    let templates = pool.layout().templates();
    for name in index::names_in(pool, &templates)? {
        let path = templates.join(&name);
        if !name.ends_with(".json") && abandoned::is_old(pool.host(), &path)? {
            pool.host().remove_file(&path)?;
        }
    }
    Ok(())
}
