//! Imports that nobody runs and nobody can take up again.

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::model::units::format_size;
use crate::pool::layout::{IMPORT_PREFIX, Layout};
use crate::pool::{PoolDir, record};
use crate::template::catalog;
use crate::template::import::source::Identity;
use crate::template::import::state::{ImportRecord, Origin};

/// How long an interrupted import waits to be taken up again.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes imports that nobody runs and nobody can take up again.
pub(crate) fn sweep(pool: &PoolDir, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in catalog::entries(&pool.layout().images())? {
        let Some(id) = name.strip_prefix(IMPORT_PREFIX) else { continue };
        let Some(_lock) = pool.try_lock_import(id)? else { continue };
        let directory = pool.layout().import_directory(id);
        if let Some(reason) = abandoned(&directory) {
            let size = catalog::allocated(&Layout::import_image(&directory)).unwrap_or(0);
            if !dry_run {
                pool.host().remove_directory(&directory)?;
            }
            removed.push(format!("unfinished import of {} {reason}", format_size(size)));
        }
    }
    Ok(removed)
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
pub(crate) fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > PATIENCE)
}
