//! Imports that nobody runs and nobody can take up again.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::error::Result;
use crate::model::units::format_size;
use crate::pool::layout::{IMPORT_PREFIX, Layout};
use crate::pool::{PoolDir, index, record};
use crate::sys::Host;
use crate::template::import::source::Identity;
use crate::template::import::state::{ImportRecord, Origin};

/// How long an interrupted import waits to be taken up again.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Removes imports that nobody runs and nobody can take up again.
pub(crate) fn sweep(pool: &PoolDir, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in index::names_in(pool, &pool.layout().images())? {
        let Some(id) = name.strip_prefix(IMPORT_PREFIX) else { continue };
        let Some(_lock) = pool.try_lock_import(id)? else { continue };
        let directory = pool.layout().import_directory(id);
        if let Some(reason) = abandoned(pool.host(), &directory)? {
            let image = pool.host().file(&Layout::import_image(&directory))?;
            let size = image.map_or(0, |image| image.allocated);
            if !dry_run {
                pool.host().remove_directory(&directory)?;
            }
            removed.push(format!("unfinished import of {} {reason}", format_size(size)));
        }
    }
    Ok(removed)
}

/// Why an import will not be taken up again, if so.
fn abandoned(host: &dyn Host, directory: &Path) -> Result<Option<String>> {
    let path = Layout::import_record(directory);
    let Some(import) = record::read_usable::<ImportRecord>(host, &path)? else {
        return Ok(Some("without a record".to_owned()));
    };
    let source = Path::new(&import.source);
    if let Origin::File(identity) = &import.identity
        && Identity::of(host, source)?.as_ref() != Some(identity)
    {
        return Ok(Some(format!("from {}, which has changed or gone", source.display())));
    }
    if let Origin::Derived(_) | Origin::Input(_) = &import.identity {
        return Ok(Some(format!("from {}, which begins anew", source.display())));
    }
    Ok(is_old(host, &path)?.then(|| format!("from {}, a day old", source.display())))
}

/// Whether a file was last written so long ago that nobody works on it.
pub(crate) fn is_old(host: &dyn Host, path: &Path) -> Result<bool> {
    let Some(found) = host.file(path)? else { return Ok(false) };
    let modified = Timestamp::from_second(found.modified[0]).ok();
    Ok(modified.is_some_and(|at| Timestamp::now().duration_since(at) > PATIENCE))
}
