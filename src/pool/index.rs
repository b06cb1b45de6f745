//! What there is in the pool, by the names in its directories.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;

/// The keys of all directories under `volumes`, sorted.
pub(crate) fn keys(pool: &PoolDir) -> Result<Vec<Key>> {
    keys_in(&pool.layout().volumes(), "list volumes in")
}

/// The keys that name what is in a directory, sorted; none if it is missing.
pub(crate) fn keys_in(path: &Path, operation: &'static str) -> Result<Vec<Key>> {
    let failed = |e| Error::io(operation, path.display(), e);
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        keys.extend(entry.map_err(failed)?.file_name().to_str().and_then(Key::parse));
    }
    keys.sort();
    Ok(keys)
}
