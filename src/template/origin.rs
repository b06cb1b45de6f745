//! The read-only loop device over a template's content, shared by all its volumes.
//!
//! No count of users is kept: the loop device is `AUTOCLEAR`, each volume's device holds it open,
//! and it vanishes with the last of them. The image directory carries the number of the loop
//! device that was attached last, as a hint: it is believed only if that device is attached to
//! exactly this file while we hold it open. Without a valid hint a loop device is attached anew;
//! two over one file would be a waste, not an error, since they share the file's page cache.
//!
//! A snapshot's table may be shorter than its origin, so the file is extended with a hole to the
//! largest volume's size, and one loop device serves volumes of every size.

use crate::error::Result;
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::sys::lock::Mode;
use crate::sys::{DeviceNumber, LoopHandle, LoopSpec};
use crate::template::content::check_content;

/// A loop device of at least `size` bytes over the content with this digest, of `length` bytes, held open.
pub(crate) fn acquire(
    pool: &PoolDir,
    digest: &Digest,
    length: u64,
    size: u64,
) -> Result<LoopHandle> {
    let _image = pool.lock_image(digest, Mode::Shared)?;
    if let Some(handle) = open_sufficient(pool, digest, size)? {
        return Ok(handle);
    }
    let _origin = pool.lock_origin(digest)?;
    // Somebody else attached it while this call waited.
    if let Some(handle) = open_sufficient(pool, digest, size)? {
        return Ok(handle);
    }
    check_content(pool, digest, length)?;
    let image = pool.layout().image(digest);
    pool.host().extend_file(&image, size)?;
    if let Some(handle) = open_hinted(pool, digest)? {
        pool.host().refresh_loop(handle.number)?;
        return Ok(handle);
    }
    let handle = pool.host().attach_loop(&LoopSpec {
        file: image,
        read_only: true,
        autoclear: true,
        elide_flushes: false,
    })?;
    write_hint(pool, digest, handle.number);
    Ok(handle)
}

/// Makes the loop device `origin`, which a live table holds, at least `size` bytes large.
pub(crate) fn grow(pool: &PoolDir, digest: &Digest, origin: DeviceNumber, size: u64) -> Result<()> {
    if pool.host().device_size(origin)? >= size {
        return Ok(());
    }
    let _image = pool.lock_image(digest, Mode::Shared)?;
    let _origin = pool.lock_origin(digest)?;
    pool.host().extend_file(&pool.layout().image(digest), size)?;
    pool.host().refresh_loop(origin)
}

fn open_sufficient(pool: &PoolDir, digest: &Digest, size: u64) -> Result<Option<LoopHandle>> {
    match open_hinted(pool, digest)? {
        Some(handle) if pool.host().device_size(handle.number)? >= size => Ok(Some(handle)),
        _ => Ok(None),
    }
}

fn open_hinted(pool: &PoolDir, digest: &Digest) -> Result<Option<LoopHandle>> {
    match read_hint(pool, digest) {
        Some(number) => pool.host().open_loop(number, &pool.layout().image(digest)),
        None => Ok(None),
    }
}

fn read_hint(pool: &PoolDir, digest: &Digest) -> Option<DeviceNumber> {
    // `4294967295:4294967295` and the end of the line.
    const LONGEST: u64 = 22;
    let text = pool.host().read_file(&pool.layout().image_loop(digest), LONGEST).ok()??;
    let (major, minor) = std::str::from_utf8(&text).ok()?.trim_end().split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Losing the hint costs one more loop device, so a failure is not worth failing for.
fn write_hint(pool: &PoolDir, digest: &Digest, number: DeviceNumber) {
    let path = pool.layout().image_loop(digest);
    if let Err(error) = pool.host().write_hint(&path, format!("{number}\n").as_bytes()) {
        tracing::warn!(error = error.report(), "cannot note the template's loop device");
    }
}
