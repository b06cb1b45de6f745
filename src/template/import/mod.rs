//! Bringing content into the pool.
//!
//! ```text
//! file ──clone or copy──┐
//! URL ─────download─────┼─▸ images/.import-<id>/ ──rename──▸ images/<hex>/ ◂── templates/<name>.json
//! stream ──unpack, copy─┘
//! ```
//!
//! A stream is a compressed file, from wherever, or standard input. Of each, the disk may be taken that a
//! qcow2 image holds ([`disk`]). `<id>` names the source file, or the
//! digest that a download must have, so that a repeated command finds what an interrupted one left and
//! goes on from there; what comes in a stream begins anew. One import per source runs
//! at a time, across processes; the next one finds the content by its digest, or by the identity of a
//! source on the pool's own file system, and reads nothing. A name points to content that is complete
//! and durable, or does not exist.
//!
//! Locks, in the order in which they are taken: import, template name, image.

pub(crate) mod abandoned;
pub(crate) mod assembly;
mod disk;
#[cfg(feature = "formats")]
mod files;
#[cfg(not(feature = "formats"))]
#[path = "files/none.rs"]
mod files;
mod flight;
pub(crate) mod format;
pub(crate) mod hash;
mod incoming;
pub(crate) mod inspection;
pub(crate) mod known;
mod meter;
mod naming;
#[cfg(feature = "formats")]
pub(crate) mod oci;
pub(crate) mod partition;
mod pipeline;
pub(crate) mod qcow2;
mod ratio;
#[cfg(feature = "formats")]
pub(crate) mod rootfs;
mod slice;
pub(crate) mod source;
mod staging;
pub(crate) mod state;
mod stream;
pub(crate) mod unpack;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::template_name;
use crate::pool::PoolDir;
#[cfg(feature = "http")]
use crate::template::import::flight::fly_alone;
use crate::template::import::flight::{open_alone, tidy};
#[cfg(feature = "driver")]
pub(crate) use crate::template::import::known::is_of;
use crate::template::import::known::{known_content, present};
pub(crate) use crate::template::import::naming::Imported;
use crate::template::import::naming::{Found, point_name};
#[cfg(feature = "http")]
use crate::template::import::source::http::download;
#[cfg(feature = "http")]
use crate::template::import::source::remote::Remote;
#[cfg(feature = "http")]
use crate::template::import::source::url::ImageUrl;
use crate::template::import::source::{Source, file, input, unexpected};
use crate::template::import::staging::Staging;
use crate::template::import::state::Origin;
use crate::template::spec::{ImportSource, ImportSpec, Progress, STANDARD_INPUT};

const OPERATION: &str = "import";

/// Imports an image and points a name to it.
pub(crate) fn import(
    pool: &PoolDir,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    template_name::check(OPERATION, &spec.name)?;
    if let Some(imported) = present(pool, spec)? {
        let size = imported.record.size;
        progress(Progress { done: size, total: Some(size) });
        return Ok(imported);
    }
    match &spec.source {
        ImportSource::File(path) => import_file(pool, spec, path, progress),
        ImportSource::StandardInput => import_input(pool, spec, progress),
        #[cfg(feature = "formats")]
        ImportSource::Empty(kind) => files::empty::import_empty(pool, spec, *kind, progress),
        #[cfg(not(feature = "formats"))]
        ImportSource::Empty(_) => Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            &spec.source,
            "this program was built without the feature `formats` of calf",
        )),
        #[cfg(all(feature = "http", feature = "formats"))]
        ImportSource::Registry(reference) => {
            files::registry::import_registry(pool, spec, reference, progress)
        }
        #[cfg(not(all(feature = "http", feature = "formats")))]
        ImportSource::Registry(reference) => Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            reference,
            "this program was built without the features `http` and `formats` of calf",
        )),
        #[cfg(feature = "http")]
        ImportSource::Url(url) => import_url(pool, spec, url, progress),
        #[cfg(not(feature = "http"))]
        ImportSource::Url(url) => Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            url,
            "this program was built without the feature `http` of calf",
        )),
    }
}

fn import_file(
    pool: &PoolDir,
    spec: &ImportSpec,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    if files::is_directory(pool, path)? {
        return files::import_directory(pool, spec, path, progress);
    }
    Source::open(pool.host(), path)?;
    tidy(pool)?;
    let (source, _flight) = open_alone(pool, path, &spec.cancel)?;
    let shown = source.path.display().to_string();
    let mut total = Some(source.size);
    loop {
        let (digest, origin) = match known_content(pool, spec, &source)? {
            Some(known) => known,
            None => file::read(pool, &source, spec, &mut |now| {
                total = now.total;
                progress(now);
            })?,
        };
        // Content that was known may have been removed before it was locked: then it is read.
        if let Some(imported) = accept(pool, spec, &shown, &digest, &origin)? {
            progress(Progress { done: total.unwrap_or(source.size), total });
            return Ok(imported);
        }
    }
}

fn import_input(
    pool: &PoolDir,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    tidy(pool)?;
    let input = input::Input::open()?;
    let _flight = input.lock(pool)?;
    let (digest, origin) = input.read(pool, spec, progress)?;
    accept(pool, spec, STANDARD_INPUT, &digest, &origin)?.ok_or_else(input::lost)
}

#[cfg(feature = "http")]
fn import_url(
    pool: &PoolDir,
    spec: &ImportSpec,
    url: &ImageUrl,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let expected = spec.digest.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, url, "its digest is not given")
            .remedy("give the SHA-256 of the image (--sha256), as its publisher states it")
    })?;
    tidy(pool)?;
    let _flight = fly_alone(pool, &Remote::id_of(expected.as_str()), url, &spec.cancel)?;
    // Another import may have brought it meanwhile.
    if let Some(record) = present(pool, spec)? {
        return Ok(record);
    }
    let mut total = None;
    loop {
        let (digest, origin) = download(pool, url, expected, spec, &mut |now| {
            total = now.total;
            progress(now);
        })?;
        if let Some(imported) = accept(pool, spec, &url.to_string(), &digest, &origin)? {
            let done = total.unwrap_or_else(|| origin.source_size());
            progress(Progress { done, total: Some(done) });
            return Ok(imported);
        }
    }
}

/// Points the name to what was read, if it is what was asked for; `None` if it is there no more.
fn accept(
    pool: &PoolDir,
    spec: &ImportSpec,
    shown: &str,
    digest: &Digest,
    origin: &Origin,
) -> Result<Option<Imported>> {
    if let Some(expected) = &spec.digest
        && expected != digest
        && Some(expected) != origin.source_digest()
    {
        Staging::new(pool, origin, shown).discard();
        return Err(unexpected(shown, digest, origin.source_digest(), expected));
    }
    point_name(pool, spec, shown, &Found { digest, size: origin.size(), made_by: Some(origin) })
}
