//! The content of a template, as volumes are made of it.

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::pool::image_config::ImageConfig;
use crate::pool::layout::Layout;
use crate::pool::record;
use crate::pool::record::TemplateRecord;
use crate::sys::FileKind;
use crate::sys::lock::{Lock, Mode};
use crate::template::catalog;

/// How the container image is run of which the content was made; `None` if it was made of none.
pub(crate) fn image_config(pool: &PoolDir, digest: &Digest) -> Result<Option<ImageConfig>> {
    record::read_usable(pool.host(), &Layout::image_config(&pool.layout().image_directory(digest)))
}

/// What the template `name` points to, and the lock that keeps its content in place. The name may
/// move and take its former content away between the two looks: then it is read again.
pub(crate) fn hold_content(pool: &PoolDir, name: &str) -> Result<(TemplateRecord, Lock)> {
    let mut template = catalog::template(pool, "find", name)?;
    loop {
        let lock = pool.lock_image(&template.digest, Mode::Shared)?;
        let Err(error) = check_content(pool, &template.digest, template.size) else {
            return Ok((template, lock));
        };
        let now = catalog::template(pool, "find", name)?;
        if now.digest == template.digest {
            return Err(error);
        }
        template = now;
    }
}

/// Bytes that the content occupies; none if it is missing.
pub(crate) fn allocated(pool: &PoolDir, digest: &Digest) -> Result<u64> {
    let image = pool.host().file(&pool.layout().image(digest))?;
    Ok(image.map_or(0, |image| image.allocated))
}

/// Refuses content that is missing, or that is not the file that an import made: it would be
/// extended, or read as another disk.
pub(crate) fn check_content(pool: &PoolDir, digest: &Digest, size: u64) -> Result<()> {
    let layout = pool.layout();
    let directory = pool.host().file(&layout.image_directory(digest))?;
    let image = pool.host().file(&layout.image(digest))?;
    let why = match (directory.map(|found| found.kind), image.map(|found| found.kind)) {
        (Some(FileKind::Directory), Some(FileKind::Regular | FileKind::Linked)) => match image {
            Some(found) if found.length < size => "it was truncated",
            _ => return Ok(()),
        },
        (None, _) | (_, None) => "it is missing from the pool",
        _ => "it was replaced by something else than a regular file in a directory",
    };
    Err(Error::new(ErrorKind::Corrupt, "use template content", digest, why)
        .remedy("import the template again, under the same name"))
}

/// Whether the content is in its place and can be used.
pub(crate) fn is_whole(pool: &PoolDir, digest: &Digest, size: u64) -> Result<bool> {
    match check_content(pool, digest, size) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}
