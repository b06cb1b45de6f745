//! Lists what is in the pool, by the names in its directories.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;

/// Lists the keys of all directories under `volumes`, sorted.
pub(crate) fn keys(pool: &PoolDir) -> Result<Vec<Key>> {
    keys_in(pool, &pool.layout().volumes())
}

/// Lists the names in a directory that are keys, sorted; none if the directory is missing.
pub(crate) fn keys_in(pool: &PoolDir, directory: &Path) -> Result<Vec<Key>> {
    let names = names_in(pool, directory)?;
    let mut keys: Vec<Key> = names.iter().filter_map(|name| Key::parse(name)).collect();
    keys.sort();
    Ok(keys)
}

/// Lists the names in a directory, unsorted; none if the directory is missing. Skips names that are
/// not UTF-8, since calf gives none.
pub(crate) fn names_in(pool: &PoolDir, directory: &Path) -> Result<Vec<String>> {
    let names = pool.host().list(directory)?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Reads the records at these places: those that can be read, and the errors of the damaged ones. Skips
/// places without a record.
pub(crate) fn survey<P, R>(
    places: impl IntoIterator<Item = P>,
    read: impl Fn(&P) -> Result<Option<R>>,
) -> Result<(Vec<R>, Vec<Error>)> {
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for place in places {
        match read(&place) {
            Err(error) if error.kind() == ErrorKind::Corrupt => damaged.push(error),
            record => records.extend(record?),
        }
    }
    Ok((records, damaged))
}
