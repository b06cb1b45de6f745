//! Pointing a name to content that is complete.

use std::path::Path;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::layout::Layout;
use crate::pool::record::TemplateRecord;
use crate::pool::{PoolDir, record};
use crate::sys::lock::Mode;
use crate::sys::{Host, OpenMode};
use crate::template::catalog;
use crate::template::content::is_whole;
use crate::template::import::inspection;
use crate::template::import::state::{ImportRecord, Origin, State};
use crate::template::spec::ImportSpec;
use crate::template::superblock::Content;

/// What an import did.
pub(crate) struct Imported {
    /// What the name points to now.
    pub(crate) record: TemplateRecord,
    /// The digest of other content, to which the name pointed before.
    pub(crate) former: Option<Digest>,
}

/// Content in its place, or complete in the directory of the import that made it.
pub(super) struct Found<'a> {
    pub(super) digest: &'a Digest,
    pub(super) size: u64,
    pub(super) made_by: Option<&'a Origin>,
}

/// Points the name to the content; `None` if the content is neither there nor freshly read.
pub(super) fn point_name(
    pool: &PoolDir,
    spec: &ImportSpec,
    shown: &str,
    found: &Found<'_>,
) -> Result<Option<Imported>> {
    let shown = match &spec.partition {
        Some(partition) => format!("{shown}, partition {partition}"),
        None => shown.to_owned(),
    };
    point(pool, &spec.name, &shown, found, || install(pool, found))
}

/// Points a name to content that `install` puts in its place; `None` if there is none to be put there.
pub(super) fn point(
    pool: &PoolDir,
    name: &str,
    shown: &str,
    found: &Found<'_>,
    install: impl FnOnce() -> Result<bool>,
) -> Result<Option<Imported>> {
    let (layout, digest) = (pool.layout(), found.digest);
    let _name = pool.lock_template(name)?;
    let path = layout.template_record(name);
    // Importing anew is how a record that cannot be read is replaced.
    let previous = catalog::read(pool, name).or_else(|error| match error.kind() {
        ErrorKind::Corrupt => Ok(None),
        _ => Err(error),
    })?;
    let _image = pool.lock_image(digest, Mode::Exclusive)?;
    if !install()? {
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
        let config = Layout::image_config(&directory);
        if let Some(config) = pool.host().read_file(&config, record::MAX_RECORD)? {
            pool.host().write_record(&Layout::image_config(&home), &config)?;
        }
        pool.host().remove_directory(&directory)?;
        return Ok(true);
    }
    if fetched.is_none() {
        return Ok(false);
    }
    put(pool, &directory, digest)?;
    Ok(true)
}

/// Moves a directory with complete content to its place, where there is no content, or damaged content.
pub(super) fn put(pool: &PoolDir, directory: &Path, digest: &Digest) -> Result<()> {
    let home = pool.layout().image_directory(digest);
    refuse_attached(pool, digest)?;
    pool.host().remove_directory(&home)?;
    pool.host().rename(directory, &home)?;
    pool.host().sync_directory(&pool.layout().images())
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
