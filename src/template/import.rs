//! Bringing content into the pool.
//!
//! ```text
//! source ──clone or copy──▸ images/.import-<id>/ ──rename──▸ images/<hex>/ ◂── templates/<name>.json
//! ```
//!
//! `<id>` names the source file, so that a repeated command finds what an interrupted one left
//! and goes on from there. One import per source runs at a time, across processes; the next one
//! finds the content by the identity of its source, and copies nothing. A name points to content
//! that is complete and durable, or does not exist.
//!
//! Locks, in the order in which they are taken: import, template name, image.

use std::fs::{self, File};
use std::path::Path;

use jiff::Timestamp;

use super::fetch::{ImportRecord, State, fetch};
use super::source::{Source, read_prefix};
use super::superblock::{self, Content};
use super::{ImportSpec, Progress, name, store, sweep};
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::layout::Layout;
use crate::pool::record::{self, TemplateRecord};
use crate::sys::lock::{Lock, Mode};

const OPERATION: &str = "import";

/// Imports an image and points a name to it.
pub(super) fn import(
    pool: &Pool,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<TemplateRecord> {
    name::check(OPERATION, &spec.name)?;
    Source::open(&spec.source)?;
    for removed in sweep::sweep_abandoned(pool)? {
        tracing::info!("{removed}");
    }
    let (source, _flight) = open_alone(pool, &spec.source)?;
    loop {
        let digest = match known_content(pool, &source) {
            Some(digest) => digest,
            None => fetch(pool, &source, progress)?,
        };
        // Content that was known may have been removed before it was locked: then it is read.
        if let Some(record) = publish(pool, &spec.name, &source, &digest)? {
            progress(Progress { done: source.size, total: source.size });
            return Ok(record);
        }
    }
}

/// Opens the source with its import locked. Waits for another import of it, and looks again:
/// it may have changed meanwhile.
fn open_alone(pool: &Pool, path: &Path) -> Result<(Source, Lock)> {
    loop {
        let id = Source::open(path)?.identity.id();
        let lock = match pool.try_lock_import(&id)? {
            Some(lock) => lock,
            None => {
                tracing::warn!("another import of {} is running: waiting for it", path.display());
                pool.lock_import(&id)?
            }
        };
        let source = Source::open(path)?;
        if source.identity.id() == id {
            return Ok((source, lock));
        }
    }
}

/// The digest of content that was read from this very state of the source.
fn known_content(pool: &Pool, source: &Source) -> Option<String> {
    store::image_digests(pool).ok()?.into_iter().find(|digest| {
        let path = Layout::import_record(&pool.layout().image_directory(digest));
        let Ok(Some(known)) = record::read::<ImportRecord>(&path) else { return false };
        known.state == State::Complete { digest: digest.clone() }
            && known.identity == source.identity
            && known.identity.settled_before(known.started)
    })
}

/// Points the name to the content; `None` if the content is neither there nor freshly read.
fn publish(
    pool: &Pool,
    name: &str,
    source: &Source,
    digest: &str,
) -> Result<Option<TemplateRecord>> {
    let layout = pool.layout();
    let _name = pool.lock_template(name)?;
    let path = layout.template_record(name);
    let previous = record::read::<TemplateRecord>(&path)?;
    let image_lock = pool.lock_image(digest, Mode::Exclusive)?;
    if !install(pool, source, digest)? {
        return Ok(None);
    }
    let mut template = describe(&layout.image(digest), name, digest, source)?;
    match &previous {
        Some(same) if same.digest == digest => template = same.clone(),
        _ => pool.host().write_record(&path, &record::to_bytes(&template))?,
    }
    drop(image_lock);
    if let Some(old) = previous.filter(|old| old.digest != digest) {
        // The name has moved: that is a success even if the old content cannot be removed now.
        if let Err(e) = store::release_image(pool, &old.digest) {
            tracing::warn!("the former content of template {name} is left: {}", e.report());
        }
    }
    Ok(Some(template))
}

/// Puts what was read in its place under its digest, once. To be called with the image locked.
fn install(pool: &Pool, source: &Source, digest: &str) -> Result<bool> {
    let layout = pool.layout();
    let directory = layout.import_directory(&source.identity.id());
    let home = layout.image_directory(digest);
    let fetched = record::read::<ImportRecord>(&Layout::import_record(&directory))?
        .filter(|r| r.identity == source.identity)
        .filter(|r| r.state == State::Complete { digest: digest.to_owned() });
    if layout.image(digest).exists() {
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
    // What a removal that was cut short left there has no content any more.
    pool.host().remove_directory(&home)?;
    fs::rename(&directory, &home).map_err(|e| Error::io(OPERATION, home.display(), e))?;
    store::sync_directory(&layout.images())?;
    Ok(true)
}

/// What there is to know of the content, and to warn of.
fn describe(image: &Path, name: &str, digest: &str, source: &Source) -> Result<TemplateRecord> {
    let length = superblock::PREFIX.min(usize::try_from(source.size).unwrap_or(usize::MAX));
    let prefix = File::open(image)
        .and_then(|file| read_prefix(&file, length))
        .map_err(|e| Error::io(OPERATION, image.display(), e))?;
    let content = superblock::detect(&prefix);
    warn_of(name, &content);
    let file_system = match content {
        Content::FileSystem(file_system) => Some(file_system),
        Content::Partitioned(_) | Content::Unknown => None,
    };
    Ok(TemplateRecord {
        name: name.to_owned(),
        digest: digest.to_owned(),
        size: source.size,
        fs_type: file_system.as_ref().map(|f| f.fs_type.to_owned()),
        fs_block_size: file_system.as_ref().map(|f| f.block_size),
        created: Timestamp::now(),
        source: source.path.display().to_string(),
    })
}

fn warn_of(name: &str, content: &Content) {
    match content {
        Content::Partitioned(table) => tracing::warn!(
            "template {name} holds a {table} partition table: \
             its volumes serve as block devices, and cannot be mounted by calf"
        ),
        Content::Unknown => tracing::warn!(
            "template {name} holds no file system that calf knows: \
             its volumes serve as block devices, and cannot be mounted by calf"
        ),
        Content::FileSystem(f) => {
            if f.needs_recovery {
                tracing::warn!(
                    "the {} of template {name} was not unmounted cleanly: each volume replays its \
                     journal when it is first mounted; run `fsck` on the image and import it again",
                    f.fs_type
                );
            }
            if !f.is_read_only() && f.block_size != 4096 {
                tracing::warn!(
                    "the {} of template {name} has blocks of {} bytes: with other than 4096, \
                     TRIM in a volume frees little or nothing",
                    f.fs_type,
                    f.block_size
                );
            }
        }
    }
}
