//! What a new volume starts from, if not from its template.

use std::path::PathBuf;

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::snapshots::{self, SnapshotRecord};
use crate::sys::FileKind;
use crate::sys::lock::{Lock, Mode};
use crate::volume::lock;

/// The content of a snapshot, or of a cut of a volume that is to become no snapshot.
pub(crate) struct Start {
    /// What it is.
    pub(crate) content: SnapshotRecord,
    /// Its COW store.
    pub(crate) store: PathBuf,
    /// The token of such a cut.
    pub(crate) cut: Option<String>,
}

/// Finds the snapshot `name`, and takes its lock: shared to keep it in place while volumes are made of it.
///
/// # Errors
///
/// `NotFound`; `Corrupt` if its record or its store is not what calf wrote; `InProgress` while it is being
/// made or removed.
pub(crate) fn hold(pool: &PoolDir, name: &str, mode: Mode) -> Result<(Start, Lock)> {
    const OPERATION: &str = "use snapshot";
    volume_id::check_snapshot(name)?;
    let key = Key::of(name);
    let lock = lock::snapshot(pool, &key, name, OPERATION, mode)?;
    let content = snapshots::read(pool, &key)?.ok_or_else(|| unknown(OPERATION, name))?;
    let start = Start { content, store: pool.layout().snapshot_store(&key), cut: None };
    check_store(pool, &start)?;
    Ok((start, lock))
}

/// The error for a snapshot that does not exist.
pub(crate) fn unknown(operation: &'static str, name: &str) -> Error {
    Error::new(ErrorKind::NotFound, operation, name, "no such snapshot in this pool")
        .remedy("list the snapshots with `calf snapshot list`")
}

/// Refuses a store that is not the one that belongs to the record.
pub(crate) fn check_store(pool: &PoolDir, start: &Start) -> Result<()> {
    let Start { content, store, .. } = start;
    let why = match pool.host().file(store)? {
        None => "its store is missing from the pool".to_owned(),
        Some(file) if file.kind != FileKind::Regular => {
            "its store was replaced by something that is not a regular file".to_owned()
        }
        Some(file) if file.length < content.stored => "its store was cut short".to_owned(),
        Some(_) => match pool.host().store_header(store)? {
            StoreHeader::New if content.stored == 0 => return Ok(()),
            StoreHeader::Valid { chunk_size } if chunk_size == content.chunk_size => return Ok(()),
            StoreHeader::Valid { chunk_size } => format!(
                "its store has chunks of {chunk_size} bytes, but its record has {}",
                content.chunk_size
            ),
            _ => "its store was replaced: it does not start as its record says".to_owned(),
        },
    };
    Err(Error::new(ErrorKind::Corrupt, "use snapshot", &content.name, why)
        .remedy("put its own store back, or delete the snapshot"))
}
