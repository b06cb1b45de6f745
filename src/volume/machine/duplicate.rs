//! Makes COW stores with the content of others, which share its blocks where the file system can.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::policy::Durability;
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::{CopyMode, Flush};
use crate::volume::plan::step::store_length;

/// Keeps the store at `from` as the seed of the volume with this key, durably.
pub(super) fn seed(pool: &PoolDir, key: &Key, from: &Path) -> Result<()> {
    let length = pool.host().file(from)?.map_or(0, |file| file.length);
    duplicate(pool, from, &pool.layout().seed(key), length, Flush::Now)
}

/// Makes the COW store of `record` with the content of `from`, or of the volume's seed.
pub(super) fn store(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    from: Option<&Path>,
) -> Result<()> {
    let path = pool.layout().store(key, record.backing);
    let seed = pool.layout().seed(key);
    if from.is_none() && pool.host().file(&seed)?.is_none_or(|file| !file.is_file()) {
        let why = "the content that it starts from after a reboot is missing from the pool";
        return Err(Error::new(ErrorKind::Corrupt, "use volume", &record.id, why)
            .remedy("delete the volume, and make it again from its snapshot"));
    }
    copy_of(pool, record, from.unwrap_or(&seed), &path)
}

/// Makes a COW store for the volume of `record` at `path`, with the content of `from`.
pub(crate) fn copy_of(
    pool: &PoolDir,
    record: &VolumeRecord,
    from: &Path,
    path: &Path,
) -> Result<()> {
    let flush = match record.durability {
        Durability::Durable => Flush::Now,
        Durability::Ephemeral => Flush::Later,
    };
    duplicate(pool, from, path, store_length(record), flush)
}

/// Makes a copy at `path` of the first `length` bytes of a COW store that nobody writes to. It is not durable yet.
pub(crate) fn copy_frozen(pool: &PoolDir, from: &Path, path: &Path, length: u64) -> Result<()> {
    duplicate(pool, from, path, length, Flush::Later)
}

/// Has a new file share the blocks of another, or copies them where the file system cannot share.
fn duplicate(pool: &PoolDir, from: &Path, to: &Path, length: u64, flush: Flush) -> Result<()> {
    match pool.host().copy_file(from, to, length, CopyMode::Reflink, flush) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let size = pool.host().file(from)?.map_or(0, |file| file.allocated);
            pool.require_free("copy a COW store to", to.display(), size)?;
            let copied = format_size(size);
            tracing::warn!(
                file = %to.display(),
                copied,
                "copying, since files of this pool cannot share blocks: XFS (reflink=1) and Btrfs can"
            );
            pool.host().copy_file(from, to, length, CopyMode::Sparse, flush)
        }
        copied => copied,
    }
}
