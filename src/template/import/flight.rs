//! One import of a source at a time.

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::pool::PoolDir;
use crate::sys::lock::Lock;
use crate::template::import::source::Source;
use crate::template::import::{abandoned, pipeline};

/// Time between looks whether another import of the same source has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Removes what earlier imports left and nobody can use.
pub(super) fn tidy(pool: &PoolDir) -> Result<()> {
    for removed in abandoned::sweep(pool, false)? {
        tracing::info!("{removed}");
    }
    Ok(())
}

/// Opens the source with its import locked. Waits for another import of it, and looks again:
/// it may have changed meanwhile.
pub(super) fn open_alone(pool: &PoolDir, path: &Path, cancel: &Cancel) -> Result<(Source, Lock)> {
    loop {
        let id = Source::open(pool.host(), path)?.identity.id();
        let lock = fly_alone(pool, &id, path.display(), cancel)?;
        let source = Source::open(pool.host(), path)?;
        if source.identity.id() == id {
            return Ok((source, lock));
        }
    }
}

/// Locks the import with this id, waiting for its holder until that is cancelled.
pub(super) fn fly_alone(
    pool: &PoolDir,
    id: &str,
    shown: impl std::fmt::Display,
    cancel: &Cancel,
) -> Result<Lock> {
    if let Some(lock) = pool.try_lock_import(id)? {
        return Ok(lock);
    }
    tracing::warn!("another import of {shown} is running: waiting for it");
    while !cancel.is_requested() {
        pool.host().pause(LOOK);
        if let Some(lock) = pool.try_lock_import(id)? {
            return Ok(lock);
        }
    }
    Err(pipeline::cancelled())
}
