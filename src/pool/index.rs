//! What there is in the pool, by the names in its directories.

use std::path::Path;

use crate::error::Result;
use crate::model::key::Key;
use crate::pool::PoolDir;

/// The keys of all directories under `volumes`, sorted.
pub(crate) fn keys(pool: &PoolDir) -> Result<Vec<Key>> {
    keys_in(pool, &pool.layout().volumes())
}

/// The keys that name what is in a directory, sorted; none if it is missing.
pub(crate) fn keys_in(pool: &PoolDir, directory: &Path) -> Result<Vec<Key>> {
    let names = names_in(pool, directory)?;
    let mut keys: Vec<Key> = names.iter().filter_map(|name| Key::parse(name)).collect();
    keys.sort();
    Ok(keys)
}

/// The names in a directory, in no order; none if it is missing. calf gives no name that is not UTF-8.
pub(crate) fn names_in(pool: &PoolDir, directory: &Path) -> Result<Vec<String>> {
    let names = pool.host().list(directory)?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}
