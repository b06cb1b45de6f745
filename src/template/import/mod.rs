//! Bringing content into the pool.
//!
//! ```text
//! file ──clone or copy──┐
//!                       ├─▸ images/.import-<id>/ ──rename──▸ images/<hex>/ ◂── templates/<name>.json
//! URL ─────download─────┘
//! ```
//!
//! `<id>` names the source file, or the digest that a download must have, so that a repeated
//! command finds what an interrupted one left and goes on from there. One import per source runs
//! at a time, across processes; the next one finds the content by its digest, or by the identity of a
//! source on the pool's own file system, and reads nothing. A name points to content that is complete
//! and durable, or does not exist.
//!
//! Locks, in the order in which they are taken: import, template name, image.

pub(crate) mod abandoned;
pub(crate) mod format;
pub(crate) mod hash;
pub(crate) mod inspection;
mod pipeline;
pub(crate) mod source;
mod staging;
pub(crate) mod state;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::model::template_name;
use crate::pool::layout::Layout;
use crate::pool::record::TemplateRecord;
use crate::pool::{PoolDir, record};
use crate::sys::lock::{Lock, Mode};
use crate::sys::{Host, OpenMode};
use crate::template::catalog;
use crate::template::content::is_whole;
use crate::template::import::source::file::fetch;
#[cfg(feature = "http")]
use crate::template::import::source::http::download;
#[cfg(feature = "http")]
use crate::template::import::source::remote::Remote;
#[cfg(feature = "http")]
use crate::template::import::source::url::ImageUrl;
use crate::template::import::source::{Source, unexpected};
use crate::template::import::staging::Staging;
use crate::template::import::state::{ImportRecord, Origin, State};
use crate::template::spec::{ImportSource, ImportSpec, Progress};
use crate::template::superblock::Content;

const OPERATION: &str = "import";
/// Time between looks whether another import of the same source has ended.
const LOOK: Duration = Duration::from_millis(50);

/// What an import did.
pub(crate) struct Imported {
    /// What the name points to now.
    pub(crate) record: TemplateRecord,
    /// The digest of other content, to which the name pointed before.
    pub(crate) former: Option<Digest>,
}

/// Imports an image and points a name to it.
pub(crate) fn import(
    pool: &PoolDir,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    template_name::check(OPERATION, &spec.name)?;
    if let Some(imported) = present(pool, spec)? {
        let size = imported.record.size;
        progress(Progress { done: size, total: size });
        return Ok(imported);
    }
    match &spec.source {
        ImportSource::File(path) => import_file(pool, spec, path, progress),
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

/// Points the name to content of the expected digest that the pool has already.
fn present(pool: &PoolDir, spec: &ImportSpec) -> Result<Option<Imported>> {
    let Some(digest) = &spec.digest else { return Ok(None) };
    // A record that cannot be read is no proof: the content is brought in once more.
    let Ok(Some(known)) = state::of_content(pool, digest) else { return Ok(None) };
    let found = Found { digest, size: known.identity.size(), made_by: None };
    point_name(pool, spec, &spec.source.to_string(), &found)
}

fn import_file(
    pool: &PoolDir,
    spec: &ImportSpec,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    Source::open(pool.host(), path)?;
    tidy(pool)?;
    let (source, _flight) = open_alone(pool, path, &spec.cancel)?;
    let origin = Origin::File(source.identity.clone());
    let shown = source.path.display().to_string();
    loop {
        let digest = match known_content(pool, spec, &source)? {
            Some(digest) => digest,
            None => fetch(pool, &source, &spec.cancel, progress)?,
        };
        if let Some(expected) = spec.digest.as_ref().filter(|expected| **expected != digest) {
            Staging::new(pool, &origin, &shown).discard();
            return Err(unexpected(&shown, &digest, expected));
        }
        let found = Found { digest: &digest, size: source.size, made_by: Some(&origin) };
        // Content that was known may have been removed before it was locked: then it is read.
        if let Some(record) = point_name(pool, spec, &shown, &found)? {
            progress(Progress { done: source.size, total: source.size });
            return Ok(record);
        }
    }
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
    loop {
        let origin = download(pool, url, expected, &spec.cancel, progress)?;
        let size = origin.size();
        let found = Found { digest: expected, size, made_by: Some(&origin) };
        if let Some(record) = point_name(pool, spec, &url.to_string(), &found)? {
            progress(Progress { done: size, total: size });
            return Ok(record);
        }
    }
}

fn tidy(pool: &PoolDir) -> Result<()> {
    for removed in abandoned::sweep(pool, false)? {
        tracing::info!("{removed}");
    }
    Ok(())
}

/// Opens the source with its import locked. Waits for another import of it, and looks again:
/// it may have changed meanwhile.
fn open_alone(pool: &PoolDir, path: &Path, cancel: &Cancel) -> Result<(Source, Lock)> {
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
fn fly_alone(
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

/// The digest of content that was read from this very state of the source, if the source's identity
/// proves that. It does not replace a comparison of the bytes with a digest that the caller gave.
fn known_content(pool: &PoolDir, spec: &ImportSpec, source: &Source) -> Result<Option<Digest>> {
    if spec.digest.is_some() || !source.is_on_file_system_of(pool)? {
        return Ok(None);
    }
    let Ok(digests) = catalog::image_digests(pool) else { return Ok(None) };
    Ok(digests.into_iter().find(|digest| {
        let Ok(Some(known)) = state::of_content(pool, digest) else { return false };
        known.identity == Origin::File(source.identity.clone())
            && source.identity.settled_before(known.started)
            && is_whole(pool, digest, source.size).unwrap_or(false)
    }))
}

/// Content in its place, or complete in the directory of the import that made it.
struct Found<'a> {
    digest: &'a Digest,
    size: u64,
    made_by: Option<&'a Origin>,
}

/// Points the name to the content; `None` if the content is neither there nor freshly read.
fn point_name(
    pool: &PoolDir,
    spec: &ImportSpec,
    shown: &str,
    found: &Found<'_>,
) -> Result<Option<Imported>> {
    let (layout, name, digest) = (pool.layout(), &spec.name, found.digest);
    let _name = pool.lock_template(name)?;
    let path = layout.template_record(name);
    // Importing anew is how a record that cannot be read is replaced.
    let previous = catalog::read(pool, name).or_else(|error| match error.kind() {
        ErrorKind::Corrupt => Ok(None),
        _ => Err(error),
    })?;
    let _image = pool.lock_image(digest, Mode::Exclusive)?;
    if !install(pool, found)? {
        return Ok(None);
    }
    let mut template = describe(pool.host(), &layout.image(digest), name, shown, found)?;
    match &previous {
        Some(same) if same.digest == *digest => template = same.clone(),
        _ => {
            template.warm = previous.as_ref().map_or(0, |previous| previous.warm);
            pool.host().write_record(&path, &record::to_bytes(&template))?;
        }
    }
    let former = previous.map(|old| old.digest).filter(|old| old != digest);
    Ok(Some(Imported { record: template, former }))
}

/// Puts what was read in its place under its digest, once. To be called with the image locked.
fn install(pool: &PoolDir, found: &Found<'_>) -> Result<bool> {
    let (layout, digest) = (pool.layout(), found.digest);
    let there = is_whole(pool, digest, found.size)?;
    let Some(origin) = found.made_by else { return Ok(there) };
    let directory = layout.import_directory(&origin.id());
    let home = layout.image_directory(digest);
    let fetched = record::read::<ImportRecord>(pool.host(), &Layout::import_record(&directory))?
        .filter(|r| r.identity == *origin)
        .filter(|r| r.state == State::Complete { digest: digest.clone() });
    if there {
        if let Some(fetched) = fetched {
            let path = Layout::import_record(&home);
            pool.host().write_record(&path, &record::to_bytes(&fetched))?;
        }
        pool.host().remove_directory(&directory)?;
        return Ok(true);
    }
    if fetched.is_none() {
        return Ok(false);
    }
    // What is there has no content any more, or damaged content.
    refuse_attached(pool, digest)?;
    pool.host().remove_directory(&home)?;
    pool.host().rename(&directory, &home)?;
    pool.host().sync_directory(&layout.images())?;
    Ok(true)
}

/// Refuses to replace damaged content under the devices of volumes.
fn refuse_attached(pool: &PoolDir, digest: &Digest) -> Result<()> {
    let image = pool.layout().image(digest);
    if pool.host().file(&image)?.is_none() {
        return Ok(());
    }
    match pool.host().find_loops(&image)?.first() {
        None => Ok(()),
        Some(attached) => Err(Error::new(
            ErrorKind::InUse,
            "replace the damaged content",
            image.display(),
            format!("volumes use it through loop device {}", attached.number),
        )
        .remedy("deactivate or delete the volumes of this template, then import it again")),
    }
}

/// Describes the content in a record, and logs its warnings.
fn describe(
    host: &dyn Host,
    image: &Path,
    name: &str,
    shown: &str,
    found: &Found<'_>,
) -> Result<TemplateRecord> {
    let file = host.open_image(image, OpenMode::Read)?;
    let content = inspection::inspect(&*file, found.size, shown)?;
    inspection::warn(host, name, &content, found.size);
    let file_system = match content {
        Content::FileSystem(file_system) => Some(file_system),
        Content::Disk(_) | Content::Unknown => None,
    };
    Ok(TemplateRecord {
        name: name.to_owned(),
        digest: found.digest.clone(),
        size: found.size,
        fs_type: file_system.as_ref().map(|f| f.fs_type.to_owned()),
        fs_block_size: file_system.as_ref().map(|f| f.block_size),
        created: Timestamp::now(),
        source: shown.to_owned(),
        warm: 0,
    })
}
